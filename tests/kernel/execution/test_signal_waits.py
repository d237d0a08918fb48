"""The waits of one run for signals: which of them can read a payload, and when a sender is refused."""

from __future__ import annotations

import anyio
import pytest

from flujo.kernel import events
from flujo.kernel.codecs import PLAIN, codec_for
from flujo.kernel.errors import SignalMisfitError
from flujo.kernel.events import Event, Fact
from flujo.kernel.execution.signal_waits import SignalWaits
from flujo.kernel.state import WorkflowState
from flujo.kernel.transitions import fold

NUMBER = codec_for(int)


def waiting_for(name: str, *steps: str, received: int = 0) -> WorkflowState:
    """Return a run in which these steps wait for one signal, of which so many have come that nobody has taken."""
    facts: list[Fact] = [events.RunCreated("w", "{}")]
    facts += [events.StepWaiting(step, "signal", signal=name) for step in steps]
    facts += [events.SignalReceived(name, "1")] * received
    state = WorkflowState(run_id="r", uid="u")
    for seq, fact in enumerate(facts, 1):
        fold(state, Event(seq, seq, fact))
    return state


@pytest.mark.parametrize(
    ("reached", "payload", "expected"),
    [
        pytest.param({"a": NUMBER}, "1", True, id="it fits"),
        pytest.param({"a": NUMBER}, '"one"', False, id="it does not fit"),
        pytest.param({"a": NUMBER, "b": PLAIN}, '"one"', True, id="one of two can read it"),
        pytest.param({}, '"one"', True, id="nobody knows yet what the wait can read"),
    ],
)
def test_a_payload_may_be_read_if_some_wait_can(reached: dict[str, object], payload: str, expected: bool) -> None:
    """A wait that the program has not reached in this life may read anything."""
    waits = SignalWaits(waiting_for("go", *(reached or {"a": NUMBER})))
    for key, codec in reached.items():
        with waits.waiting("go", key, codec):  # type: ignore[arg-type]
            pass

    assert waits.may_be_read("go", payload) is expected


def test_a_signal_that_no_wait_can_read_is_refused_with_what_fits() -> None:
    """Its sender is still there."""
    waits = SignalWaits(waiting_for("go", "a"))

    with waits.waiting("go", "a", NUMBER), pytest.raises(SignalMisfitError, match="go"):
        waits.require_fit(events.SignalReceived("go", '"one"'))


@pytest.mark.parametrize(
    ("name", "received"),
    [pytest.param("other", 0, id="no wait has this name"), pytest.param("go", 1, id="it is for a later wait")],
)
def test_a_signal_for_a_wait_that_is_not_there_yet_is_not_refused(name: str, received: int) -> None:
    """Nobody knows what that wait will read."""
    waits = SignalWaits(waiting_for("go", "a", received=received))

    with waits.waiting("go", "a", NUMBER):
        waits.require_fit(events.SignalReceived(name, '"one"'))


async def test_every_wait_of_a_name_looks_again_when_it_is_woken() -> None:
    """And none of another name."""
    waits, woken = SignalWaits(waiting_for("go", "a", "b")), list[str]()

    async def wait(name: str) -> None:
        await waits.until_woken(name)
        woken.append(name)

    async with anyio.create_task_group() as group:
        for name in ("go", "go", "other"):
            group.start_soon(wait, name)
        await anyio.wait_all_tasks_blocked()
        waits.wake("go")
        await anyio.wait_all_tasks_blocked()
        assert woken == ["go", "go"]
        waits.wake("other")


async def test_a_sender_waits_until_the_program_is_at_every_recorded_wait() -> None:
    """It has just come back into memory, and its waits are known from its journal only."""
    waits, reached = SignalWaits(waiting_for("go", "a", "b")), anyio.Event()

    async def send() -> None:
        await waits.until_reached("go")
        reached.set()

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        with waits.waiting("go", "a", NUMBER):
            await anyio.wait_all_tasks_blocked()
            assert not reached.is_set()
            with waits.waiting("go", "b", NUMBER):
                await reached.wait()


async def test_nobody_waits_for_a_program_that_is_stopped() -> None:
    """It does not come to its wait any more, as one that is paused because it has changed."""
    waits = SignalWaits(waiting_for("go", "a"))

    async with anyio.create_task_group() as group:
        with anyio.fail_after(0.5):
            group.start_soon(waits.until_reached, "go")
            await anyio.wait_all_tasks_blocked()
            waits.leave()
            await waits.until_reached("go")
