"""What a valid definition says that may not be meant: steps that never run, conditions that decide nothing, and what
runs side by side although it stands below one another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

from flujo.kernel.durations import format_duration, parse_duration
from flujo.kernel.programs import NO_RETRY

from .definitions import Definition, StepDefinition
from .documents import Position
from .marks import is_template
from .templates import condition_references

STATUSES = ("completed", "failed", "skipped", "pending")

_COMPARED = r"""\.status\s*[=!]=\s*(['"])([^'"]*)\1"""

Doubt = tuple[Position, str]


def doubts(definition: Definition, places: Mapping[str, Position]) -> Iterator[Doubt]:
    """Yield what may not be meant, each at the place of a step's name."""
    for step in definition.steps:
        yield from ((places[step.name], message) for message in _of_condition(step))
        yield from ((places[step.name], message) for message in _of_retry(step))
        yield from ((places[step.name], message) for message in _of_waits(step, definition.timeout_seconds))
    yield from ((places[name], message) for name, message in _never_reached(definition))
    yield from ((places[name], message) for name, message in _side_by_side(definition))
    yield from ((places[name], message) for name, message in _in_no_flow(definition))


def _of_condition(step: StepDefinition) -> Iterator[str]:
    condition = step.condition
    if condition is None:
        return
    if isinstance(condition, bool) or condition.strip().lower() in ("true", "false"):
        if str(condition).strip().lower() == "false":
            yield f"step `{step.name}` never runs: its condition is false"
        else:
            yield f"the condition of step `{step.name}` is always true; leave it out"
        return
    mentioned = condition_references(condition)
    if not (mentioned.roots or mentioned.steps or mentioned.env or mentioned.parameters):
        told = "as it is no template, it is read as an expression" if not is_template(condition) else "it names nothing"
        yield f"the condition of step `{step.name}` is the same in every run: {told}"
    for _, status in re.findall(_COMPARED, condition):
        if status not in STATUSES:
            yield f"no step ever has the status {status!r}; a status is {', '.join(STATUSES[:-1])} or {STATUSES[-1]}"


def _of_retry(step: StepDefinition) -> Iterator[str]:
    retry = step.retry
    if retry.max_attempts == 1 and retry != NO_RETRY:
        yield f"the `retry` of step `{step.name}` tries nothing again: say how often, by `max_attempts`"


def _of_waits(step: StepDefinition, run_seconds: float | None) -> Iterator[str]:
    """Yield the pauses of a step that are longer than its run, or the step itself, may take."""
    pauses: dict[str, float] = {}
    if step.retry.max_attempts > 1:
        pauses[" before it is tried again"] = parse_duration(step.retry.delay)
    if step.repeat is not None and step.repeat.rounds > 1:
        pauses[" between two rounds"] = step.repeat.seconds
    slept = step.inputs.get("duration", step.inputs.get("seconds")) if step.task.name == "sleep" else None
    if slept is not None and not is_template(str(slept)):
        pauses[""] = parse_duration(slept)
        if step.timeout_seconds is not None and pauses[""] > step.timeout_seconds:
            slept = format_duration(pauses[""])
            yield f"step `{step.name}` sleeps {slept}, longer than its `timeout`, and always fails"
    for when, seconds in pauses.items():
        if run_seconds is not None and seconds >= run_seconds:
            told = f"the `timeout` of the run is {format_duration(run_seconds)}, so it fails then instead"
            yield f"step `{step.name}` pauses {format_duration(seconds)}{when}, and {told}"


def _never_reached(definition: Definition) -> Iterator[tuple[str, str]]:
    """Yield the first step of a sequence that a step before it keeps from being reached."""
    if definition.graph is not None:
        return
    targets = {step.on_error.next for step in definition.steps}
    ends: str | None = None
    for step in definition.steps:
        if ends is not None and not step.always_run and step.name not in targets:
            yield step.name, f"step `{step.name}` is never reached: `{ends}` before it always fails"
            return
        if step.name in targets:
            ends = None
        always_fails = step.task.name == "fail" and step.loop is None and step.condition in (None, True)
        if always_fails and not step.on_error.goes_on:
            ends = step.name


def _side_by_side(definition: Definition) -> Iterator[tuple[str, str]]:
    """Yield steps of a graph that do not wait for the one above them, in a file where others do without saying so."""
    graph = definition.graph
    if graph is None or not definition.waiting_unsaid:
        return
    steps = [step for step in definition.steps if not definition.is_left_for_the_end(step)]
    for above, step in pairwise(steps):
        if (
            step.name in definition.waiting_unsaid
            or step.name in definition.handled
            or above.name in definition.handled
        ):
            continue
        if above.name not in graph.before(step.name):
            waits = ", ".join(f"`{name}`" for name in graph.waits_for[step.name]) or "nothing"
            yield (
                step.name,
                f"step `{step.name}` may run beside `{above.name}`, the step above it: it waits for {waits}",
            )


def _in_no_flow(definition: Definition) -> Iterator[tuple[str, str]]:
    listed = {name for flow in definition.flows.values() for name in flow.steps}
    if definition.flows and definition.default_flow in definition.flows:
        for step in definition.steps:
            if step.name not in listed:
                yield step.name, f"step `{step.name}` is in no flow; it runs with `--flow all` only"
