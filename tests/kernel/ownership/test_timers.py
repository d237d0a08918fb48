"""The alarm clock of a kernel, on a store that does not answer every time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, Kernel, RunFailed, StoreError, Why, workflow
from flujo.kernel.backend import RunSummary
from flujo.kernel.errors import CorruptStoreError
from flujo.kernel.ownership import timers
from flujo.kernel.testing import Loop, VirtualClock, run_virtually
from kernel.flows import stuck
from kernel.harness import Counter, Harness, crash, until

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


@workflow()
async def sleeper(ctx: Context, seconds: float) -> str:
    await ctx.sleep(seconds)
    return ctx.run_id


class Unreadable(InMemoryBackend):
    """Does not find these runs while there is an error, and stands so many looks at them."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._names = names
        self.error: StoreError | None = None
        self.looks = 0

    async def load(self, run_id: str) -> RunSummary:
        if self.error is not None and run_id in self._names:
            self.looks += 1
            assert self.looks <= 50, "the kernel looks for the same run over and over"
            raise self.error
        return await super().load(run_id)


@loops
@pytest.mark.parametrize("kind", [StoreError, CorruptStoreError])
def test_a_run_that_cannot_be_read_is_looked_for_once_a_second(loop: Loop, kind: type[StoreError]) -> None:
    """Runs that are due and that the store does not give out keep nobody from those behind them, however many they
    are, and go on once it does."""

    async def scenario() -> list[Any]:
        backend = Unreadable("a", "b", "c")
        async with Kernel(backend, [sleeper], clock=VirtualClock(), max_resident=0) as kernel:
            for name, seconds in (("a", 10), ("b", 10), ("c", 10), ("later", 12.5)):
                await kernel.start(sleeper, {"seconds": seconds}, run_id=name)
            backend.error = kind(backend.url, "the disk cannot be read")
            with anyio.fail_after(12.7):
                results = [await kernel.result("later")]
            backend.error = None
            with anyio.fail_after(2):
                results += [await kernel.result(name) for name in ("a", "b", "c")]
            return [backend.looks, *results]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timers, "BATCH", 1)
        looks, *results = run_virtually(scenario, loop=loop)

    assert results == ["later", "a", "b", "c"]
    assert looks == 3 * len([10, 11, 12, 12.5])


@pytest.mark.parametrize("max_runs", [None, 1])
async def test_the_time_allowed_to_a_run_holds_over_a_restart(max_runs: int | None) -> None:
    """Its end is found by the index in the next life of the kernel, and while the run is in the queue of `max_runs`."""
    harness = Harness()

    @workflow(timeout=10)
    async def program(ctx: Context) -> None:
        await ctx.wait_signal("never")

    async with harness.kernel(program) as kernel:
        for name in "ab":
            await kernel.start(program, run_id=name)
            await until(kernel, name, "step_waiting")
        crash(kernel)
    async with harness.kernel(program, max_runs=max_runs) as kernel:
        reasons = (await kernel.explain("a")).reasons
        assert (reasons[-1].why, reasons[-1].text) == (
            Why.TIMEOUT,
            "its timeout is over in 10s: the run fails then, wherever it is",
        )
        await harness.clock.asleep(10)
        harness.clock.advance(10)
        for name in "ab":
            with pytest.raises(RunFailed) as caught:
                await kernel.result(name)
            assert caught.value.type == "TimeoutError"


async def test_the_time_in_the_queue_counts() -> None:
    """A run that is not begun before its time is over fails without having begun."""
    harness = Harness()
    counter = Counter()

    @workflow(timeout=10)
    async def program(ctx: Context) -> None:
        await ctx.step(counter.body("begun"), name="begun")

    async with harness.kernel(program, stuck, max_runs=1) as kernel:
        await kernel.start(stuck, run_id="first")
        await kernel.start(program, run_id="queued")
        await harness.clock.asleep(10)
        harness.clock.advance(10)
        with pytest.raises(RunFailed):
            await kernel.result("queued")
        assert not counter.calls
