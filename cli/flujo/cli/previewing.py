"""How `run --dry-run` shows a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import text

if TYPE_CHECKING:
    from flujo.workflows.preview import StepPreview

MOST = 200
"""Characters of an input that are shown."""


def preview_lines(number: int, step: StepPreview) -> Iterator[str]:
    """Yield a line for a step, and one for each of its inputs unless it would be skipped."""
    waits = "" if not step.waits_for else f", after {', '.join(step.waits_for)}"
    if step.skipped is not None:
        yield f"  {number}. {step.name} ({step.task}{waits}): skipped, {step.skipped}"
        return
    condition = "" if step.condition is None else f": if {step.condition}"
    yield f"  {number}. {step.name} ({step.task}{waits}){condition}"
    if step.description is not None:
        yield f"       {step.description}"
    for name, value in step.inputs.items():
        yield f"       {name}: {text.value(value, MOST)}"
    for problem in step.problems:
        yield f"       this would fail: {problem}"
