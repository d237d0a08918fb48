"""What is drawn on a terminal while a run goes on."""

from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len

from flujo.cli.live_view import ASCII, UNICODE, Marks, OpenStep, View, drawn
from flujo.kernel import Progress, StepStatus
from flujo.kernel.state import Failure

SECOND = 1_000_000
NOW = 1000 * SECOND


def step(status: StepStatus = StepStatus.RUNNING, **known: Any) -> OpenStep:
    """A step that began ten seconds ago."""
    fields = {"since": NOW - 10 * SECOND, "until": None, "attempt": 1, "max_attempts": 3}
    fields |= {"signal": None, "child": None, "progress": None}
    return OpenStep("s", status, **(fields | known))


def report(done: float, total: float, **metrics: float) -> Progress:
    """A report of progress."""
    return Progress(done, total, None, metrics, NOW)


@pytest.mark.parametrize(
    ("open_step", "line"),
    [
        (step(), "s  running  10s"),
        (step(attempt=2), "s  running  10s  attempt 2"),
        (step(progress=report(5, 10)), "s  running  10s  ━━━━━━━━━━──────────  50 % (5 of 10)"),
        (step(progress=report(20, 10)), "s  running  10s  ━━━━━━━━━━━━━━━━━━━━  100 % (20 of 10)"),
        (
            step(is_loop=True, progress=report(50, 200, failed=3, per_second=10)),
            "s  ━━━━━───────────────  25 % (50 of 200), 3 failed, 10/s, about 15s left",
        ),
        (
            step(StepStatus.RETRYING, until=NOW + 7 * SECOND, error=Failure("ShellError", "code 3", "s", 1)),
            "s  retrying  attempt 2 of 3 in 7s  ShellError: code 3",
        ),
        (step(StepStatus.WAITING, signal="go", until=NOW + 60 * SECOND), "s  waiting  for the signal go, 1m at most"),
        (step(StepStatus.WAITING, child="c"), "s  waiting  for run c"),
        (step(StepStatus.WAITING, until=NOW + 60 * SECOND), "s  waiting  1m left"),
    ],
)
def test_a_step_is_one_line_that_says_what_it_does(open_step: OpenStep, line: str) -> None:
    """With its countdown or its bar."""
    first, _ = drawn(View([open_step], footer="1 step"), NOW, 100, UNICODE)

    assert first.text[2:] == line


def test_below_a_step_stand_its_answer_and_its_last_lines() -> None:
    """Without anything that could move the cursor; at most three lines."""
    said, answers = {"s": ["1", "2", "3\x1b[2J", "4"]}, {"s": "flujoctl signal r go"}
    view = View([step()], said, answers, "0 of 1", NOW - 60 * SECOND)

    assert [line.text for line in drawn(view, NOW, 80, ASCII)][1:] == [
        "    answer with: flujoctl signal r go",
        "  | 2",
        "  | 3�[2J",
        "  | 4",
        "0 of 1, 1m so far",
    ]


@pytest.mark.parametrize(("columns", "lines"), [(60, 2), (20, 5)])
def test_the_command_that_answers_is_whole_on_a_narrow_terminal(columns: int, lines: int) -> None:
    """It is there to be typed: it is broken where the line ends, and never cut."""
    command = "flujoctl signal 01a22c96-c412-72b3-a15f-4257a9d6e02f approve"
    view = View([step(StepStatus.WAITING, signal="approve")], answers={"s": command}, footer="f")
    _, told, *parts, _ = (line.text for line in drawn(view, NOW, columns, UNICODE))

    assert told == "    answer with:"[:columns]
    assert "".join(parts) == command
    assert len(parts) <= lines
    assert all(cell_len(part) <= columns for part in parts)


def test_of_many_steps_the_first_are_drawn() -> None:
    """And how many more there are."""
    lines = drawn(View([step()] * 14, footer="f"), NOW, 80, UNICODE)

    assert [line.text for line in lines][10:] == ["  and 4 more", "f"]


@pytest.mark.parametrize(("columns", "marks"), [(1, ASCII), (3, UNICODE), (20, ASCII), (60, UNICODE)])
def test_no_line_is_wider_than_the_terminal(columns: int, marks: Marks) -> None:
    """What does not fit is cut: the next drawing begins at the first line of this one. Wide characters count twice."""
    view = View([step(progress=report(1, 2))], {"s": ["東京" * 50]}, {"s": "x" * 200}, "a long word " * 20)

    assert max(cell_len(line.text) for line in drawn(view, NOW, columns, marks)) <= columns
