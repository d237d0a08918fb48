"""What a run would do, before it does anything: which steps, and their inputs as far as they are known beforehand."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flujo.kernel.errors import FlujoError
from flujo.kernel.programs import StepChoice

from .choosing import part_of
from .definitions import Definition, StepDefinition
from .marks import References, is_template
from .parameters import check_inputs
from .seen import Variables
from .templates import condition_references, holds, references, render
from .texts import as_text

_KNOWN = ("args", "env", "settings", "workflow", "workflow_name", "workflow_file", "workflow_dir", "start_dir")


class StepPreview(NamedTuple):
    """One step of a run to be. `skipped` says why it would be, `condition` what decides it then; inputs that are not
    known yet are as they are written, and `problems` are what would fail."""

    name: str
    task: str
    inputs: Mapping[str, Any]
    waits_for: Collection[str] | None
    skipped: str | None
    condition: str | None
    problems: Collection[str]
    description: str | None


async def preview(
    definition: Definition, choice: StepChoice, inputs: Mapping[str, Any], path: Path | None
) -> list[StepPreview]:
    """Return the steps that a run with these inputs would perform, in their order; raises StepChoiceError."""
    part = part_of(definition, choice)
    complete, _ = check_inputs(part.parameters, inputs, takes_others=True)
    file, folder = ("", "") if path is None else (str(path), str(path.parent))
    plain = {name: as_text(value) for name, value in part.env.items() if not is_template(str(value))}
    own = {"workflow_name": part.name, "workflow_file": file, "workflow_dir": folder, "start_dir": os.getcwd()}
    names = {
        **complete,
        **own,
        "args": complete,
        "env": Variables({**{name: os.environ[name] for name in part.env_names if name in os.environ}, **plain}),
        "settings": part.settings,
        "workflow": {"name": part.name, "version": part.version, "file": file, "dir": folder},
        "steps": {},
    }
    told = {*_KNOWN, *complete}
    hidden = {*part.secrets, *part.env, *(part.env_names if part.env_files else ())} - plain.keys()
    return [await _previewed(part, step, _Known(names, told, hidden)) for step in part.steps]


class _Known(NamedTuple):
    """The names that are known before a run, the roots among them, and variables that are not known yet."""

    names: dict[str, Any]
    roots: set[str]
    later: set[str]
    of_item: str | None = None
    """What `args` has besides for each item of a loop."""

    def has(self, mentioned: References) -> bool:
        """True if all that is mentioned is known."""
        if mentioned.steps or mentioned.computed_step or mentioned.env & self.later:
            return False
        if self.of_item is not None and mentioned.members & {("args", self.of_item), ("args", None)}:
            return False
        return mentioned.roots - {"range", "dict"} <= self.roots


async def _previewed(part: Definition, step: StepDefinition, known: _Known) -> StepPreview:
    problems: list[str] = []
    skipped = part.left_out.get(step.name) or part.passed_by.get(step.name)
    condition = None
    if skipped is None and step.condition is not None:
        condition = str(step.condition).strip()
        if isinstance(step.condition, bool) or known.has(condition_references(step.condition)):
            try:
                skipped = None if await holds(step.condition, known.names) else f"its condition is false: {condition}"
                condition = None
            except FlujoError as error:
                problems.append(f"condition: {error}")
    written = step.inputs if step.loop is None else {"items": step.loop.items, **step.inputs}
    beforehand = known if step.loop is None else known._replace(of_item=step.loop.arg_name)
    inputs = {name: await _rendered(value, beforehand, problems) for name, value in written.items()}
    waits_for = None if part.graph is None else part.graph.waits_for[step.name]
    return StepPreview(step.name, step.called.name, inputs, waits_for, skipped, condition, problems, step.description)


async def _rendered(value: Any, known: _Known, problems: list[str]) -> Any:
    """Return a value with the templates rendered whose names are known."""
    if isinstance(value, dict):
        return {key: await _rendered(each, known, problems) for key, each in value.items()}
    if isinstance(value, list):
        return [await _rendered(each, known, problems) for each in value]
    if not isinstance(value, str) or not is_template(value) or not known.has(references(value)):
        return value
    try:
        return await render(value, known.names)
    except FlujoError as error:
        problems.append(str(error))
        return value
