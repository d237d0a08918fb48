"""A state as it is read: what was counted, what is kept, how long it was active."""

from __future__ import annotations

from flujo.kernel.events import (
    AttemptFailed,
    ProgressReported,
    RunCompleted,
    RunCreated,
    RunFailed,
    RunResumed,
    SignalReceived,
    StepCompleted,
    StepFailed,
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


LOOP = RunCreated("flow", "{}", plan=[["first", "d"], ["loop", "d/l"]])


def test_a_loop_is_one_step_and_waits_for_nothing_that_wakes_it() -> None:
    """Its items are no steps of the plan, and a run that is between two of them is at work."""
    state = history(
        LOOP,
        *(StepStarted("first"), StepCompleted("first", "1")),
        *(StepWaiting("loop", "items"), StepStarted("loop[0]"), StepCompleted("loop[0]", "1")),
    )

    assert (state.status, state.current_steps, state.wait, state.wake_at) == ("running", ["loop"], [], None)
    assert (state.done, state.steps_total) == (1, 2)
    state = then(state, StepStarted("loop[1]"), StepCompleted("loop[1]", "1"), StepCompleted("loop", "[1, 1]"), at=9)
    assert (state.done, state.steps_total, state.current_steps) == (2, 2, [])


def test_a_loop_whose_items_all_wait_lets_its_run_wait() -> None:
    """For the first of them."""
    state = history(LOOP, StepWaiting("loop", "items"), StepStarted("loop[0]"), StepStarted("loop[1]"))
    state = then(state, AttemptFailed("loop[0]", 1, "E", "no", 900), AttemptFailed("loop[1]", 1, "E", "no", 800), at=9)

    assert (state.status, state.wake_at) == ("waiting", 800)
    assert state.current_steps == ["loop", "loop[0]", "loop[1]"]


def test_a_loop_counts_by_the_part_it_has_reported() -> None:
    """And the time left goes by its rate, when it is the last step."""
    state = history(LOOP, StepStarted("first"), StepCompleted("first", "1"), StepWaiting("loop", "items"))
    state = then(
        state, StepStarted("loop[1]"), ProgressReported("loop", 1, 4, None, {"failed": 0, "per_second": 0.5}), at=9
    )

    assert (state.progress["percent"], state.progress["done"], state.progress["total"]) == (62.5, 1, 2)
    assert state.eta_seconds == 6
    assert then(state, StepWaiting("loop[2]", "signal", signal="go"), at=10).eta_seconds is None


def test_a_new_generation_of_a_loop_is_not_open() -> None:
    """Until it begins again."""
    state = history(LOOP, StepWaiting("loop", "items"), StepStarted("loop[0]"), StepFailed("loop[0]", 1, "E", "no"))
    state = then(
        state, StepFailed("loop", 0, "ItemsFailed", "1 of 1"), RunFailed("ItemsFailed", "1 of 1", "loop"), at=9
    )
    assert (state.open_loops, state.done) == ([], 1)

    state = then(state, RunResumed(reset=["loop", "loop[0]"]), at=9)
    assert (state.open_loops, state.done, state.steps["loop"].status) == ([], 0, "pending")
    state = then(state, StepWaiting("loop", "items", 2), at=9)
    assert (state.open_loops, state.steps["loop"].generation) == (["loop"], 2)


def test_a_run_has_used_what_its_steps_have() -> None:
    """The seconds together, and the most memory that one of them had; nothing where no step has run a command."""
    state = history(LOOP, StepStarted("first"))
    assert state.used is None

    state = then(state, ProgressReported("first", 1, 1, None, {"cpu_seconds": 2.0, "peak_bytes": 7.0}), at=9)
    assert state.used == (2.0, 7.0)
