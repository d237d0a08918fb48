"""End a command with an error: one line for the error, the commands that help, and an exit code.

`EXIT_CODES` is the one table from error classes to codes; a class that is not in it has the code of its nearest base.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from shlex import quote
from typing import Any

from flujo.kernel import errors
from flujo.kernel.errors import FlujoError

from .session import Session, say, tell

INTERRUPTED = 130
INTERNAL = 70
USAGE = 2
ONLY_WAITS = 7

_HINTS = 3  # an error names the commands that fit best first; -v shows the others too

EXIT_CODES: dict[type[BaseException], int] = {
    # how a run ended
    errors.RunFailed: 1,
    errors.StepFailed: 1,
    errors.RunPaused: 7,
    errors.RunInterrupted: 7,
    errors.RunCancelled: 8,
    # not well formed
    errors.InvalidNameError: USAGE,
    errors.InvalidInputError: USAGE,
    errors.InvalidDurationError: USAGE,
    errors.InvalidExportError: USAGE,
    errors.InvalidValueError: USAGE,
    errors.OutputTooLargeError: USAGE,
    errors.PayloadTooLargeError: USAGE,
    errors.InvalidAddressError: USAGE,
    errors.UnsafeListenerError: USAGE,
    errors.InvalidTokensError: USAGE,
    errors.BlockingCallError: USAGE,
    errors.WrongEventLoopError: USAGE,
    errors.ForkedProcessError: USAGE,
    errors.ExtraMissingError: USAGE,
    errors.DefinitionError: USAGE,
    errors.StepChoiceError: USAGE,
    errors.DeclarationError: USAGE,
    errors.UnsafeStepNameError: USAGE,
    errors.TaskNotFoundError: USAGE,
    errors.CursorError: USAGE,
    errors.ForeignCursorError: 4,
    errors.StoreUrlError: USAGE,
    # not found
    errors.RunNotFoundError: 3,
    errors.RunDeletedError: 3,
    errors.StepNotFoundError: 3,
    errors.NoLogError: 3,
    errors.WorkflowNotFoundError: 3,
    errors.WorkflowFixedError: 4,
    errors.StoreNotFoundError: 3,
    # a conflict, or incompatible
    errors.RunExistsError: 4,
    errors.RunReplacedError: 4,
    errors.RequestReusedError: 4,
    errors.RunOverlapError: 4,
    errors.RunActiveError: 4,
    errors.RunFinishedError: 4,
    errors.RunNotResumableError: 4,
    errors.RunNotPausedError: 4,
    errors.StepCompletedError: 4,
    errors.StateNotRecordableError: 4,
    errors.StateIncompatibilityError: 4,
    errors.UnknownEventError: 4,
    errors.NewerStoreError: 4,
    errors.OlderStoreError: 4,
    errors.StoreExistsError: 4,
    errors.StoreInUseError: 4,
    errors.AddressInUseError: 4,
    # the store and the server
    errors.PlaceTakenError: 5,
    errors.UntrustedOwnerError: 5,
    errors.StoreError: 5,
    errors.ForeignStoreError: 5,
    errors.ServerUnreachableError: 5,
    errors.ServerStoppingError: 5,
    errors.ServerBusyError: 5,
    errors.UnauthenticatedError: 5,
    errors.PermissionDeniedError: 5,
    errors.DefinitionsNotAllowedError: 5,
    errors.CallTimeoutError: 5,
    errors.WaitTimedOutError: 6,
    errors.CallFailedError: 5,
    errors.KernelClosedError: 5,
    FlujoError: INTERNAL,
}


class SourceNotFoundError(FlujoError, LookupError):
    """The file or module of a workflow does not exist.

    Name a file that exists, as FILE.yaml, FILE.py:NAME or MODULE:NAME.
    """

    reason = "WORKFLOW_NOT_FOUND"
    reason_code = "source-not-found"
    meant: tuple[str, str] | None = None
    """The name that was given, and that of the file that is likely to be meant."""


class SourceError(FlujoError, ValueError):
    """The module of a workflow cannot be imported, or has no such workflow.

    The message says what Python or the module answered; `python -c 'import MODULE'` shows the same.
    """

    reason = "INVALID_FIELD"
    reason_code = "invalid-source"


class NothingToResumeError(FlujoError, LookupError):
    """No run of the workflow is unfinished.

    `flujoctl list` shows the runs there are; a completed one goes on only with --from-step STEP.
    """

    reason = "RUN_NOT_FOUND"
    reason_code = "nothing-to-resume"


class AmbiguousRunError(FlujoError):
    """The request fits several runs.

    Type more of the id, or choose one of those listed with --id.
    """

    reason = "RUN_AMBIGUOUS"

    def __init__(self, message: str, run_ids: Sequence[str], hints: Sequence[str] = ()) -> None:
        super().__init__(message + "".join(f"\n  {run_id}" for run_id in run_ids), hints)
        self.run_ids = tuple(run_ids)


class UnexpectedSignalError(FlujoError):
    """A run does not wait for a signal now, and --strict was given; nothing was sent.

    Send one of the signals that the message names, or leave --strict out: the run takes the signal later.
    """

    reason = "SIGNAL_UNEXPECTED"

    def __init__(self, run_id: str, name: str, expected: Sequence[str]) -> None:
        waits = f"waits for {', '.join(expected)}" if expected else "waits for none"
        super().__init__(
            f"run {run_id!r} does not wait for the signal {name!r} now: it {waits}; nothing was sent",
            [*(f"flujoctl signal {run_id} {quote(each)}" for each in expected), f"flujoctl explain {run_id}"],
        )
        self.run_id, self.name, self.expected = run_id, name, tuple(expected)


class UnclearSignalError(FlujoError):
    """A run is to be approved or rejected, and waits for no signal or for several; nothing was sent.

    Name one of the signals that the message lists behind the id, or send it with `flujoctl signal` before it is
    waited for.
    """

    reason = "SIGNAL_UNCLEAR"
    reason_code = "signal-unclear"

    def __init__(self, run_id: str, expected: Sequence[str]) -> None:
        waits = (
            f"waits for several signals: {', '.join(expected)}"
            if expected
            else "waits for no signal now that is not there already"
        )
        super().__init__(
            f"run {run_id!r} {waits}; nothing was sent",
            [*(f"flujoctl approve {run_id} {quote(each)}" for each in expected), f"flujoctl explain {run_id}"],
        )
        self.run_id, self.expected = run_id, tuple(expected)


class FileInTheWayError(FlujoError):
    """Something is already where a file should go; it is left as it is.

    Name another folder, or move what is there away.
    """

    reason = "FILE_EXISTS"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is there already; it was left as it is", ["flujoctl init ANOTHER-DIR"])
        self.path = path


class NotWritableError(FlujoError):
    """A file cannot be written where the user wants it.

    Name a folder in which you may write.
    """

    reason = "FILE_NOT_WRITABLE"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} cannot be written: {problem}", ["flujoctl init ANOTHER-DIR"])
        self.path, self.problem = path, problem


class StarterNotFoundError(FlujoError, LookupError):
    """No workflow to start from has this name.

    `flujoctl init --list` shows which there are.
    """

    reason = "STARTER_NOT_FOUND"

    def __init__(self, name: str, known: Sequence[str], meant: str | None) -> None:
        hints = ["flujoctl init --list", *([f"flujoctl init --example {meant}"] if meant else [])]
        super().__init__(f"there is no example {name!r}; there are: {', '.join(known)}", hints[::-1])
        self.name, self.known = name, tuple(known)


EXIT_CODES |= {
    FileInTheWayError: 4,
    NotWritableError: USAGE,
    StarterNotFoundError: 3,
    SourceNotFoundError: 3,
    SourceError: USAGE,
    NothingToResumeError: 3,
    AmbiguousRunError: 4,
    UnexpectedSignalError: 4,
    UnclearSignalError: 4,
}


def exit_code(error: BaseException) -> int:
    """Return the exit code for an error."""
    return next((EXIT_CODES[base] for base in type(error).__mro__ if base in EXIT_CODES), INTERNAL)


def of_reason(reason: str, message: str) -> FlujoError:
    """Return the error that a server told of by its reason and its sentence alone, as it does of one run among many."""
    kinds = (getattr(errors, name) for name in errors.__all__)
    kind: type[FlujoError] = next((kind for kind in kinds if getattr(kind, "reason", "") == reason), FlujoError)
    error = kind.__new__(kind)
    FlujoError.__init__(error, message)
    return error


_RESUME = "flujoctl resume RUN_ID"


def after_full_disk(error: FlujoError, command: Sequence[str]) -> None:
    """Let the hints of a full disk name the command that goes on once there is space."""
    if isinstance(error, errors.StoreFullError):
        error.hints = tuple(hint.replace(_RESUME, shlex.join(command)) for hint in error.hints)


_TAKING_FILES = ("serve", "graph", "publish")


def after_missing_file(error: FlujoError, command: Sequence[str]) -> None:
    """Let the hints of a file that is not there name the command that was typed, with the file that was meant."""
    if not isinstance(error, SourceNotFoundError) or len(command) < 2:
        return
    if error.meant is not None and error.meant[0] in command:
        given, other = error.meant
        error.hints = (shlex.join(other if word == given else word for word in command),)
    elif command[1] in _TAKING_FILES:
        error.hints = tuple(hint.replace("flujoctl run ", f"flujoctl {command[1]} ", 1) for hint in error.hints)


def report(error: FlujoError, session: Session, *, shown: Sequence[str] = ()) -> int:
    """Print an expected error with what helps, and return its exit code. This is printed whatever -q says.

    People are not told lines of its message again that they are `shown` already as the last ones of a step."""
    text = _text(error)
    if shown:
        from .text import without_lines

        text = "\n".join(without_lines(text, shown))
    if not tell(session, error.reason_code, text, _fields(session, error)):
        return exit_code(error)
    most = len(error.hints) if session.verbosity else _HINTS
    for hint in _aligned([session.addressed(hint) for hint in error.hints[:most]]):
        say(f"try: {hint}")
    if (more := len(error.hints) - most) > 0:
        say(f"-v shows {more} more")
    return exit_code(error)


def _text(error: FlujoError) -> str:
    if not isinstance(error, errors.DefinitionError):
        return str(error)
    count = len(error.problems)
    return f"{count} problem{'s' if count != 1 else ''} in the definition\n{error}"


def _fields(session: Session, error: FlujoError) -> dict[str, Any]:
    """Return what a program wants to know of an error beside its code and its text."""
    fields: dict[str, Any] = {
        "reason": error.reason,
        "type": type(error).__name__,
        "exit_code": exit_code(error),
        "hints": [session.addressed(hint) for hint in error.hints],
    }
    if isinstance(error, errors.DefinitionError):
        fields["problems"] = [problem._asdict() for problem in error.problems]
    return fields


def _aligned(hints: Sequence[str]) -> list[str]:
    """Return the hints with their comments in one column."""
    parts = [hint.partition("  # ") for hint in hints]
    commented = [command.rstrip() for command, separator, _ in parts if separator]
    width = max(map(len, commented), default=0)
    return [
        f"{command.rstrip():<{width}}  # {comment.strip()}" if separator else command
        for command, separator, comment in parts
    ]
