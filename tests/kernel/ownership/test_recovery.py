"""Kernels that die beside one that lives: it adopts what they leave, and says from whom."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, Kernel, Observer, RunInterrupted, StoreError, Workflow, workflow
from flujo.kernel.errors import KernelClosedError
from flujo.kernel.ownership import recovery
from kernel.flows import stuck, waiting
from kernel.harness import Counter, Harness, JumpingClock, crash, settled, until, usurp


class Flaky(InMemoryBackend):
    """The verbs in `failing` fail as often as it says, having done nothing."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.failing: dict[str, float] = {}

    async def _fail(self, verb: str) -> None:
        if self.failing.get(verb, 0) > 0:
            self.failing[verb] -= 1
            await checkpoint()
            raise StoreError(self.url, f"{verb} does not answer")

    async def take(self) -> Any:
        await self._fail("take")
        return await super().take()

    async def load(self, run_id: str) -> Any:
        await self._fail("load")
        return await super().load(run_id)

    async def claim_idle(self, *given: Any, **options: Any) -> Any:
        await self._fail("claim_idle")
        return await super().claim_idle(*given, **options)


async def test_a_kernel_that_lives_adopts_the_runs_of_one_that_died(caplog: pytest.LogCaptureFixture) -> None:
    """Runs at work and runs that wait go on without anything being opened anew; the log names the old owner."""
    harness, counter = Harness(), Counter()
    gate = anyio.Event()

    @workflow()
    async def program(ctx: Context) -> Any:
        first = await ctx.step(counter.body("first"), name="first")
        await ctx.step(gate.wait, name="gate")
        return [first, await ctx.wait_signal("go")]

    async with harness.kernel(program, waiting) as heir:
        async with harness.kernel(program, waiting) as dying:
            await dying.start(program, run_id="r")
            await dying.start(waiting, run_id="w")
            await until(dying, "r", "step_started", "gate")
            await until(dying, "w", "step_waiting")
            crash(dying)
            await settled(lambda: harness.summary("r").owner == harness.summary("w").owner == heir.id)
        gate.set()
        await heir.signal("r", "go", 2)
        await heir.signal("w", "go", 3)

        assert await heir.result("r") == [1, 2]
        assert await heir.result("w") == 3
    assert counter.calls == ["first"]
    (said,) = [each.getMessage() for each in caplog.records if "has died" in each.getMessage()]
    assert said == f"the kernel {dying.id} has died: 2 of its runs go on here"


async def test_a_kernel_that_does_not_recover_adopts_nothing() -> None:
    """`recover=False` leaves the runs of the dead to others, and so does a kernel that does not know their workflow."""
    harness = Harness()
    async with harness.kernel(waiting, recover=False) as first, harness.kernel() as second:
        async with harness.kernel(waiting) as dying:
            await dying.start(waiting, run_id="r")
            await until(dying, "r", "step_waiting")
            crash(dying)
            await anyio.wait_all_tasks_blocked()

            assert harness.summary("r").owner == dying.id
        assert await first.is_interrupted(await second.summary("r"))


class Blind(InMemoryBackend):
    """Is not told that other kernels have died; whoever asks whether one lives is. `claimed` waits for its gate
    between the claim and the answer."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.claimed = anyio.Event()
        self.gate = anyio.Event()
        self.gate.set()

    async def wait_for_dead_owners(self) -> Any:
        await anyio.sleep_forever()

    async def claim_idle(self, *given: Any, **options: Any) -> Any:
        found = await super().claim_idle(*given, **options)
        if found:
            self.claimed.set()
            await self.gate.wait()
        return found


async def leave_behind(harness: Harness, *run_ids: str, flow: Workflow = waiting) -> None:
    """Have a kernel die that runs these."""
    async with harness.kernel(flow) as dying:
        for run_id in run_ids:
            await dying.start(flow, run_id=run_id)
            await until(dying, run_id, "step_waiting" if flow is waiting else "step_started")
        crash(dying)


async def test_who_waits_for_a_run_whose_owner_has_just_died_waits_for_the_takeover() -> None:
    """Nobody but the caller has seen that yet: the kernel takes the run over at once, and the caller has the result."""
    harness = Harness()
    async with harness.kernel(waiting, backend=Blind(harness.store)) as heir:
        await leave_behind(harness, "r", "other")
        async with anyio.create_task_group() as group:
            group.start_soon(settled, lambda: harness.summary("other").owner == heir.id)
            group.start_soon(heir.wait, "r")
            await settled(lambda: harness.summary("r").owner == heir.id)
            await heir.signal("r", "go", 1)

        assert await heir.result("r") == 1


async def test_who_waits_is_not_told_that_nobody_runs_what_is_being_claimed() -> None:
    """The claim is durable, and its answer is on its way: one caller waits for that, another one comes just then."""
    harness = Harness()
    backend = Blind(harness.store)
    async with harness.kernel(waiting, backend=backend) as heir:
        await leave_behind(harness, "r")
        backend.gate = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(heir.wait, "r")
            await backend.claimed.wait()
            group.start_soon(heir.wait, "r")
            await anyio.wait_all_tasks_blocked()
            backend.gate.set()
            await heir.signal("r", "go", 1)

        assert await heir.result("r") == 1


async def test_who_waits_for_a_run_that_is_just_being_taken_up_waits_for_that() -> None:
    """Somebody starts it again, which claims it: until it is in memory here it is nobody's to see."""
    harness = Harness()
    gate = anyio.Event()

    class Slow(InMemoryBackend):
        async def claim(self, run_id: str) -> Any:
            claimed = await super().claim(run_id)
            await gate.wait()
            return claimed

    async with harness.kernel(waiting, backend=Slow(harness.store), recover=False) as heir:
        await leave_behind(harness, "r")
        async with anyio.create_task_group() as group:
            group.start_soon(partial(heir.start, waiting, run_id="r"))
            await settled(lambda: harness.summary("r").owner == heir.id)
            group.start_soon(heir.wait, "r")
            await anyio.wait_all_tasks_blocked()
            gate.set()
            await heir.signal("r", "go", 1)

        assert await heir.result("r") == 1


async def test_who_waits_for_one_of_very_many_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that wait are claimed a thousand at a time: the last of them is not given up before all are."""
    monkeypatch.setattr(recovery, "CLAIM_AT_ONCE", 2)
    harness = Harness()
    names = [f"r{number}" for number in range(7)]
    async with harness.kernel(waiting, backend=Blind(harness.store)) as heir:
        await leave_behind(harness, *names)
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(heir.wait, name)
            for name in names:
                await settled(lambda name=name: harness.summary(name).owner == heir.id)  # type: ignore[misc]
                await heir.signal(name, "go", name)

        assert [await heir.result(name) for name in names] == names


@pytest.mark.parametrize("why", ["it does not recover", "it does not know the workflow", "it drains", "it tried"])
async def test_who_waits_for_a_run_that_stays_where_it_is_is_told_at_once(why: str) -> None:
    """Nobody is going to take it over here: there is nothing to wait for."""
    harness = Harness()
    known = [] if why == "it does not know the workflow" else [stuck]
    recovers = why != "it does not recover"
    async with harness.kernel(*known, backend=Blind(harness.store), recover=recovers) as heir:
        await leave_behind(harness, "r", flow=stuck)
        if why == "it drains":
            heir._runtime.driver.is_draining = True
        if why == "it tried":
            harness.store.runs["r"].events.clear()  # it cannot go on anywhere

        for _ in range(2):
            with anyio.fail_after(30), pytest.raises(RunInterrupted):
                await heir.result("r")


async def test_a_kernel_that_closes_tells_those_who_wait_for_a_takeover() -> None:
    """It takes nothing over any more, and nobody waits for what does not come."""
    harness = Harness()
    backend = Blind(harness.store)
    async with anyio.create_task_group() as group, harness.kernel(waiting, backend=backend) as heir:
        await leave_behind(harness, "r")
        backend.gate = anyio.Event()

        async def wait() -> None:
            with pytest.raises((RunInterrupted, KernelClosedError)):
                await heir.wait("r")

        group.start_soon(wait)
        await backend.claimed.wait()
        backend.gate.set()


async def test_what_a_kernel_gave_up_in_good_order_stays_given_up() -> None:
    """A kernel that closes was stopped on purpose: its runs wait for the next opening, or for a resume."""
    harness = Harness()
    async with harness.kernel(waiting):
        async with harness.kernel(waiting) as closing:
            await closing.start(waiting, run_id="r")
            await until(closing, "r", "step_waiting")
        await anyio.wait_all_tasks_blocked()

        assert harness.summary("r").owner is None


async def test_a_run_whose_release_failed_is_not_owned_for_ever() -> None:
    """The store fails while a kernel closes: another one that lives adopts the run, as after a crash."""

    class Unreleasing(InMemoryBackend):
        async def release(self, uids: Any) -> None:
            raise StoreError(self.url, "the disk is full")

    harness = Harness()
    async with harness.kernel(waiting) as heir:
        async with harness.kernel(waiting, backend=Unreleasing(harness.store)) as closing:
            await closing.start(waiting, run_id="r")
            await until(closing, "r", "step_waiting")
        await settled(lambda: harness.summary("r").owner == heir.id)


@pytest.mark.parametrize("verb", ["claim_idle", "load", "take"])
async def test_a_store_that_fails_for_a_while_delays_an_adoption(verb: str) -> None:
    """What cannot be claimed or read is tried again a second later, and no run is forgotten."""
    harness = Harness(JumpingClock())
    backend = Flaky(harness.store)
    async with harness.kernel(waiting, backend=backend) as heir:
        async with harness.kernel(waiting) as dying, harness.backend() as other:
            await dying.start(waiting, run_id="r")
            await until(dying, "r", "step_waiting")
            backend.failing[verb] = 3
            crash(dying)
            await Observer(other, clock=harness.clock).signal("r", "go", 7)
            await settled(lambda: harness.summary("r").status == "completed")
        assert await heir.result("r") == 7


@pytest.mark.parametrize("verb", ["claim_idle", "load", "take"])
async def test_a_store_that_goes_on_failing_ends_no_kernel(verb: str) -> None:
    """The runs that are in memory go on, and the kernel closes in good order."""
    harness = Harness(JumpingClock())
    backend = Flaky(harness.store)
    async with harness.kernel(waiting, backend=backend) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        async with harness.kernel(waiting) as dying:
            await dying.start(waiting, run_id="theirs")
            backend.failing[verb] = float("inf")
            crash(dying)
            for _ in range(100):
                await checkpoint()
        run = kernel._runtime.runs.find("r")
        assert run is not None
        assert run.stopped is None
    assert harness.summary("r").owner is None


async def test_a_kernel_whose_recovery_fails_does_not_open() -> None:
    """Opening raises what the store said and leaves no run claimed; opening again recovers."""
    harness = Harness()
    async with harness.kernel(waiting) as dying:
        await dying.start(waiting, run_id="r")
        await until(dying, "r", "step_waiting")
        crash(dying)
    backend = Flaky(harness.store)
    backend.failing["claim_idle"] = 1
    with pytest.raises(StoreError, match="claim_idle does not answer"):
        async with harness.kernel(waiting, backend=backend):
            raise AssertionError("it is open")
    async with harness.kernel(waiting) as kernel:
        await kernel.signal("r", "go", 1)
        assert await kernel.result("r") == 1


async def pass_the_time(harness: Harness) -> None:
    """Let a second pass whenever nothing can be done before, until cancelled."""
    while True:
        await anyio.wait_all_tasks_blocked()
        harness.clock.advance(1)


class Unsure(InMemoryBackend):
    """Its next claim of idle runs succeeds and says that it has failed."""

    is_unsure = False

    async def claim_idle(self, *given: Any, **options: Any) -> Any:
        claimed = await super().claim_idle(*given, **options)
        if self.is_unsure and claimed:
            self.is_unsure = False
            raise StoreError(self.url, "the answer was lost")
        return claimed


@pytest.mark.parametrize("at_work", [True, False], ids=["at work", "waiting"])
async def test_a_claim_that_fails_although_it_is_durable_leaves_no_run_behind(at_work: bool) -> None:
    """The store says that the kernel owns the run, so nobody else will ever take it: it has to find it itself. Whose
    run it was is recorded, although the answer that said so was lost."""
    harness, gate = Harness(), anyio.Event()

    @workflow()
    async def program(ctx: Context) -> Any:
        if at_work:
            await ctx.step(gate.wait, name="gate")
        return await ctx.wait_signal("go")

    backend = Unsure(harness.store)
    async with harness.kernel(program, backend=backend) as heir:
        async with harness.kernel(program) as dying:
            await dying.start(program, run_id="r")
            await until(dying, "r", "step_started" if at_work else "step_waiting")
            backend.is_unsure = True
            crash(dying)
            await settled(lambda: harness.summary("r").owner == heir.id)
        gate.set()
        await heir.signal("r", "go", 7)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(pass_the_time, harness)
                await until(heir, "r", "run_completed")  # for a moment nobody runs it, which `result` would say
                group.cancel_scope.cancel()
        assert await heir.result("r") == 7
        taken_over = (await heir.inspect("r")).taken_over
        assert taken_over is not None
        assert taken_over.former_owner == dying.id


async def test_a_kernel_that_closes_claims_nothing_behind_its_last_release() -> None:
    """The claim of another task that is under way would leave it a run of which it does not know."""
    harness = Harness()
    asked, answer = anyio.Event(), anyio.Event()

    class Slow(InMemoryBackend):
        async def claim_idle(self, *given: Any, owner: str | None = None, **options: Any) -> Any:
            if owner is not None:
                asked.set()
                await answer.wait()
            return await super().claim_idle(*given, owner=owner, **options)

        async def release(self, uids: Any) -> None:
            await super().release(uids)
            answer.set()
            await anyio.wait_all_tasks_blocked()

    async with harness.kernel(waiting, backend=Slow(harness.store)), harness.kernel(waiting) as dying:
        await dying.start(waiting, run_id="r")
        await until(dying, "r", "step_waiting")
        crash(dying)
        await asked.wait()

    assert harness.summary("r").owner == dying.id


async def test_a_kernel_that_closes_while_it_adopts_ends_in_good_order() -> None:
    """What it has just claimed is released with all the rest, and nothing is raised."""
    harness = Harness()
    asked, answer, body = anyio.Event(), anyio.Event(), anyio.Event()

    class Slow(InMemoryBackend):
        async def claim_idle(self, *given: Any, owner: str | None = None, **options: Any) -> Any:
            if owner is not None:
                asked.set()
                await answer.wait()
            return await super().claim_idle(*given, owner=owner, **options)

    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await body.wait()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(stubborn, name="stubborn")

    async def answer_while(kernel: Kernel) -> None:
        await settled(lambda: not kernel._runtime.driver._tasks.are_open)
        answer.set()
        await anyio.wait_all_tasks_blocked()
        body.set()

    async with anyio.create_task_group() as group, harness.kernel(program, backend=Slow(harness.store)) as heir:
        await heir.start(program, run_id="r")
        await until(heir, "r", "step_started")
        usurp(harness, "r")  # while it was frozen, say; it does not know that yet, and its program goes on
        harness.store.dead.append("usurper")
        harness.store.wake()
        await asked.wait()
        group.start_soon(answer_while, heir)

    assert harness.summary("r").owner is None
