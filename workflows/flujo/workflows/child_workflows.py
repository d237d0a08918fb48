"""Steps that are runs of their own: what the step of a task `workflow` starts, and with which inputs.

What is started is found when the step begins. From then on the child goes on with the text that it has stored: its
file may change, or be gone, without harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from flujo.kernel.errors import FlujoError
from flujo.kernel.programs import Workflow

from .blocking import may_block
from .definitions import StepDefinition
from .secret_values import Secrets, inheriting
from .templates import holds, render
from .texts import as_text

LoadFile = Callable[[Path, str], Workflow]
"""Returns the workflow in a file; the text is what messages call it."""


class ChildStart(NamedTuple):
    """What a step starts."""

    workflow: Workflow | str
    inputs: Mapping[str, Any]
    labels: Mapping[str, str]
    adapt: Callable[[Workflow], Workflow] = lambda found: found
    """Makes of a workflow that is registered under a name what is started."""

    def begun_by(self, secrets: Secrets, depth: int) -> ChildStart:
        """Return the same as it is started by a run that has `depth` others above it, without the values of secrets,
        whose names the child inherits; raises ChildDepthError."""
        if depth >= MAX_DEPTH:
            raise ChildDepthError(depth)
        adapt = partial(inheriting, names=secrets.masked, depth=depth + 1)
        return ChildStart(
            self.workflow, secrets.redactor.value(self.inputs), secrets.redactor.value(self.labels), adapt
        )


MAX_DEPTH = 20
"""How many runs may be above one: files that name each other would go on for ever."""


class ChildDepthError(FlujoError, RecursionError):
    """Runs have started runs in too many steps."""

    reason = "STEP_FAILED"
    type = "ChildDepthError"

    def __init__(self, depth: int) -> None:
        super().__init__(
            f"there are {depth} runs above this one, each started by the one before: does a file name itself?"
        )


class ChildFileError(FlujoError, ValueError):
    """A step names a file by a path that counts from nowhere."""

    reason = "INVALID_FIELD"
    type = "ChildFileError"


def load_nothing(path: Path, source: str) -> NoReturn:
    """Refuse to read a file, where there are none."""
    raise ChildFileError(f"{source!r} cannot be read here")


async def child_start(step: StepDefinition, seen: Mapping[str, Any], load: LoadFile) -> ChildStart:
    """Return what a step starts, or an item of a loop that sees these names. Raises FlujoError for inputs that cannot
    be rendered, and for a file that cannot be read."""
    if step.condition is not None and step.loop is None:
        await holds(step.condition, seen)
    given = step.called.checked(await render(step.inputs if step.loop is None else step.loop.inputs, seen))
    labels = {name: as_text(value) for name, value in given["labels"].items()}
    if "workflow" in given:
        return ChildStart(given["workflow"], given["inputs"], labels)
    return ChildStart(
        await may_block(lambda _: load(_place(given["file"], seen), given["file"])), given["inputs"], labels
    )


def _place(file: str, seen: Mapping[str, Any]) -> Path:
    path, folder = Path(file), seen["workflow_dir"]
    if not path.is_absolute() and not folder:
        raise ChildFileError(f"{file!r} counts from the file of this workflow, and it has none; give an absolute path")
    return Path(folder) / path
