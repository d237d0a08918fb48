"""A definition: what a YAML text says, as frozen values that need no further checks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flujo.kernel.durations import parse_duration
from flujo.kernel.errors import Problem
from flujo.kernel.programs import ALWAYS, EVERY_STEP, NO_RETRY, NOTHING, Overlap, Retention, RetryPolicy, StepChoice

from .documents import WHOLE_FILE, Position
from .failure_texts import rules_of
from .graphs import Graph
from .marks import References
from .parameters import Parameter
from .registry import Task

CLEAN_UP_SECONDS = 60.0
"""How long clean-ups may take after a cancel or a timeout, unless `settings.clean_up_timeout` says otherwise."""

MAX_JUMPS = 100
"""How often a run may jump back, unless `settings.max_jumps` says otherwise."""


EVERYTHING = StepChoice(EVERY_STEP)


class Use(NamedTuple):
    """One template, where it stands, and whose it is: a step's, or None for the outputs of the run.

    It `is_certain` to be rendered if its step is performed, as those for the items of a loop and for a failure are not.
    """

    at: Position
    mentioned: References
    step: str | None
    is_condition: bool
    is_certain: bool = True


class Flow(NamedTuple):
    """A part of a definition that is run by itself: its steps in their order, and what waits for what."""

    steps: tuple[str, ...]
    graph: Graph | None


class OnError(NamedTuple):
    """What follows when a step has failed for good: the run fails unless it `goes_on`, with the step `next` if given.

    With `fails_at_the_end` it goes on and fails once nothing is left to do. `message` is a template for what the
    failure is told as.
    """

    goes_on: bool = False
    next: str | None = None
    message: str | None = None
    fails_at_the_end: bool = False


class LoopDefinition(NamedTuple):
    """What a step does once per item of a list: `task` with `inputs`, which see the item also under `arg_name`.

    `items`, `max_workers` and `chunk_size` may be templates; `told_items` is what messages call the first. A loop that
    `goes_on` takes note of items that fail, any other one begins no more. Its progress is reported every
    `report_seconds`, with None never. `mentions` are the parameters in `inputs` and the condition of the step."""

    items: Any
    task: Task
    inputs: Mapping[str, Any]
    told_items: str = "`for_each`"
    arg_name: str = "item"
    max_workers: int | str | None = None
    chunk_size: int | str | None = None
    goes_on: bool = False
    report_seconds: float | None = None
    mentions: frozenset[str] = frozenset()


class Repeat(NamedTuple):
    """A step is performed until the condition `until` holds, at most `rounds` times, `seconds` after one another."""

    until: str
    seconds: float
    rounds: int


class StepDefinition(NamedTuple):
    """One step as it is written. `digest` covers its task, inputs and condition, unrendered, with what they mention of
    the definition itself (`reads`), and nothing else; of a loop it has two parts, `ITEM/LIST`
    (flujo.kernel.journal.compatibility).

    `mentions` are the parameters in its inputs and condition; ANY among them if it cannot be told which.
    With `outputs` its result is these, made of what the task returns. `at` is where
    its task stands."""

    name: str
    task: Task
    inputs: Mapping[str, Any]
    condition: bool | str | None
    retry: RetryPolicy
    timeout_seconds: float | None
    on_error: OnError
    always_run: bool
    description: str | None
    mentions: frozenset[str] = frozenset()
    reads: Mapping[str, Any] = {}
    loop: LoopDefinition | None = None
    at: Position = WHOLE_FILE
    repeat: Repeat | None = None
    outputs: Mapping[str, Any] | None = None

    @property
    def digest(self) -> str:
        reads = [self.reads] if self.reads else []
        if self.repeat is not None:
            reads.append({"until": self.repeat.until})
        if self.outputs is not None:
            reads.append({"outputs": self.outputs})
        if (loop := self.loop) is None:
            return _digest([self.task.name, self.inputs, self.condition, *reads])
        of_an_item = [loop.task.name, loop.inputs, loop.arg_name, self.condition, *reads]
        return f"{_digest(of_an_item)}/{_digest(loop.items)}"

    @property
    def text_rules(self) -> Sequence[str]:
        """Return the rules by which what a failure says decides whether it is tried again."""
        return () if self.retry is NO_RETRY else rules_of(self.retry)

    @property
    def called(self) -> Task:
        """Return the task whose body is run: of a loop that of its items."""
        return self.task if self.loop is None else self.loop.task


def _digest(written: Any) -> str:
    return hashlib.sha256(json.dumps(written, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Definition(NamedTuple):
    """A valid definition.

    `graph` None: the steps run in order. `outputs` None: none are declared. `env`: variables for the commands of all
    steps, as they are written, besides those in `env_files`. `env_names`: the variables its templates mention;
    `needed_env` those that every run without a failure needs, `needed_inputs` such parameters without a default.
    `uses`: its templates, in the order of the file.
    `waiting_unsaid`: the steps of a graph that wait for the one above them without saying so.
    `undeclared`: the parameters among `parameters` that are only used, and where.
    `warnings`: what is allowed and may not be meant.

    A part of a definition (`chosen`) has the `steps` and the `graph` of its flow and not those `outside` of it. Of
    these steps it skips those in `left_out` whenever they are reached, and those `passed_by` the first time, each for a
    reason.
    """

    name: str
    text: str
    steps: tuple[StepDefinition, ...]
    graph: Graph | None = None
    max_parallel: int | None = None
    description: str | None = None
    version: str | None = None
    parameters: tuple[Parameter, ...] = ()
    undeclared: Mapping[str, Position] = {}
    outputs: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = {}
    timeout_seconds: float | None = None
    settings: Mapping[str, Any] = {}
    retention: Retention | None = None
    secrets: tuple[str, ...] = ()
    env: Mapping[str, Any] = {}
    env_files: tuple[str, ...] = ()
    env_names: frozenset[str] = frozenset()
    needed_env: frozenset[str] = frozenset()
    needed_inputs: frozenset[str] = frozenset()
    waiting_unsaid: frozenset[str] = frozenset()
    uses: tuple[Use, ...] = ()
    warnings: tuple[Problem, ...] = ()
    flows: Mapping[str, Flow] = {}
    default_flow: str = EVERY_STEP
    chosen: StepChoice = EVERYTHING
    outside: tuple[str, ...] = ()
    left_out: Mapping[str, str] = {}
    passed_by: Mapping[str, str] = {}

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def plan(self) -> list[tuple[str, ...]]:
        """Return the steps as a run stores them (flujo.kernel.journal.plans)."""
        rows: list[tuple[str, ...]] = []
        for step in self.steps:
            columns: tuple[str, ...] = ()
            if self.graph is not None:
                columns = self.graph.waits_for[step.name] if self.graph.has_edges else (NOTHING,)
            rows.append((step.name, step.digest, *columns, *([ALWAYS] if step.always_run else [])))
        return rows

    @property
    def mentions(self) -> dict[str, frozenset[str]]:
        """Return the parameters that each step is written with, and as `NAME[]` those of the items of a loop."""
        found = {step.name: step.mentions for step in self.steps if step.mentions}
        return found | {f"{step.name}[]": step.loop.mentions for step in self.steps if step.loop is not None}

    @property
    def handled(self) -> dict[str, tuple[str, ...]]:
        """Return the steps whose failures lead to each handler, in the order of the file."""
        found: dict[str, tuple[str, ...]] = {}
        for step in self.steps:
            if (handler := step.on_error.next) is not None:
                found[handler] = (*found.get(handler, ()), step.name)
        return found

    def is_left_for_the_end(self, step: StepDefinition) -> bool:
        """True if a step is a clean-up without a place in the graph."""
        return self.graph is not None and step.always_run and not self.graph.waits_for[step.name]

    @property
    def clean_up_seconds(self) -> float:
        """Return how long clean-ups may take after a cancel or a timeout."""
        return parse_duration(self.settings.get("clean_up_timeout", CLEAN_UP_SECONDS))

    @property
    def has_clean_ups(self) -> bool:
        """True if any step always runs."""
        return any(step.always_run for step in self.steps)

    @property
    def max_jumps(self) -> int:
        """Return how often a run may jump back."""
        return int(self.settings.get("max_jumps", MAX_JUMPS))

    @property
    def on_overlap(self) -> Overlap:
        """Return what a run does that is started while another one of the workflow is not finished."""
        return Overlap(self.settings.get("on_overlap") or Overlap.ALLOW)
