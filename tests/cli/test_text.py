"""How things look: words, columns, colours, and nothing that moves the cursor."""

from __future__ import annotations

import io

import pytest

from flujo.cli import event_text, text
from flujo.cli.session import has_colour
from flujo.kernel import Event, StepState, StepStatus, WorkflowState
from flujo.kernel.events import KINDS, Kind, RunCompleted, UnknownFact
from kernel.journal.test_events import SAMPLES, least


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "terminal", "plain"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "1"}, True, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"CLICOLOR_FORCE": "0"}, True, False),
        ({"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False, False),
        ({"CLICOLOR": "0", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_colours_are_for_those_who_want_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], terminal: bool, plain: bool
) -> None:
    """NO_COLOR goes before FORCE_COLOR, both before what the stream is."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert has_colour(Terminal()) is terminal
    assert has_colour(io.StringIO()) is plain
    assert has_colour(io.StringIO(), "always")
    assert not has_colour(Terminal(), "never")
    assert has_colour(Terminal(), "auto") is terminal


def test_a_status_is_a_word_with_and_without_colour() -> None:
    """The colour is put around the padded word."""
    assert text.coloured("failed", colour=False, width=8) == "failed  "
    assert text.coloured("failed", colour=True, width=8) == "\x1b[31mfailed  \x1b[0m"
    assert "running (interrupted)" in text.coloured("running (interrupted)", colour=True)


def test_columns_line_up_whatever_is_in_them() -> None:
    """Wide characters count twice, control characters are gone."""
    lines = text.table(("A", "S"), [["数", "x"], ["a\x1b[2Jb", "y"]], status=1, colour=False).splitlines()

    assert lines == ["A       S", "数      x", "a�[2Jb  y"]


def test_long_and_multi_line_texts_are_cut() -> None:
    """A line is a line."""
    assert text.first_line("one\ntwo") == "one"
    assert text.first_line("x" * 300, 10) == "x" * 9 + "…"
    assert text.value({"a": [1, "é"]}) == '{"a": [1, "é"]}'


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        (RunCompleted("1"), "run completed"),
        (RunCompleted("1", "done elsewhere", "ann"), "run completed by ann: done elsewhere"),
        (RunCompleted("1", "done\x1b[2J elsewhere"), "run completed: done�[2J elsewhere"),
    ],
)
def test_who_completed_a_run_by_hand_is_said(fact: RunCompleted, line: str) -> None:
    """And why; nothing of it moves the cursor."""
    assert event_text.event_line(Event(1, 1, fact), WorkflowState(run_id="r", uid="u")) == line


def test_an_event_of_a_newer_release_has_a_line() -> None:
    """It is shown by its name, and nothing in that reaches the terminal raw."""
    event = Event(1, 1, UnknownFact("step_\x1b[2Jteleported"))

    assert event_text.event_line(event, WorkflowState(run_id="r", uid="u")) == (
        "step_�[2Jteleported: an event of a newer release"
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_every_kind_of_event_has_a_line_of_its_own(kind: Kind) -> None:
    """With all its fields and with the fewest: a kind without one would end `watch` in the middle of a run."""
    for fact in (SAMPLES[kind.type], least(kind)):
        event = Event(1, 1, fact)
        step = StepState(name=event.step or "a")
        state = WorkflowState(run_id="r", uid="u", steps={step.name: step})

        line = event_text.event_line(event, state)

        is_about_a_step = event.step is not None and not kind.type.startswith("run_")
        assert line == text.first_line(line, 1000)
        assert line.startswith(
            f"{step.name}: " if is_about_a_step else ("run", "cancel", "pause", "signal", "variable")
        )


def test_a_step_says_what_it_waits_for() -> None:
    """A run that it has started, or an instant."""
    child = StepState("a", status=StepStatus.WAITING, child="other")
    sleeping = StepState("a", status=StepStatus.WAITING, until=0)

    assert text._remark(child, 0) == "waits for run other"
    assert text._remark(sleeping, 0).startswith("sleeps until 1970-01-01")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("one", "one"),
        ("one\n", "one"),
        ("\n one\n\n", "one"),
        ("one\ntwo", "one … (2 lines)"),
        ("\none\n\nthree\n", "one … (3 lines)"),
        ({"a": "x\ny"}, '{"a": "x\\ny"}'),
    ],
)
def test_a_text_of_several_lines_is_not_shown_as_if_it_had_one(given: object, shown: str) -> None:
    """Its first line stands for it, with how many there are."""
    assert text.value(given) == shown
