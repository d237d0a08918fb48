"""flujoctl trace: what is read off the events of a run, and what is drawn of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.conftest import Flujoctl
from flujo.cli import timeline
from flujo.cli.timeline import Kind, Span
from flujo.kernel import Event, events

SECOND = 1_000_000

BRANCHES = """\
name: branches
max_parallel: 2
steps:
  - {name: start, task: echo, inputs: {message: x}}
  - name: left
    depends_on: [start]
    task: shell
    inputs: {command: "touch left; until [ -e right ]; do sleep 0.01; done"}
  - name: right
    depends_on: [start]
    task: shell
    inputs: {command: "touch right; until [ -e left ]; do sleep 0.01; done"}
"""


def journal(*facts: tuple[float, Any]) -> list[Event]:
    """Return the events of facts that were recorded so many seconds after the beginning."""
    return [Event(seq, round(at * SECOND), fact) for seq, (at, fact) in enumerate(facts, 1)]


def brief(spans: Sequence[Span]) -> list[tuple[str, str, int, float, float | None, str]]:
    """Return spans with their times in seconds."""
    return [
        (
            each.step,
            each.kind.value,
            each.attempt,
            each.began / SECOND,
            None if each.ended is None else each.ended / SECOND,
            each.outcome,
        )
        for each in spans
    ]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(
            [(0, events.StepStarted("a")), (2, events.StepCompleted("a", "1"))],
            [("a", "attempt", 1, 0, 2, "completed")],
            id="an attempt",
        ),
        pytest.param(
            [
                (0, events.StepStarted("a", 1)),
                (1, events.AttemptFailed("a", 1, "E", "x", 3 * SECOND)),
                (3, events.StepStarted("a", 2)),
                (4, events.StepFailed("a", 2, "E", "x")),
            ],
            [
                ("a", "attempt", 1, 0, 1, "failed"),
                ("a", "backoff", 1, 1, 3, "went on"),
                ("a", "attempt", 2, 3, 4, "failed"),
            ],
            id="a retry",
        ),
        pytest.param(
            [
                (0, events.StepStarted("a")),
                (9, events.StepInterrupted("a", 1, last_alive_at=2 * SECOND)),
                (9, events.StepStarted("a", 2)),
            ],
            [("a", "attempt", 1, 0, 2, "interrupted"), ("a", "attempt", 2, 9, None, "open")],
            id="a crash, after which nobody ran it for a while",
        ),
        pytest.param(
            [(0, events.StepWaiting("s", "signal", signal="go")), (5, events.StepCompleted("s", "null"))],
            [("s", "signal", 1, 0, 5, "completed")],
            id="a wait for a signal",
        ),
        pytest.param(
            [
                (0, events.StepStarted("a")),
                (1, events.StepWaiting("a", "sleep", until=4 * SECOND)),
                (4, events.StepCompleted("a", "null")),
            ],
            [("a", "attempt", 1, 0, 1, "went on"), ("a", "sleep", 1, 1, 4, "completed")],
            id="a task that waits",
        ),
        pytest.param([(0, events.StepSkipped("a", "condition"))], [], id="a step that never began"),
        pytest.param(
            [(5, events.StepStarted("a")), (3, events.StepCompleted("a", "1"))],
            [("a", "attempt", 1, 5, 5, "completed")],
            id="a clock that was set back",
        ),
    ],
)
def test_spans_are_read_off_the_events(
    facts: Sequence[tuple[float, Any]], expected: list[tuple[str, str, int, float, float | None, str]]
) -> None:
    """Of one step after another."""
    assert brief(timeline.spans_of(journal(*facts))) == expected


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=30))
def test_no_two_spans_overlap_on_a_lane_and_no_lane_is_wasted(times: list[tuple[int, int]]) -> None:
    """A viewer nests what overlaps, as if one had called the other."""
    spans = [Span(f"s{n}", Kind.ATTEMPT, 1, began, began + lasts, "") for n, (began, lasts) in enumerate(times)]

    lanes = timeline.lanes_of(spans, 100)

    by_lane: dict[int, list[Span]] = {}
    for lane, span in zip(lanes, spans, strict=True):
        by_lane.setdefault(lane, []).append(span)
    for own in by_lane.values():
        own.sort(key=lambda span: (span.began, span.ended or 0))
        assert all(before.ended is not None and before.ended <= after.began for before, after in pairwise(own))
    busiest = max((sum(a.began <= at < max(a.ended or 0, a.began + 1) for a in spans) for at in range(80)), default=0)
    assert len(by_lane) == busiest


def test_a_drawing_has_a_bar_for_each_step_on_one_scale() -> None:
    """Work and waiting look different, what is very short is still seen, and a long name is cut."""
    spans = [
        Span("a", Kind.ATTEMPT, 1, 0, 5 * SECOND, "completed"),
        Span("a very long name of a step, longer than any column", Kind.SLEEP, 1, 5 * SECOND, 10 * SECOND, "completed"),
        Span("short", Kind.ATTEMPT, 1, 10 * SECOND, 10 * SECOND, "completed"),
    ]

    head, *lines = timeline.as_text(spans, 0, 74, unicode=False)

    assert head.split() == ["0", "10s"]
    assert [line[32:52].rstrip() for line in lines] == ["##########", "          ..........", "                   #"]
    assert lines[1].startswith("a very long name of a step, l…")
    assert [line[54:] for line in lines] == ["5s", "waited 5s", "0s"]


def test_attempts_at_the_same_time_stand_on_lanes_of_their_own(folder: Path, flujoctl: Flujoctl) -> None:
    """In the file for trace viewers, of a real run whose branches wait for each other."""
    (folder / "branches.yaml").write_text(BRANCHES)
    assert flujoctl("run", "branches.yaml", "--id", "b").code == 0

    trace = json.loads(flujoctl("trace", "b", "--format", "chrome").out)

    slices = {each["name"]: each for each in trace["traceEvents"] if each["ph"] == "X"}
    assert set(slices) == {"start", "left", "right"}
    assert slices["left"]["tid"] != slices["right"]["tid"]
    assert slices["start"]["ts"] == 0
    assert slices["left"]["args"] == {"step": "left", "attempt": 1, "outcome": "completed"}
    assert [line.split()[0] for line in flujoctl("trace", "b").out.splitlines()[1:]] in (
        ["start", "left", "right"],
        ["start", "right", "left"],
    )


def test_a_run_in_which_no_step_has_begun_says_so(folder: Path, flujoctl: Flujoctl) -> None:
    """There is nothing to draw."""
    (folder / "program_of_trace_tests.py").write_text(
        "from flujo.kernel import Context, workflow\n\n@workflow\nasync def empty(ctx: Context) -> int:\n    return 1\n"
    )
    assert flujoctl("run", "program_of_trace_tests.py:empty", "--id", "e").code == 0

    assert flujoctl("trace", "e") == (0, "", "no step has begun yet\n")
    assert json.loads(flujoctl("trace", "e", "-o", "json").out) == []
