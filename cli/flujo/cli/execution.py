"""Advancing one run in this process: open a kernel, start or resume, follow it to rest, say how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from flujo.backends import open_backend
from flujo.kernel import Kernel, RunHandle, RunStatus, StepState, StoredDefinition, Workflow, WorkflowState
from flujo.kernel.errors import FlujoError, RunNotFoundError, StoreError
from flujo.kernel.observer import result_of

from . import failures, text
from .following import Follower, beside, is_only_waiting
from .interruption import EXIT_CODE, Interruption
from .lookup import reading
from .output import emit_run
from .progress import View, view_for
from .session import Session, has_colour, say
from .sources import from_stored_text

Begin = Callable[[Kernel], Awaitable[RunHandle]]


async def advance(
    session: Session,
    run_id: str,
    begin: Begin,
    *,
    no_wait: bool = False,
    after_seq: int = 0,
    load_definition: Callable[[StoredDefinition], Workflow] = from_stored_text,
) -> int:
    """Take the run `run_id` as far as it goes and return the exit code. `begin` starts or resumes it.

    Events up to `after_seq` are not shown. The first Ctrl-C closes the kernel in good order: attempts under way are
    recorded as interrupted, and the command that goes on is printed.
    """
    target = session.target
    state: WorkflowState | None = None
    with Interruption() as interruption:
        with interruption.scope:
            kernel = Kernel(
                open_backend(target.url),
                recover=False,
                workspaces=target.workspaces,
                load_definition=load_definition,
            )
            async with kernel:
                handle = await begin(kernel)
                view = view_for(session)
                try:
                    state = await _follow(session, handle, view, no_wait=no_wait, after_seq=after_seq)
                finally:
                    view.close()
                    if interruption.received is not None:
                        session.note("stopping in good order; Ctrl-C again ends at once")
        if state is None or not _rests(state):
            state = await _left_behind(session, run_id)
    if state is None or not _rests(state):
        return EXIT_CODE
    return conclude(session, state)


async def _follow(session: Session, handle: RunHandle, view: View, *, no_wait: bool, after_seq: int) -> WorkflowState:
    kernel, run_id = handle.kernel, handle.run_id

    def announce(step: StepState) -> None:
        view.note(f"waiting for the signal {step.signal!r}; send it with: {signal_command(session, run_id, step)}")

    if handle.created:
        view.note(f"run {run_id}")
    async with beside(lambda: kernel.wait(run_id)):
        await Follower(kernel, run_id, view.show, announce, after_seq=after_seq).until_rest(no_wait=no_wait)
    return await kernel.inspect(run_id)


def signal_command(session: Session, run_id: str, step: StepState) -> str:
    """The command that sends a step the signal it waits for."""
    return session.addressed(f"flujoctl signal {run_id} {step.signal}")


def _rests(state: WorkflowState) -> bool:
    return state.is_final or state.status in (RunStatus.PAUSED, RunStatus.WAITING)


async def _left_behind(session: Session, run_id: str) -> WorkflowState | None:
    """After an interruption: the run if it has settled all the same; otherwise says how to go on."""
    try:
        async with reading(session.target) as observer:
            summary = await observer.backend.load(run_id)
            state = await observer.inspect(run_id)
            is_idle = await observer.is_interrupted(summary)
    except (RunNotFoundError, StoreError):
        say("interrupted; nothing of the run is stored")
        return None
    if state.is_final or state.status is RunStatus.PAUSED:
        return state
    if is_idle:
        say(f"interrupted; run {run_id} is checkpointed and goes on with")
        say(f"try: {session.addressed(f'flujoctl resume {run_id}')}")
    else:
        say(f"interrupted; another process goes on with run {run_id}")
        say(f"try: {session.addressed(f'flujoctl watch {run_id}')}")
    return None


def conclude(session: Session, state: WorkflowState) -> int:
    """Print how a run stands, and what helps if it has not completed; returns the exit code."""
    import sys

    if not emit_run(state, session):
        print(text.outcome(state, colour=has_colour(sys.stdout)))
        for line in text.outputs(state):
            print(line)
        sys.stdout.flush()
    if is_only_waiting(state):
        return _conclude_waiting(session, state)
    try:
        result_of(state)
    except FlujoError as error:
        return failures.report(error, session)
    return 0


def _conclude_waiting(session: Session, state: WorkflowState) -> int:
    session.note(f"run {state.run_id} only waits; nobody runs it now")
    for step in state.open_steps():
        if step.signal is not None:
            session.suggest(f"flujoctl signal {state.run_id} {step.signal}")
    session.suggest(f"flujoctl resume {state.run_id}")
    return failures.ONLY_WAITS
