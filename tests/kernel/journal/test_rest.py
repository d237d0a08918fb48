"""What a journal alone tells of whether a run rests."""

from __future__ import annotations

import pytest

from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.events import Event
from flujo.kernel.journal import events
from flujo.kernel.journal.fold import fold
from flujo.kernel.journal.rest import MARGIN, rest
from flujo.kernel.state import WorkflowState

NOW = 1_767_225_600 * MICROSECONDS
FAR = NOW + 60 * MICROSECONDS
CREATED = events.RunCreated("flow", "{}")
WAITS = events.StepWaiting("gate", "signal", signal="go")
SLEEPS = events.StepWaiting("nap", "sleep", until=FAR)
FAILED = events.AttemptFailed("a", 1, "ValueError", "no", FAR)


def state_of(*facts: events.Fact) -> WorkflowState:
    """The run with these facts."""
    state = WorkflowState(run_id="r", uid="u")
    for seq, fact in enumerate((CREATED, *facts), 1):
        fold(state, Event(seq, NOW, fact))
    return state


@pytest.mark.parametrize(
    ("facts", "until"),
    [
        ([WAITS], None),
        ([SLEEPS], FAR),
        ([WAITS, SLEEPS], FAR),
        ([events.StepStarted("a", max_attempts=2), FAILED], FAR),
        ([WAITS, events.SignalReceived("other", "null")], None),
        ([events.StepWaiting("child", "child", child="r.child")], None),
        ([events.RunPaused("requested")], None),
        ([events.RunCompleted("null")], None),
    ],
)
def test_a_run_rests_that_only_waits(facts: list[events.Fact], until: int | None) -> None:
    """A step in backoff waits as well, and what has ended or is paused is at rest."""
    found = rest(state_of(*facts), NOW)

    assert found is not None
    assert (found.seq, found.until) == (len(facts) + 1, until)


@pytest.mark.parametrize(
    "facts",
    [
        [],
        [events.StepStarted("a")],
        [WAITS, events.StepStarted("a")],
        [WAITS, events.SignalReceived("go", "null")],
        [WAITS, events.CancelRequested()],
        [WAITS, events.PauseRequested()],
        [events.StepWaiting("nap", "sleep", until=NOW)],
        [SLEEPS, events.StepWaiting("other", "sleep", until=NOW + MARGIN)],
    ],
)
def test_a_run_does_not_rest_of_which_something_can_happen_now(facts: list[events.Fact]) -> None:
    """A body, its program between two steps, a signal to be taken, a request to be carried out, a timer that is due."""
    assert rest(state_of(*facts), NOW) is None


def test_a_timeout_of_the_run_is_an_instant_like_others() -> None:
    """It ends the rest."""
    state = state_of(WAITS)
    state.timeout_seconds = 30.0
    found = rest(state, NOW)

    assert found is not None
    assert found.until == NOW + 30 * MICROSECONDS
    assert rest(state, NOW + 30 * MICROSECONDS - MARGIN) is None


def test_a_run_that_no_process_runs_rests() -> None:
    """Whatever is recorded of it, only a resume moves it."""
    state = state_of(events.StepStarted("a"))
    state.unowned = True

    assert rest(state, NOW) is not None
