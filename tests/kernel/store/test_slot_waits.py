"""Which steps of a run wait for a slot of a limit of all kernels, as whoever reads the store tells it."""

from __future__ import annotations

import pytest

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, Kernel, Observer, workflow
from flujo.kernel.backend import SlotRequest
from flujo.kernel.journal.explanation import SlotWait, explain, ordinal
from flujo.kernel.store.slot_waits import slot_waits_of
from kernel.harness import until


@workflow()
async def patient(ctx: Context) -> object:
    return await ctx.wait_signal("go")


async def test_the_steps_that_wait_are_told_with_their_places() -> None:
    """And with who has the slots; what a run has itself, and what waits for other limits, is not."""
    store = MemoryStore()
    async with Kernel(InMemoryBackend(store), [patient]) as kernel:
        await kernel.start(patient, run_id="r")
        await until(kernel, "r", "step_waiting")
        state = await kernel.inspect("r")
        await kernel.backend.set_fleet_limit("db", 1)
        await kernel.backend.set_fleet_limit("api", 1)
        asked = [("db", "o", "first"), ("db", "o", "second"), ("db", "r", "mine"), ("api", "r", "call")]
        await kernel.backend.exchange_slots(
            [
                SlotRequest(number, limit, run_id, state.uid if run_id == "r" else "other", step)
                for number, (limit, run_id, step) in enumerate(asked, start=100)
            ],
            (),
        )
        async with InMemoryBackend(store) as reader:
            (wait,) = await slot_waits_of(reader, state)
            explained = await Observer(reader).explain("r")

    assert wait[:4] == ("mine", "db", 1, 2)
    assert [holder.partition(" at ")[0] for holder in wait.holders] == ["'first' of run o"]
    assert [reason.step for reason in explained.reasons] == ["go", "mine"]


async def test_a_run_that_has_ended_waits_for_nothing() -> None:
    """And nobody is asked about it."""
    async with Kernel(InMemoryBackend(), [patient]) as kernel:
        await kernel.start(patient, run_id="r")
        await kernel.signal("r", "go")
        await kernel.result("r")
        state = await kernel.inspect("r")

        kernel.backend.fleet_limits = None  # type: ignore[assignment, method-assign]
        assert list(await slot_waits_of(kernel.backend, state)) == []


async def test_many_holders_are_told_by_three_of_them() -> None:
    """In one sentence, whoever they are."""
    async with Kernel(InMemoryBackend(), [patient]) as kernel:
        await kernel.start(patient, run_id="r")
        await until(kernel, "r", "step_waiting")
        state = await kernel.inspect("r")
    wait = SlotWait("load", "db", 5, 12, [f"'s' of run {name} at host" for name in "abcde"])
    *_, reason = explain(state, 0, slot_waits=[wait]).reasons

    assert reason.text == (
        "step 'load' waits for a slot of the limit 'db' of all kernels: 12th in line; its 5 slots are held by "
        "'s' of run a at host, 's' of run b at host, 's' of run c at host, and 2 more"
    )


@pytest.mark.parametrize(
    ("number", "place"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (13, "13th"), (21, "21st"), (112, "112th")],
)
def test_places_are_counted_as_people_do(number: int, place: str) -> None:
    """In English."""
    assert ordinal(number) == place
