"""Giving runs up: whom a kernel had them from is said at the latest then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, RunStatus, Workflow, workflow
from flujo.kernel.backend import Commit, Refused
from flujo.kernel.errors import StoreError
from flujo.kernel.events import RunTakenOver
from flujo.kernel.store.integrity import verify
from kernel.flows import stuck, waiting
from kernel.harness import Harness, JumpingClock, crash, recorded, settled, until

End = Callable[..., Awaitable[str]]


class Shared(InMemoryBackend):
    """A store whose kernels hand over what waits before they end. So many appends fail as `failures` says."""

    capabilities = InMemoryBackend.capabilities._replace(several_hosts=True)
    failures = 0

    async def drain(self, name: str) -> Sequence[str]:
        return [name]

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        if self.failures:
            self.failures -= 1
            raise StoreError(self.url, "it does not answer")
        return await super().append(commits)


async def leave_behind(harness: Harness, *run_ids: str, flow: Workflow = waiting) -> str:
    """Have a kernel die over these runs; return its id."""
    async with harness.kernel(flow) as dying:
        for run_id in run_ids:
            await dying.start(flow, run_id=run_id)
            await until(dying, run_id, "step_started" if flow is stuck else "step_waiting")
        crash(dying)
    return dying.id


def takeovers(harness: Harness, run_id: str = "r") -> list[RunTakenOver]:
    """What the history of a run says of its takeovers. What is stored of the run agrees with it."""
    assert list(verify(harness.summary(run_id), harness.store.runs[run_id].events)) == []
    return [event.fact for event in harness.journal(run_id) if isinstance(event.fact, RunTakenOver)]


async def end_in_order(harness: Harness, *run_ids: str) -> str:
    """Have a kernel take over what is there, and end before any of that goes on; return its id."""
    async with harness.kernel(waiting) as kernel:
        await settled(lambda: {harness.summary(run_id).owner for run_id in run_ids} == {kernel.id})
    return kernel.id


async def drain(harness: Harness, *run_ids: str) -> str:
    """The same, with runs that are handed over one by one to other hosts."""
    async with harness.kernel(waiting, backend=Shared(harness.store)) as kernel:
        await settled(lambda: {harness.summary(run_id).owner for run_id in run_ids} == {kernel.id})
        await kernel.drain()
    return kernel.id


@pytest.mark.parametrize("end", [end_in_order, drain])
async def test_a_kernel_that_ends_names_the_dead_owners_of_what_it_never_had_in_memory(end: End) -> None:
    """Runs that only wait are claimed without an event each. Once they are released nobody could tell any more."""
    harness = Harness(JumpingClock())
    dead = await leave_behind(harness, "r", "s")
    heir = await end(harness, "r", "s")
    named = [takeovers(harness, run_id) for run_id in ("r", "s")]
    async with harness.kernel(waiting) as last:
        for run_id in ("r", "s"):
            await last.signal(run_id, "go", 1)
            assert await last.result(run_id) == 1

    assert named == [[RunTakenOver(dead, heir)]] * 2
    assert [takeovers(harness, run_id) for run_id in ("r", "s")] == named


async def test_a_parent_that_waits_for_a_child_is_stored_as_its_history_tells() -> None:
    """Such a run goes on at once, at the instant of its last event, which moves with what is recorded."""
    harness = Harness()

    @workflow()
    async def parent(ctx: Context) -> object:
        return await ctx.run_child(waiting)

    async with harness.kernel(parent, waiting) as dying:
        await dying.start(parent, run_id="r")
        await until(dying, "r", "step_waiting")
        child = (await dying.inspect("r")).wait[0]["child"]
        await recorded(harness, child, "step_waiting")
        crash(dying)
    async with harness.kernel(parent, waiting) as heir:
        await settled(lambda: harness.summary("r").owner == heir.id)

    assert takeovers(harness) == [RunTakenOver(dying.id, heir.id)]
    assert takeovers(harness, child) == [RunTakenOver(dying.id, heir.id)]


async def test_a_run_that_is_paused_by_its_heir_names_its_dead_owner_first() -> None:
    """The takeover, then what has died with the old owner, then what follows from that."""
    harness = Harness()
    dead = await leave_behind(harness, "r", flow=stuck)
    async with harness.kernel(stuck, max_interruptions=1) as heir:
        await recorded(harness, "r", "run_paused")

    assert harness.types("r")[-3:] == ["run_taken_over", "step_interrupted", "run_paused"]
    assert takeovers(harness) == [RunTakenOver(dead, heir.id)]
    assert harness.summary("r").status == RunStatus.PAUSED


async def test_what_the_store_refuses_to_record_is_recorded_when_it_answers() -> None:
    """The run is neither released nor forgotten before that."""
    harness = Harness(JumpingClock())
    dead = await leave_behind(harness, "r")
    backend = Shared(harness.store)
    async with harness.kernel(waiting, backend=backend) as kernel:
        await settled(lambda: harness.summary("r").owner == kernel.id)
        backend.failures = 2
        await kernel.drain()
        await settled(lambda: harness.summary("r").owner is None)

    assert backend.failures == 0
    assert takeovers(harness) == [RunTakenOver(dead, kernel.id)]


async def test_a_thousand_waiting_runs_cost_no_event_before_they_go_on() -> None:
    """A kernel that takes over what waits records as much as it brings into memory: nothing."""
    harness = Harness()
    run_ids = [f"r{number}" for number in range(1000)]
    dead = await leave_behind(harness, *run_ids)

    async with harness.kernel(waiting) as heir:
        await settled(lambda: all(harness.summary(run_id).owner == heir.id for run_id in run_ids))
        assert {kind for run_id in run_ids for kind in harness.types(run_id)} == {"run_created", "step_waiting"}
        await heir.signal("r7", "go", 1)
        assert await heir.result("r7") == 1

        assert harness.types("r7")[2] == "run_taken_over"
        assert takeovers(harness, "r7") == [RunTakenOver(dead, heir.id)]
