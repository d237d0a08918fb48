"""Signals and variables that were acknowledged while their run ended: its journal has them, and `explain` says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, Delivery, Kernel, Observer, RunFailed, RunStatus, Why, workflow
from flujo.kernel.backend import Commit, Refused
from flujo.kernel.errors import RunFinishedError, StoreError
from flujo.kernel.events import CancelRequested, SignalReceived
from flujo.kernel.store.reading import post
from kernel.flows import waiting
from kernel.harness import Harness, crash, recorded, until, usurp

ENDS = ("run_completed", "run_failed", "run_cancelled")


class Late(InMemoryBackend):
    """Somebody else's request arrives just before the end of a run is written: it is acknowledged."""

    request: Callable[[], Awaitable[Any]] | None = None

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        if (request := self.request) is not None and any(row.type in ENDS for each in commits for row in each.rows):
            self.request = None
            await request()
        return await super().append(commits)


@workflow()
async def ending(ctx: Context, fails: bool = False) -> str:
    await ctx.wait_signal("end")
    if fails:
        raise ValueError("not yet")
    return "over"


async def told(runs: Kernel | Observer, run_id: str) -> list[str]:
    """What `explain` says of signals that nobody has taken."""
    return [each.text for each in (await runs.explain(run_id)).reasons if each.why is Why.UNTAKEN]


async def received(kernel: Kernel, run_id: str, name: str) -> bool:
    """True if the journal of a run has a signal of this name."""
    events = await kernel.events(run_id)
    return any(isinstance(each.fact, SignalReceived) and each.fact.name == name for each in events)


async def end_with_a_late_signal(harness: Harness, fails: bool) -> None:
    """Run `ending` in a kernel that closes right behind its end, while a signal `late` is acknowledged."""
    backend = Late(harness.store)
    async with harness.kernel(ending, backend=backend) as kernel, harness.kernel(recover=False) as other:
        await kernel.start(ending, {"fails": fails}, run_id="r")
        await until(kernel, "r", "step_waiting")
        deliveries: list[Delivery] = []

        async def send() -> None:
            deliveries.append(await other.signal("r", "late", 1))

        backend.request = send
        await kernel.signal("r", "end")
        await kernel.wait("r")
    assert deliveries == [Delivery.POSTED]


@pytest.mark.parametrize(("fails", "status"), [(False, RunStatus.COMPLETED), (True, RunStatus.FAILED)])
async def test_a_signal_that_came_with_the_end_is_in_the_journal_and_told(fails: bool, status: RunStatus) -> None:
    """The kernel closes right away, as a command does whose run has ended: nothing lies unseen in an inbox."""
    harness = Harness()

    await end_with_a_late_signal(harness, fails)

    assert harness.store.inbox == {}
    async with harness.backend() as reader:
        observer = Observer(reader, clock=harness.clock)
        assert (await observer.inspect("r")).status is status
        (text,) = await told(observer, "r")
        assert text.startswith("no wait has taken the signal 'late'")
        assert ("resume takes it along" in text) is fails
        with pytest.raises(RunFinishedError, match=f"'r' is already {status}"):
            await observer.signal("r", "later")


async def test_a_kernel_that_stays_open_looks_by_itself() -> None:
    """Nobody closes anything: the inbox was told of the signal, and its run has just ended."""
    harness = Harness()
    backend = Late(harness.store)
    async with harness.kernel(ending, backend=backend) as kernel, harness.kernel(recover=False) as other:
        await kernel.start(ending, run_id="r")
        await until(kernel, "r", "step_waiting")
        backend.request = lambda: other.signal("r", "late", 1)
        await kernel.signal("r", "end")

        with anyio.fail_after(30):
            while not await received(kernel, "r", "late"):
                await anyio.lowlevel.checkpoint()
        assert (await kernel.inspect("r")).status is RunStatus.COMPLETED
        assert harness.store.inbox == {}


async def test_a_late_signal_is_taken_by_the_next_life_of_the_run() -> None:
    """A failed run that is resumed finds in its journal what came too late for the life before."""
    harness = Harness()
    backend = Late(harness.store)

    @workflow()
    async def program(ctx: Context) -> Any:
        await ctx.wait_signal("end")
        if (await kernel.inspect(ctx.run_id)).resume_count == 0:
            raise ValueError("not yet")
        return await ctx.wait_signal("late")

    async with harness.kernel(program, backend=backend) as kernel, harness.kernel(recover=False) as other:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        backend.request = lambda: other.signal("r", "late", 7)
        await kernel.signal("r", "end")
        with pytest.raises(RunFailed):
            await kernel.result("r")

        await kernel.resume("r")
        assert await kernel.result("r") == 7


async def test_what_came_late_is_left_to_who_has_claimed_the_run_since() -> None:
    """Another kernel resumes the run right behind its end, and takes what lies in the inbox: nobody else records it."""
    harness = Harness()

    class Claimed(Late):
        async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
            refused = await super().append(commits)
            if any(row.type in ENDS for each in commits for row in each.rows):
                usurp(harness, "r")
            return refused

    backend = Claimed(harness.store)
    async with harness.kernel(ending, backend=backend) as kernel, harness.kernel(recover=False) as other:
        await kernel.start(ending, {"fails": True}, run_id="r")
        await until(kernel, "r", "step_waiting")
        backend.request = lambda: other.signal("r", "late", 1)
        await kernel.signal("r", "end")
        await recorded(harness, "r", "run_failed")

    assert harness.types("r")[-1] == "run_failed"
    assert [each.request.kind for each in harness.store.inbox.values()] == ["signal"]


async def test_a_late_variable_is_recorded_as_well() -> None:
    """Who set it was told that it would be."""
    harness = Harness()
    backend = Late(harness.store)
    async with harness.kernel(ending, backend=backend) as kernel, harness.kernel(recover=False) as other:
        await kernel.start(ending, run_id="r")
        await until(kernel, "r", "step_waiting")
        backend.request = lambda: other.set_variable("r", "mode", "slow")
        await kernel.signal("r", "end")
        await kernel.wait("r")

    assert harness.store.inbox == {}
    async with harness.backend() as reader:
        assert (await Observer(reader, clock=harness.clock).inspect("r")).variables == {"mode": "slow"}


async def test_a_signal_that_waits_for_nobody_is_taken_along_by_a_cancel() -> None:
    """It was stored while nobody ran the run; whoever cancels the run ends it with what lies in its inbox."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    async with harness.kernel(recover=False) as kernel:
        assert await kernel.signal("r", "go", 1) is Delivery.STORED
        await kernel.cancel("r")

    assert harness.store.inbox == {}
    async with harness.backend() as reader:
        observer = Observer(reader, clock=harness.clock)
        assert (await observer.inspect("r")).status is RunStatus.CANCELLED
        assert await told(observer, "r") == ["no wait has taken the signal 'go'; a resume takes it along"]


async def test_a_run_without_late_requests_costs_no_look_at_its_inbox() -> None:
    """Many runs end, and nobody has asked anything of any of them: the store is not read for that."""

    class Counting(InMemoryBackend):
        looks = 0

        async def requests(self, run_id: str, uid: str) -> Any:
            self.looks += 1
            return await super().requests(run_id, uid)

    @workflow()
    async def short(ctx: Context) -> None:
        pass

    harness = Harness()
    backend = Counting(harness.store)
    async with harness.kernel(short, backend=backend) as kernel:
        for number in range(20):
            await kernel.run(short, run_id=f"r{number}")
        looks = backend.looks

    assert looks == 0


@workflow()
async def pausing(ctx: Context) -> Any:
    await ctx.step(noted, name="first")
    return await ctx.wait_signal("go")


async def noted() -> None:
    """Do nothing."""


class LatePause(InMemoryBackend):
    """Somebody else's request arrives just before the pause of a run is written, or just after."""

    def __init__(self, store: Any, *, after: bool = False) -> None:
        super().__init__(store)
        self.request: Callable[[], Awaitable[Any]] | None = None
        self.dies = False  # as soon as the pause is written
        self._after = after

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        request = None
        if any(row.type == "run_paused" for each in commits for row in each.rows):
            request, self.request = self.request, None
        if request is not None and not self._after:
            await request()
        refused = await super().append(commits)
        if request is not None and self._after:
            await request()
        if self.dies:
            self.kill()
        return refused


@pytest.mark.parametrize("what", ["cancel", "pause"])
@pytest.mark.parametrize("closes", [True, False], ids=["and its kernel closes", "and its kernel stays"])
async def test_what_asked_for_the_end_of_a_run_goes_with_its_end(what: str, closes: bool) -> None:
    """It came too late, and nothing is left of it that nobody would ever answer."""
    harness = Harness()
    backend = Late(harness.store)
    async with harness.kernel(recover=False) as other:
        async with harness.kernel(ending, backend=backend) as kernel:
            await kernel.start(ending, run_id="r")
            await until(kernel, "r", "step_waiting")
            backend.request = lambda: getattr(other, what)("r", request_id="once")
            await kernel.signal("r", "end")
            assert await kernel.result("r") == "over"
            with anyio.fail_after(30):
                while not closes and harness.store.inbox:
                    await anyio.lowlevel.checkpoint()

        assert harness.store.inbox == {}
        assert harness.types("r")[-1] == "run_completed"
        assert await other.cancel("r", request_id="once" if what == "cancel" else None) == "already_finished"


async def test_a_repeated_signal_goes_with_the_end_as_well() -> None:
    """The journal has it once already."""
    harness = Harness()
    backend = Late(harness.store)
    async with harness.kernel(ending, backend=backend) as kernel, harness.kernel(recover=False) as other:
        await kernel.start(ending, run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.signal("r", "more", 1, request_id="once")
        more = harness.journal("r")[-1].fact
        assert isinstance(more, SignalReceived)

        async def repeat() -> None:
            await post(other.backend, "r", more, harness.clock.now())

        backend.request = repeat
        await kernel.signal("r", "end")
        await kernel.wait("r")

    assert harness.store.inbox == {}
    assert harness.types("r").count("signal_received") == 2


@pytest.mark.parametrize("after", [False, True], ids=["just before", "just after"])
async def test_a_cancel_that_comes_with_a_pause_cancels_the_run(after: bool) -> None:
    """Whoever asked for it was told that it would be: the run does not stay paused as if nobody had."""
    harness = Harness()
    backend = LatePause(harness.store, after=after)
    async with harness.kernel(pausing, backend=backend) as kernel, harness.kernel(recover=False) as other:
        await kernel.start(pausing, run_id="r")
        await until(kernel, "r", "step_waiting")

        async def cancel() -> None:
            fact = CancelRequested("enough", request=("once", "digest"))
            await post(other.backend, "r", fact, harness.clock.now())

        backend.request = cancel
        await kernel.pause("r")
        with anyio.fail_after(30):
            await recorded(harness, "r", "run_cancelled")
        state = await other.inspect("r")

    assert (state.status, state.cancel_reason) == (RunStatus.CANCELLED, "enough")
    assert "once" in state.requests
    assert harness.store.inbox == {}


@pytest.mark.parametrize("heir", ["lives already", "opens later"])
async def test_a_cancel_that_came_with_a_pause_outlives_the_kernel_that_had_no_time_to_see_it(heir: str) -> None:
    """It dies between the two. Whoever goes on with its runs ends this one; one that does not know its workflow
    leaves it to those that do, since it may have clean-ups."""
    harness = Harness()
    cleaned: list[str] = []

    async def give_back() -> None:
        cleaned.append("given back")

    async def take_down(ctx: Context) -> None:
        await ctx.step(give_back)

    @workflow(clean_up=take_down)
    async def careful(ctx: Context) -> Any:
        await ctx.step(noted, name="first")
        return await ctx.wait_signal("go")

    backend = LatePause(harness.store)
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(harness.kernel())
        if heir == "lives already":
            await stack.enter_async_context(harness.kernel(careful))
        async with harness.kernel(careful, backend=backend) as kernel:
            await kernel.start(careful, run_id="r")
            await until(kernel, "r", "step_waiting")

            async def cancel() -> None:
                await post(other.backend, "r", CancelRequested("enough"), harness.clock.now())
                backend.dies = True

            backend.request = cancel
            with suppress(StoreError):
                await kernel.pause("r")
            await recorded(harness, "r", "run_paused")
        if heir == "opens later":
            await anyio.wait_all_tasks_blocked()
            assert harness.summary("r").status == RunStatus.PAUSED
            await stack.enter_async_context(harness.kernel(careful))
        with anyio.fail_after(30):
            await recorded(harness, "r", "run_cancelled")

        assert (await other.inspect("r")).cancel_reason == "enough"
        assert harness.store.inbox == {}
        assert cleaned == ["given back"]


async def test_a_cancel_that_comes_with_a_pause_is_not_left_by_a_kernel_that_closes() -> None:
    """A command that has paused its run ends at once."""
    harness = Harness()
    backend = LatePause(harness.store)
    async with harness.kernel(recover=False) as other:
        async with harness.kernel(pausing, backend=backend) as kernel:
            await kernel.start(pausing, run_id="r")
            await until(kernel, "r", "step_waiting")
            backend.request = lambda: post(other.backend, "r", CancelRequested("enough"), harness.clock.now())
            await kernel.pause("r")
            await kernel.wait("r")

        assert (await other.inspect("r")).status is RunStatus.CANCELLED
    assert harness.store.inbox == {}
