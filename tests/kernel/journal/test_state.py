"""A state as it is read: what was counted, what is kept, how long it was active."""

from __future__ import annotations

from flujo.kernel.events import (
    AttemptFailed,
    RunCompleted,
    SignalReceived,
    StepCompleted,
    StepInterrupted,
    StepStarted,
    StepWaiting,
)
from kernel.journal.histories import CREATED, history, then


def test_signals_are_kept_until_they_are_taken() -> None:
    """A signal waits in the state, in order, until the completion that names it."""
    state = history(
        CREATED,
        SignalReceived("go", "1"),
        SignalReceived("go", "2"),
        StepWaiting("w", "signal", signal="go"),
        StepCompleted("w", "1", signal_seq=2),
    )

    assert [signal.payload for signal in state.signals["go"]] == ["2"]
    assert state.steps["w"].signal_seq == 2


def test_waiting_time_is_not_active_time() -> None:
    """Active seconds are those in which a body ran: backoff and sleeps do not count."""
    state = history(CREATED)
    state = then(state, StepStarted("a"), at=10)
    state = then(state, AttemptFailed("a", 1, "E", "no", 0), at=13)
    state = then(state, StepStarted("a", 2), at=100)
    state = then(state, StepCompleted("a", "1"), StepWaiting("s", "sleep", until=0), at=104)
    state = then(state, StepCompleted("s", "null"), RunCompleted("1"), at=500)

    assert (state.steps["a"].active_seconds, state.steps["s"].active_seconds, state.active_seconds) == (7, 0, 7)


def test_concurrent_steps_share_active_time() -> None:
    """While two bodies run, the run is active once."""
    state = then(history(CREATED), StepStarted("a"), at=10)
    state = then(state, StepStarted("b"), at=12)
    state = then(state, StepCompleted("a", "1"), at=15)
    state = then(state, StepCompleted("b", "1"), at=16)

    assert (state.steps["a"].active_seconds, state.steps["b"].active_seconds, state.active_seconds) == (5, 4, 6)


def test_the_time_after_a_crash_is_not_active_time() -> None:
    """An attempt whose owner died was active until the last event at most; one that was closed, until that moment."""
    running = then(history(CREATED), StepStarted("a"), at=10)
    running = then(running, SignalReceived("x", "1"), at=12)
    crashed = then(running, StepInterrupted("a", 1), at=1000)
    closed = then(running, StepInterrupted("a", 1, counted=False), at=14)

    assert (crashed.active_seconds, crashed.steps["a"].interruptions) == (2, 1)
    assert (closed.active_seconds, closed.steps["a"].interruptions) == (4, 0)
