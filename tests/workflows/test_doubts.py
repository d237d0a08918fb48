"""What is valid and may not be meant: each is one warning, at the step, and what is meant so is none."""

from __future__ import annotations

import pytest

from flujo.workflows.definition_reader import read_definition
from flujo.workflows.registry import Tasks


def warnings_of(steps: str, more: str = "") -> list[str]:
    """The warnings of a definition with these steps, one in a line."""
    lines = "".join(f"  - {{{step}}}\n" for step in steps.split("; "))
    definition = read_definition(f"name: x\nparams: {{p: 1}}\n{more}steps:\n{lines}", "f", Tasks())
    return [str(warning) for warning in definition.warnings]


NOOP = "task: noop"
GRAPH = f"name: a, {NOOP}; name: b, {NOOP}; name: c, {NOOP}"


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (f"name: a, {NOOP}, condition: false", "f:4:12: step `a` never runs: its condition is false"),
        (f"name: a, {NOOP}, condition: 'False'", "f:4:12: step `a` never runs: its condition is false"),
        (f"name: a, {NOOP}, condition: true", "f:4:12: the condition of step `a` is always true; leave it out"),
        (
            f"name: a, {NOOP}, condition: 1 < 2",
            "f:4:12: the condition of step `a` is the same in every run: as it is no template, it is read as an "
            "expression",
        ),
        (
            f"name: a, {NOOP}, condition: '{{{{ 1 < 2 }}}}'",
            "f:4:12: the condition of step `a` is the same in every run: it names nothing",
        ),
        (
            f"name: a, {NOOP}; name: b, {NOOP}, condition: steps.a.status == 'success'",
            "f:5:12: no step ever has the status 'success'; a status is completed, failed, skipped or pending",
        ),
        (
            f"name: a, task: fail, inputs: {{message: x}}; name: b, {NOOP}; name: c, {NOOP}",
            "f:5:12: step `b` is never reached: `a` before it always fails",
        ),
        (
            f"name: a, {NOOP}, retry: {{delay: 5s}}",
            "f:4:12: the `retry` of step `a` tries nothing again: say how often, by `max_attempts`",
        ),
        (
            f"{GRAPH}, depends_on: [a]",
            "f:6:12: step `c` may run beside `b`, the step above it: it waits for `a`",
        ),
        (
            f"{GRAPH}, depends_on: []",
            "f:6:12: step `c` may run beside `b`, the step above it: it waits for nothing",
        ),
    ],
)
def test_a_doubt_is_told_at_its_step(steps: str, told: str) -> None:
    """And nothing besides."""
    assert warnings_of(steps) == [told]


@pytest.mark.parametrize(
    "steps",
    [
        f"name: a, {NOOP}, condition: p > 1",
        f"name: a, {NOOP}, condition: env.HOME == ''",
        f"name: a, {NOOP}; name: b, {NOOP}, condition: steps.a.status == 'failed'",
        f"name: a, task: fail, inputs: {{message: x}}, condition: p > 1; name: b, {NOOP}",
        f"name: a, task: fail, inputs: {{message: x}}, on_error: continue; name: b, {NOOP}",
        f"name: z, {NOOP}, on_error: {{next: b}}; name: a, task: fail, inputs: {{message: x}}; name: b, {NOOP}",
        f"name: a, task: fail, inputs: {{message: x}}; name: b, {NOOP}, always_run: true",
        f"name: a, task: fail, for_each: [], inputs: {{message: x}}; name: b, {NOOP}",
        f"{GRAPH}, depends_on: [b]",
        f"name: a, {NOOP}, depends_on: []; name: b, {NOOP}, depends_on: []; name: c, {NOOP}, depends_on: [a]",
        f"name: a, {NOOP}, on_error: {{next: h}}; name: b, {NOOP}; name: c, {NOOP}, depends_on: [b]; name: h, {NOOP}",
    ],
)
def test_what_is_meant_so_is_no_doubt(steps: str) -> None:
    """A file is not warned of for being what it is."""
    assert warnings_of(steps) == []


def test_a_step_in_no_flow_is_told_where_a_flow_is_the_default() -> None:
    """Without a default flow all steps run anyway."""
    flows = "flows: {%s definitions: [{f: [a]}]}\n"

    assert warnings_of(f"name: a, {NOOP}; name: b, {NOOP}", flows % "default: f,") == [
        "f:6:12: step `b` is in no flow; it runs with `--flow all` only"
    ]
    assert warnings_of(f"name: a, {NOOP}; name: b, {NOOP}", flows % "") == []


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("retry: {max_attempts: 2, delay: 1h}", "pauses 1h before it is tried again"),
        ("on_error: {action: retry, retry: 2, delay: 10m}", "pauses 10m before it is tried again"),
        ("repeat: {until: p > 1, interval: 20m}", "pauses 20m between two rounds"),
        ("retry: {max_attempts: 2, delay: 9m}, repeat: {until: p > 1, interval: 9m, max: 2}", None),
        ("repeat: {until: p > 1, interval: 20m, max: 1}", None),
        ("retry: 0", None),
        (None, "pauses 1h before it is tried again"),
    ],
)
def test_a_pause_that_the_run_does_not_outlive_is_told(step: str | None, told: str | None) -> None:
    """Of a step, of all steps, and of a sleep: the run would be over by then, whatever was said."""
    defaults = "" if step is not None else "defaults: {retry: {max_attempts: 2, delay: 1h}}\n"
    steps = f"name: a, {NOOP}" + ("" if step is None else f", {step}")
    because = "and the `timeout` of the run is 10m, so it fails then instead"

    found = warnings_of(steps, f"timeout: 10m\n{defaults}")

    assert found == ([] if told is None else [f"f:{4 + (step is None) + 1}:12: step `a` {told}, {because}"])
    assert warnings_of(steps, defaults) == []


def test_a_sleep_that_is_longer_than_it_may_take_is_told() -> None:
    """Of what is written only: what a template gives is known when it runs."""
    sleep = "name: a, task: sleep, inputs: {duration: %s}"

    assert warnings_of(f"{sleep % '1h'}, timeout: 5m") == [
        "f:4:12: step `a` sleeps 1h, longer than its `timeout`, and always fails"
    ]
    assert warnings_of(f"{sleep % '1h'}, timeout: 1h") == []
    assert warnings_of(sleep % "'{{ p }}'", "timeout: 1s\n") == []
    assert "step `a` pauses 1h, and" in warnings_of(sleep % "1h", "timeout: 1m\n")[0]
