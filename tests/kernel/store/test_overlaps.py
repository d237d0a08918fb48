"""Which run another one must not overlap, as the store tells."""

from __future__ import annotations

from flujo.kernel import Context, workflow
from flujo.kernel.programs import Overlap
from flujo.kernel.store.overlaps import ahead_of, overlap_of, unfinished_run
from kernel.harness import Harness, crash, until


@workflow(name="job", on_overlap="queue")
async def job(ctx: Context) -> None:
    await ctx.wait_signal("go")


async def test_the_newest_unfinished_run_is_found_and_how_it_stands() -> None:
    """Before an instant, other than a run itself; none once all have ended."""
    harness = Harness()
    async with harness.kernel(job) as kernel:
        await kernel.start(job, run_id="first")
        await until(kernel, "first", "step_waiting")
        await kernel.start(job, run_id="second")
        second = await kernel.inspect("second")
        newest = await unfinished_run(kernel.backend, "job")
        before = await unfinished_run(kernel.backend, "job", created_before=second.created_at)
        ahead = await ahead_of(kernel.backend, second)
        assert await ahead_of(kernel.backend, await kernel.inspect("first")) is None

        assert newest is not None
        assert (newest.summary.run_id, newest.status) == ("second", "pending")
        assert before == ahead
        assert before is not None
        assert (before.summary.run_id, before.status) == ("first", "waiting")
        assert await unfinished_run(kernel.backend, "another") is None

        await kernel.cancel("second")
        await kernel.cancel("first")
        await kernel.wait("first")
        assert await unfinished_run(kernel.backend, "job") is None


async def test_a_run_without_a_live_owner_is_interrupted() -> None:
    """And the error for it says what helps."""
    harness = Harness()
    async with harness.kernel(job) as dying:
        await dying.start(job, run_id="dead")
        await until(dying, "dead", "step_waiting")
        crash(dying)
    async with harness.kernel(recover=False) as kernel:
        other = await unfinished_run(kernel.backend, "job")

    assert other is not None
    error = overlap_of(other, Overlap.FAIL)
    assert (error.workflow, error.run_id, error.status, error.on_overlap) == ("job", "dead", "interrupted", "fail")
    assert error.hints == ("flujoctl resume dead", "flujoctl cancel dead")
