"""A timeout that is said when a run is started goes before that of its workflow, for its whole life."""

from __future__ import annotations

import pytest

from flujo.kernel import Context, RunFailed, workflow
from flujo.kernel.errors import InvalidDurationError, InvalidNameError, RequestReusedError
from kernel.harness import Harness


@workflow(name="waits", timeout="1h")
async def waits(ctx: Context) -> None:
    await ctx.wait_signal("go")


@pytest.fixture
def harness() -> Harness:
    """A clock that stands still, and one store for all kernels."""
    return Harness()


async def test_it_is_recorded_and_a_resume_has_it_again(harness: Harness) -> None:
    """From the resume on, also in a kernel that knows only the workflow."""
    async with harness.kernel(waits) as kernel:
        handle = await kernel.start(waits, run_id="r", timeout="30m")
        assert (await handle.inspect()).timeout_seconds == 1800
        harness.clock.advance(1801)
        with pytest.raises(RunFailed, match="longer than 30m"):
            await handle.result()

    async with harness.kernel(waits) as kernel:
        again = await kernel.resume("r")
        assert (await again.inspect()).timeout_seconds == 1800
        forked = await kernel.fork("r", new_run_id="f")
        assert (await forked.inspect()).timeout_seconds == 1800
        harness.clock.advance(1801)
        with pytest.raises(RunFailed, match="longer than 30m"):
            await again.result()


async def test_without_a_word_it_is_that_of_the_workflow(harness: Harness) -> None:
    """And one that is longer is as good as one that is shorter."""
    async with harness.kernel(waits) as kernel:
        assert (await (await kernel.start(waits, run_id="a")).inspect()).timeout_seconds == 3600
        assert (await (await kernel.start(waits, run_id="b", timeout=7200)).inspect()).timeout_seconds == 7200


async def test_no_time_at_all_is_refused(harness: Harness) -> None:
    """Before anything is stored, as what is no duration is."""
    async with harness.kernel(waits) as kernel:
        with pytest.raises(InvalidNameError, match="longer than no time at all"):
            await kernel.start(waits, run_id="r", timeout="0s")
        with pytest.raises(InvalidDurationError):
            await kernel.start(waits, run_id="r", timeout="soon")
        assert await kernel.count() == 0


async def test_a_request_with_another_timeout_is_another_request(harness: Harness) -> None:
    """So that a repeat gets the run that it has asked for."""
    async with harness.kernel(waits) as kernel:
        await kernel.start(waits, request_id="x", timeout="30m")
        assert not (await kernel.start(waits, request_id="x", timeout=1800)).created
        with pytest.raises(RequestReusedError):
            await kernel.start(waits, request_id="x", timeout="40m")
