"""Resume many runs in one process, or on a server, and say how each of them came to rest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple, Unpack

from flujo.kernel import Event, Runs, RunStatus, StepState, WorkflowState
from flujo.kernel.api import ResumeOptions
from flujo.kernel.errors import FlujoError
from flujo.kernel.state import LIVE

from . import failures, sources, text
from .connect import acting, reading
from .follower import Follower
from .interruption import EXIT_CODE, Interruption
from .output import emit_all
from .resume_run import chosen_workflow, programs_known_to
from .session import Session, say
from .shared_workspaces import note_shared_workspace
from .target import ServerTarget

_TOLD = 5
"""How many refusals are told one by one."""


class Rested(NamedTuple):
    """How a run rests, or why it could not be resumed."""

    run_id: str
    state: WorkflowState | None
    error: FlujoError | None


async def resume_many(
    session: Session, run_ids: Sequence[str], *, stored: bool = False, **options: Unpack[ResumeOptions]
) -> int:
    """Resume all runs at once, wait until each is final, is paused or waits for something, and return the exit code:
    that of the worst outcome. A run that cannot be resumed keeps none of the others from it."""
    rested: list[Rested] = []
    with Interruption() as interruption, interruption.scope:
        async with AsyncExitStack() as stack:
            kernels = _Kernels(session, stack)
            begun = [await _begin(session, kernels, run_id, stored, options) for run_id in run_ids]
            for each in begun:
                rested.append(each if each.state is None else await _rest(await kernels.for_run(each.state), each))
                _tell(session, rested[-1])
    if interruption.received is not None:
        left = [run_id for run_id in run_ids if run_id not in {each.run_id for each in rested}]
        say(f"interrupted; {len(left)} of {len(run_ids)} runs had not come to rest; they are checkpointed")
        return EXIT_CODE
    return _conclude(session, rested)


class _Kernels:
    """What runs them: the server, or one kernel of this process for each Python module that they were started from,
    since a program finds others by their names, and two modules may each have one of a name."""

    def __init__(self, session: Session, stack: AsyncExitStack) -> None:
        self._session, self._stack = session, stack
        self._opened: dict[str | None, Runs] = {}

    async def for_run(self, state: WorkflowState) -> Runs:
        """Return what runs a run."""
        target = self._session.target
        module = None if isinstance(target, ServerTarget) else sources.module_of(state)
        if module not in self._opened:
            programs = programs_known_to(self._session, state)
            self._opened[module] = await self._stack.enter_async_context(acting(target, workflows=programs))
        return self._opened[module]


async def _begin(session: Session, kernels: _Kernels, run_id: str, stored: bool, options: ResumeOptions) -> Rested:
    try:
        async with reading(session.target) as stores:
            state = await stores.inspect(run_id)
        note_shared_workspace(session, state)
        workflow = chosen_workflow(session, state, stored=stored, named=options.get("workflow"))
        own = ResumeOptions(**options) | {"workflow": workflow, "by": session.user}
        await (await kernels.for_run(state)).resume(run_id, **own)
    except FlujoError as error:
        return Rested(run_id, None, error)
    return Rested(run_id, state, None)


async def _rest(runs: Runs, begun: Rested) -> Rested:
    try:
        assert begun.state is not None
        follower = Follower(runs, begun.run_id, _nothing, _no_announcement, after_seq=begun.state.seq)
        await follower.until_rest(no_wait=True)
        return begun._replace(state=await runs.inspect(begun.run_id))
    except FlujoError as error:
        return Rested(begun.run_id, None, error)


def _nothing(event: Event, state: WorkflowState) -> None:
    pass


def _no_announcement(step: StepState) -> None:
    pass


def _tell(session: Session, rested: Rested) -> None:
    if session.output == "table" and rested.state is not None and not session.quiet:
        print(text.outcome(rested.state, colour=session.has_colour), flush=True)
    elif session.output == "name" and rested.state is not None:
        print(rested.run_id, flush=True)


def _conclude(session: Session, rested: Sequence[Rested]) -> int:
    if session.output not in ("table", "name"):
        emit_all([each.state.to_dict() for each in rested if each.state is not None], session.output)
    refused = [each for each in rested if each.error is not None]
    code = 0
    for number, each in enumerate(refused):
        assert each.error is not None
        code = max(code, failures.report(each.error, session) if number < _TOLD else failures.exit_code(each.error))
    if len(refused) > _TOLD:
        say(f"and {len(refused) - _TOLD} more")
    counted = [
        (sum(each.state is not None and each.state.status == status for each in rested), status) for status in RunStatus
    ]
    told = [f"{count} {status}" for count, status in counted if count]
    session.note(", ".join([*told, *([f"{len(refused)} not resumed"] if refused else [])]))
    return max([code, *(_code(each.state) for each in rested if each.state is not None)])


def _code(state: WorkflowState) -> int:
    """Return what the command would end with for this run alone."""
    if state.status is RunStatus.FAILED:
        return 1
    if state.status is RunStatus.CANCELLED:
        return 8
    return failures.ONLY_WAITS if state.status is RunStatus.PAUSED or state.status in LIVE else 0
