"""Say what to type to go on with a run, where a plain `flujoctl resume ID` would be refused.

The kernel names commands by what is recorded of a run. Whether they work here depends on what it was started from as
well: a file may have been edited or be gone, and a program may be one that no command can start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from flujo.kernel import Explanation, RunStatus, WorkflowState
from flujo.kernel.api import ways_to_resume
from flujo.kernel.errors import DefinitionError, FlujoError, StateIncompatibilityError
from flujo.kernel.state import PauseReason
from flujo.kernel.transitions import require_compatible

from . import sources
from .connect import reading
from .session import Session, run_async
from .target import ServerTarget


def suggest_resuming(session: Session, state: WorkflowState) -> None:
    """Print the commands that go on with a run."""
    for command in that_work(session, state, ways_to_resume(state)):
        session.suggest(command)


def explained(session: Session, explanation: Explanation, state: WorkflowState) -> Explanation:
    """Return an explanation whose commands work here."""
    reasons = [each._replace(commands=that_work(session, state, each.commands)) for each in explanation.reasons]
    return explanation._replace(reasons=reasons)


def that_work(session: Session, state: WorkflowState, commands: Sequence[str]) -> list[str]:
    """Return commands about a run of which none is a resume that is refused: what goes on instead, or has to be done
    before, is in its place."""
    if state.status is RunStatus.PAUSED and state.paused_reason != PauseReason.REQUESTED:
        plain = {each for each in commands if _goes_on(each, state.run_id) and len(_words(each)) == _PLAIN}
        ways = ways_to_resume(state)
        commands = [way for each in commands for way in (ways if each in plain else [each])]
    going_on = [each for each in commands if _goes_on(each, state.run_id)]
    found = _instead(session, state, going_on) if going_on else {}
    return list(dict.fromkeys(way for each in commands for way in found.get(each, [each])))


def after_refusal(error: FlujoError, session: Session) -> None:
    """Let the hints of an error about a run be such as work."""
    run_id = getattr(error, "run_id", None)
    if run_id is None or not any(_goes_on(each, run_id) for each in error.hints):
        return

    async def read() -> WorkflowState:
        async with reading(session.target) as runs:
            return await runs.inspect(run_id)

    with suppress(FlujoError):  # the error that there is already says what is wrong
        error.hints = tuple(that_work(session, run_async(read), error.hints))


def _goes_on(command: str, run_id: str) -> bool:
    """True for a command that resumes the run, alone or after an edit."""
    words = _words(command)
    return words[0:1] + words[2:3] == ["flujoctl", run_id] and words[1] in ("resume", "unpause")


def _words(command: str) -> list[str]:
    """Return the words of what is typed: behind what is to be done first, and before a comment."""
    return command.partition("  #")[0].rpartition(": ")[2].split()


def _instead(session: Session, state: WorkflowState, commands: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return what is to be typed in place of commands that would be refused."""
    if state.definition is not None:
        return _of_file(state, commands)
    if isinstance(session.target, ServerTarget) or _has_program(state):
        return {}
    named = f"flujoctl run --resume FILE.py:NAME --id {state.run_id}  # with its workflow"
    return {each: [named] for each in commands}


def _has_program(state: WorkflowState) -> bool:
    """True if the program that a run was started from may still be there: a module is looked for by importing it."""
    target = state.environment.get(sources.TARGET)
    if target is None:
        return False
    place = str(target).rpartition(":")[0]
    return not place.endswith(".py") or Path(str(state.environment.get(sources.START_DIR, "")), place).exists()


def _of_file(state: WorkflowState, commands: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return what replaces commands because of what has become of the file of a definition. One that is as it was is
    not even parsed, and without a file what is stored is used."""
    if (file := sources.file_of(state)) is None:
        return {}
    try:
        written = Path(file).read_bytes()
    except OSError:
        mended = f"flujoctl run --resume FILE --id {state.run_id}  # with a definition that is mended"
        return {each: [mended] for each in commands if not each.startswith("flujoctl ")}
    typed = [each for each in commands if each.startswith("flujoctl ")]
    if not typed or sha256(written).hexdigest() == state.definition:
        return {}
    try:
        if (current := sources.of_run(state)) is not None:
            require_compatible(state, current.as_started(state))
    except StateIncompatibilityError as error:
        ways = [f"flujoctl diff {state.run_id}  # shows what has changed since", *error.hints[:1]]
        return {each: ways for each in typed if len(_words(each)) == _PLAIN}
    except DefinitionError:
        return {each: [_with_stored(each)] for each in typed}
    return {}


_PLAIN = 3
"""The words of a resume without options."""


def _with_stored(command: str) -> str:
    command = command.partition("  #")[0].replace("flujoctl unpause ", "flujoctl resume ")
    stored = command if " --stored" in command else f"{command} --stored"
    return f"{stored}  # its file is not valid now"
