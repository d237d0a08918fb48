"""Find the steps of a run whose outputs repeat what was stored before: each returns everything gathered so far.

Two hundred steps that add 10 KB each store 200 MB in this way, and read as much whenever the run is resumed.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

from flujo.kernel import WorkflowState

from .text import size_text

LEAST_BYTES = 256 << 10
"""Less than this is not worth a word."""

FEWEST_STEPS = 3
"""A step that returns what another one gave it, changed, is usual; a chain of them is not."""

_NAMED = 3
"""How many steps are named."""

_BRACKETS = "[]{} \n"
_NUMBERS = re.compile(r"#\d+|\[[^/]*\]")


class Repetition(NamedTuple):
    """How much of what a run has stored repeats an output before it: of which steps, how many, bytes of theirs, and
    bytes of all outputs."""

    steps: tuple[str, ...]  # without their numbers: `gather` for `gather#17`
    number: int
    repeated_bytes: int
    total_bytes: int

    @property
    def sentence(self) -> str:
        """Return what is said about it."""
        listed = ", ".join(self.steps[:_NAMED]) + (", …" if len(self.steps) > _NAMED else "")
        return (
            f"{self.number} outputs of {listed} repeat the ones before: {size_text(self.repeated_bytes)} of "
            f"{size_text(self.total_bytes)}; let a step return what is new, and the workflow put it together"
        )


def find_repetition(state: WorkflowState) -> Repetition | None:
    """Return what the outputs of a run repeat of earlier ones; None unless that is the larger part of them."""
    completed = [step for step in state.steps.values() if step.output_json]
    newest: dict[str, str] = {}  # the last output of each name
    before = ""  # the output before, whatever its step is called
    names: dict[str, None] = {}
    count = repeated = total = 0
    for step in sorted(completed, key=lambda step: step.settled_seq or 0):
        output, name = step.output_json or "", _NUMBERS.sub("", step.name)
        found = max(_repeated(output, earlier) for earlier in {newest.get(name, ""), before})
        if found:
            names[name] = None
            count += 1
        repeated += found
        total += len(output)
        newest[name] = before = output
    if count < FEWEST_STEPS or repeated < LEAST_BYTES or repeated * 2 < total:
        return None
    return Repetition(tuple(names), count, repeated, total)


def _repeated(output: str, earlier: str) -> int:
    """Return how many characters of an output stood in an earlier one, if that has grown into this one. The same output
    again has not grown: a store keeps large ones once."""
    core = earlier.strip(_BRACKETS)
    if not core or output == earlier:
        return 0
    if core in output:
        return len(core)
    common = bisect_left(range(len(earlier)), True, key=lambda length: not output.startswith(earlier[: length + 1]))
    return common if common * 2 > len(earlier) else 0
