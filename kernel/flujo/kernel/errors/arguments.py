"""Errors of a caller who gave something that is not well formed, or names what this kernel was not given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from shlex import quote
from typing import NamedTuple

from .base import FlujoError, shown


class InvalidNameError(FlujoError, ValueError):
    """A run id, step name or label does not have the documented form.

    Choose another name by the rule that the message gives; run ids hold letters, digits, dots, dashes and
    underscores.
    """

    reason = "INVALID_FIELD"
    reason_code = "invalid-name"

    def __init__(self, what: str, name: object, rule: str, hints: Iterable[str] = ()) -> None:
        super().__init__(f"{shown(name)} is not a valid {what}: {rule}", hints)
        self.what, self.name, self.rule = what, name, rule


class InvalidInputError(FlujoError, ValueError):
    """The inputs of a run do not fit what its workflow declares; `problems` maps a field to what is wrong with it.

    Give each input as NAME=VALUE, or NAME:=JSON for what is not text; `flujoctl run FILE --dry-run` shows what a
    workflow takes.
    """

    reason = "INVALID_FIELD"
    reason_code = "invalid-input"

    def __init__(self, workflow: str, problems: dict[str, str]) -> None:
        listed = "; ".join(f"{field}: {problem}" for field, problem in problems.items())
        super().__init__(f"the inputs of {workflow!r} are not valid: {listed}", ["give each as NAME=VALUE"])
        self.workflow, self.problems = workflow, problems


class StepChoiceError(FlujoError, ValueError):
    """A run cannot perform the steps that were chosen for it: a flow or a step does not exist, or what is left needs
    what is not; `field` is the option, `flow`, `skip_steps` or `start_from`.

    `flujoctl graph FILE` shows the steps of a workflow, and which need which.
    """

    reason = "INVALID_FIELD"
    reason_code = "invalid-step-choice"

    def __init__(self, workflow: str, field: str, problem: str, hints: Iterable[str] = ()) -> None:
        super().__init__(f"the steps of {workflow!r} cannot be chosen so: {problem}", hints)
        self.workflow, self.field, self.problem = workflow, field, problem


class InvalidDurationError(FlujoError, ValueError):
    """A text is not a duration such as `30s`, `1h30m` or `P1D`; `argument` names what was to be one, if that is known.

    Write 90, 90s, 1h30m, 2w, 30d or PT1H30M.
    """

    reason = "INVALID_FIELD"
    reason_code = "invalid-duration"

    def __init__(self, text: object, argument: str | None = None) -> None:
        place = "" if argument is None else f"{argument}: "
        super().__init__(f"{place}{shown(text)} is not a duration", ["write 90, 90s, 1h30m, 2w, 30d or PT1H30M"])
        self.text, self.argument = text, argument


class InvalidValueError(FlujoError, ValueError):
    """A value that has to be recorded is not plain JSON; `path` says where inside it, as in `$.rows[3].price`.

    Return JSON types, or annotate the return type with one that pydantic can write and read back.
    """

    reason = "PAYLOAD_INVALID"
    reason_code = "invalid-value"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            f"the value at {path if len(path) <= 80 else f'{path[:79]}…'} cannot be recorded: {problem}",
            ["return JSON types, or annotate the return type with one that pydantic can write and read back"],
        )
        self.path, self.problem = path, problem


class SignalMisfitError(InvalidValueError):
    """The payload of a signal does not fit the type that the program waits for; `path` says where, `problem` what is
    wrong there, `fits` sketches what fits, if that can be said.

    Send the signal again with a payload of the type that the message sketches; the one that did not fit was not
    stored.
    """

    reason_code = "signal-misfit"

    def __init__(self, run_id: str, signal: str, path: str, problem: str, fits: str | None = None) -> None:
        wanted = "" if fits is None else f"; it waits for {fits}"
        FlujoError.__init__(
            self,
            f"the payload of the signal {signal!r} does not fit at {path}: {problem}{wanted}",
            [f"flujoctl signal {run_id} {quote(signal)} {'JSON' if fits is None else quote(fits)}"],
        )
        self.run_id, self.signal, self.path, self.problem, self.fits = run_id, signal, path, problem, fits


class OutputTooLargeError(FlujoError, ValueError):
    """An output is larger than a store accepts; sizes in bytes.

    Let the step write its data to a file in the workspace and return the path of it.
    """

    reason = "PAYLOAD_TOO_LARGE"
    reason_code = "output-too-large"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the output has {size} bytes, more than the limit of {limit}",
            ["write the data to a file in the workspace and return its path"],
        )
        self.size, self.limit = size, limit


class PayloadTooLargeError(FlujoError, ValueError):
    """What a caller gives a run is larger than a run takes; sizes in bytes of JSON. `what` names it.

    Write the data to a file or a bucket and pass its name.
    """

    reason = "PAYLOAD_TOO_LARGE"

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} has {size} bytes, more than the limit of {limit}",
            ["write the data to a file or a bucket and pass its name"],
        )
        self.what, self.size, self.limit = what, size, limit


class InvalidExportError(FlujoError, ValueError):
    """A document is no export of a run that this release can import.

    Write the document with `flujoctl export ID --to FILE`, by a release that is not newer than the one that imports
    it.
    """

    reason = "INVALID_FIELD"
    reason_code = "invalid-export"

    def __init__(self, problem: str, hints: Iterable[str] = ("flujoctl export ID --to FILE  # writes one",)) -> None:
        super().__init__(f"this is no export of a run that can be imported: {problem}", hints)
        self.problem = problem


class Problem(NamedTuple):
    """One thing wrong with a definition; `line` and `column` count from 1, 0 means the whole file."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class DefinitionError(FlujoError, ValueError):
    """A workflow definition is not valid; `problems` lists everything that is wrong with it, in file order.

    Each problem names its file, line and column; `flujoctl validate FILE` shows all of them and runs nothing.
    """

    reason = "INVALID_FIELD"
    reason_code = "invalid-definition"
    type = "DefinitionError"

    def __init__(self, problems: Sequence[Problem], hints: Iterable[str] = ()) -> None:
        super().__init__("\n".join(map(str, problems)), hints)
        self.problems = tuple(problems)


class DeclarationError(FlujoError, TypeError):
    """A `@step` or `@workflow` declaration asks for something that flujo cannot do.

    Change the declaration as the message says; nothing has begun.
    """

    reason = "INVALID_FIELD"
    reason_code = "invalid-declaration"


class UnsafeStepNameError(FlujoError, RuntimeError):
    """Steps that run at the same time use one name, so which of them is `name#2` would depend on timing; or the `ctx`
    of a run was used where no name can be given to the step, as in the program of another run.

    Start concurrent steps with `ctx.gather` or `ctx.map`, or give each call a `name=` of its own. Call a `ctx` in the
    program it was handed to.
    """

    reason = "INVALID_FIELD"
    reason_code = "unsafe-step-name"

    def __init__(self, name: str, problem: str, hints: Sequence[str] = ()) -> None:
        super().__init__(
            f"step {name!r}: {problem}",
            hints or ["start concurrent steps with ctx.gather or ctx.map", "or give each call its own name="],
        )
        self.name = name


class WorkflowNotFoundError(FlujoError, LookupError):
    """A run needs a workflow this kernel was not given.

    Pass the workflow to the kernel or to `flujoctl serve`, or name its file: `flujoctl run FILE`.
    """

    reason = "WORKFLOW_NOT_FOUND"

    def __init__(self, workflow: str, known: Sequence[str]) -> None:
        listed = ", ".join(known) or "none"
        super().__init__(
            f"this kernel has no workflow {workflow!r}; it has: {listed}",
            ["pass it: Kernel(backend, workflows=[…])", "flujoctl run FILE"],
        )
        self.workflow, self.known = workflow, tuple(known)


class WorkflowFixedError(FlujoError):
    """A workflow was to be stored or removed whose name belongs to one that the kernel was started with.

    Put it under another name, or start the server without its file.
    """

    reason = "WORKFLOW_FIXED"

    def __init__(self, workflow: str) -> None:
        super().__init__(
            f"{workflow!r} is a workflow that this kernel was started with, which stays as it is",
            ["give the definition another `name`", "or start the server without the file of this one"],
        )
        self.workflow = workflow


class TaskNotFoundError(FlujoError, LookupError):
    """A definition names a task that is not installed.

    `flujoctl tasks` lists what is installed.
    """

    reason = "TASK_NOT_FOUND"

    def __init__(self, task: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no task {task!r}; there are: {', '.join(known)}")
        self.task, self.known = task, tuple(known)
