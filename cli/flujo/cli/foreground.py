"""Advance one run in the foreground: start or resume it, follow it until it rests, print how it ended.

Without a server the run is advanced by this process, so the first Ctrl-C stops it cleanly. With a server it is advanced
there, and Ctrl-C only stops following it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from shlex import quote

from flujo.kernel import (
    Kernel,
    Observer,
    RunHandle,
    Runs,
    RunStatus,
    StepState,
    StoredDefinition,
    Why,
    Workflow,
    WorkflowState,
)
from flujo.kernel.api import failed_besides, result_of
from flujo.kernel.errors import FlujoError, RunNotFoundError, StoreError, StoreFullError
from flujo.kernel.state import LIVE

from . import failures, text
from .connect import acting, reading
from .display import Display, display_for
from .follower import Follower, alongside
from .going_on import that_work
from .hearing import hearing, show_last_lines, shows_last_lines
from .interruption import EXIT_CODE, Interruption
from .output import emit_run
from .session import Session, say
from .sources import from_stored_text
from .target import ServerTarget

Begin = Callable[[Runs], Awaitable[RunHandle]]


async def advance(
    session: Session,
    run_id: str,
    begin: Begin,
    *,
    no_wait: bool = False,
    after_seq: int = 0,
    load_definition: Callable[[StoredDefinition], Workflow] = from_stored_text,
    workflows: Iterable[Workflow] = (),
) -> int:
    """Advance the run `run_id` until it rests and return the exit code. `begin` starts or resumes it.

    Events up to `after_seq` are not shown. Old runs of `workflows` are deleted by their retention rules. After a Ctrl-C
    the command that resumes the run is printed.
    """
    target = session.target
    is_remote = isinstance(target, ServerTarget)
    state: WorkflowState | None = None
    with Interruption() as interruption:
        with interruption.scope:
            async with acting(target, load_definition, workflows) as runs:
                handle = await begin(runs)
                display = display_for(session)
                try:
                    state = await _follow(session, handle, display, no_wait=no_wait, after_seq=after_seq)
                except StoreFullError as error:
                    failures.after_full_disk(error, ["flujoctl", "resume", run_id])
                    raise
                finally:
                    display.close()
                    if interruption.received is not None and not is_remote:
                        session.note("stopping cleanly; press Ctrl-C again to end at once")
        if is_remote and state is None:
            say(f"stopped following; the server continues run {run_id}")
            say(f"try: {session.addressed(f'flujoctl watch {run_id}')}")
            return EXIT_CODE
        if state is None:
            state = await _after_interruption(session, run_id)
    if state is None:
        return EXIT_CODE
    if state.status in LIVE:
        return await _conclude_waiting(session, state)
    return conclude(session, state, await show_last_lines(session, state))


async def detach(session: Session, begin: Begin) -> int:
    """Start a run on a server, print its id, and return."""
    async with acting(session.target) as runs:
        handle = await begin(runs)
        if session.output in ("table", "name"):
            print(handle.run_id)
        else:
            emit_run(await handle.inspect(), session)
    session.suggest(f"flujoctl watch {handle.run_id}")
    return 0


async def _follow(
    session: Session, handle: RunHandle, display: Display, *, no_wait: bool, after_seq: int
) -> WorkflowState:
    runs, run_id = handle.runs, handle.run_id

    def announce(step: StepState) -> None:
        display.announce(step, signal_command(session, run_id, step))

    if handle.created:
        display.note(f"run {run_id}")
    for reason in (await runs.explain(run_id)).reasons if (await runs.summary(run_id)).status == "pending" else ():
        if reason.why is Why.OVERLAP:
            display.note(reason.text)
            session.suggest(reason.commands[0])
    follower = Follower(runs, run_id, display.show, announce, after_seq=after_seq)
    while True:
        async with alongside(lambda: runs.wait(run_id)), hearing(runs, run_id, display):
            state = await follower.until_rest(no_wait=no_wait)
        if state.status not in LIVE or not isinstance(runs, Kernel) or await runs.suspend(run_id) is not None:
            return await runs.inspect(run_id)


def signal_command(session: Session, run_id: str, step: StepState) -> str:
    """Return the command that sends a step the signal it waits for."""
    return session.addressed(f"flujoctl signal {run_id} {quote(str(step.signal))}")


async def _after_interruption(session: Session, run_id: str) -> WorkflowState | None:
    """Return the run if it has settled despite the interruption; otherwise print how to resume it."""
    try:
        async with reading(session.target) as runs:
            state = await runs.inspect(run_id)
    except (RunNotFoundError, StoreError):
        say("interrupted before anything of the run was stored")
        return None
    if state.is_final or state.status is RunStatus.PAUSED:
        return state
    if state.unowned:
        say(f"interrupted; run {run_id} is checkpointed and can be resumed")
        say(f"try: {session.addressed(f'flujoctl resume {run_id}')}")
    else:
        say(f"interrupted; another process continues run {run_id}")
        say(f"try: {session.addressed(f'flujoctl watch {run_id}')}")
    return None


def conclude(session: Session, state: WorkflowState, lines: Sequence[str] | None = None) -> int:
    """Print the outcome of a run, and what helps if it has not completed; returns the exit code. `lines` are the last
    ones of the step that failed, which a person sees already; None if they were not looked for."""
    _print_outcome(session, state)
    return tell_failure(session, state, lines)


def tell_failure(session: Session, state: WorkflowState, lines: Sequence[str] | None = None) -> int:
    """Print what helps if a run has not completed, or went on after failures; returns the exit code."""
    try:
        result_of(state)
        for line in text.cut_steps(state.steps.values()):
            session.note(line)
        if went_on := text.went_on(state):
            for line in went_on:
                session.note(line)
            if session.keeps_runs:
                session.suggest(f"flujoctl explain {state.run_id}")
    except FlujoError as error:
        if not session.keeps_runs:
            error.hints = ()
        elif (look := where_to_look(state, failed_step_of(state), lines)) is not None:
            error.hints = (look, *error.hints)
        error.hints = tuple(that_work(session, state, error.hints))
        for line in text.failed_as_well(failed_besides(state)):
            session.note(line)
        return failures.report(error, session, shown=lines if lines and shows_last_lines(session) else ())
    return 0


def where_to_look(state: WorkflowState, step: StepState | None, lines: Sequence[str] | None) -> str | None:
    """Return the command that shows more of the failure of a step: of the run that it had started, or of what it
    printed, of which `lines` are the last if that is known."""
    if step is None:
        return None
    if step.child is not None and _has_begun(step):
        return f"flujoctl explain {step.child}"
    if "log_file" not in state.environment or (lines is not None and not lines):
        return None
    return f"flujoctl logs {state.run_id} --step {quote(step.name)}"


def failed_step_of(state: WorkflowState) -> StepState | None:
    """Return the step in which a run failed."""
    return state.steps.get(state.failed_step or "")


def _has_begun(step: StepState) -> bool:
    """True if there was a run that a failed step waited for: its workflow may not be known, or refuse the inputs."""
    return step.error is None or step.error.message.startswith(f"run {step.child} ")


def _print_outcome(session: Session, state: WorkflowState) -> None:
    import sys

    if not emit_run(state, session):
        print(text.outcome(state, colour=session.has_colour))
        for line in text.outputs(state):
            print(line)
        sys.stdout.flush()


async def _conclude_waiting(session: Session, state: WorkflowState) -> int:
    """Print what a run waits for and the commands that help; returns the exit code."""
    _print_outcome(session, state)
    async with reading(session.target) as runs:
        state = await runs.inspect(state.run_id)
        # Another process may have left a signal between the last look of this one and its end.
        is_asked = isinstance(runs, Observer) and bool(await runs.backend.requests(state.run_id, state.uid))
    who = "no process runs it now" if state.unowned else "its process continues it"
    session.note(f"run {state.run_id} waits; {who}" + ("; a request to it is stored" if is_asked else ""))
    for signal in () if is_asked else text.awaited_signals(state):
        session.suggest(f"flujoctl signal {state.run_id} {quote(signal)}")
    session.suggest(f"flujoctl {'resume' if state.unowned else 'watch'} {state.run_id}")
    return failures.ONLY_WAITS
