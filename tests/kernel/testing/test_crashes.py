"""Runs in virtual time, and a crash at every checkpoint: what comes to the same end, and what does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from flujo.backends.file import FileBackend
from flujo.kernel import Context, RunHandle, StateBackend, StepFailed, current_attempt, step, workflow
from flujo.kernel.errors import RunFailed
from flujo.kernel.testing import Crashes, Different, Loop, crash_at_every_checkpoint, run_workflow
from kernel.testing.flows import DAY, approval, loops, remind, subscription


@loops
def test_a_month_passes_at_once(loop: Loop) -> None:
    """A workflow that takes three months is over in no time, retries and durable sleeps included."""
    began = time.monotonic()
    output = run_workflow(subscription, {"months": 3}, loop=loop)

    assert output == ["charged 0", "charged 10", "charged 20", "reminded of the end"]
    assert time.monotonic() - began < DAY


@loops
def test_signals_come_meanwhile(loop: Loop) -> None:
    """Whoever acts around a run acts in the same virtual time."""

    async def answer(run: RunHandle) -> None:
        await anyio.sleep(3 * DAY)
        await run.signal("answer", "yes")

    assert run_workflow(approval, meanwhile=answer, loop=loop) == "reminded of a draft: yes"


@loops
def test_nobody_answers(loop: Loop) -> None:
    """A failure of the run reaches the test as it is, also with somebody around."""

    async def too_late(run: RunHandle) -> None:
        await anyio.sleep(8 * DAY)
        await run.signal("answer", "yes")

    with pytest.raises(RunFailed, match="no signal 'answer' came in time"):
        run_workflow(approval, meanwhile=too_late, loop=loop)


@loops
def test_a_crash_at_every_checkpoint(loop: Loop) -> None:
    """A run that waits, retries and is signalled comes to the same end whichever commit its kernel dies behind."""

    async def answer(run: RunHandle) -> None:
        await anyio.sleep(3 * DAY)
        await run.signal("answer", "yes")

    months = crash_at_every_checkpoint(subscription, {"months": 2}, loop=loop)
    answered = crash_at_every_checkpoint(approval, meanwhile=answer, loop=loop)

    assert months.output == ["charged 0", "charged 10", "reminded of the end"]
    assert months.checkpoints > 8
    assert answered.output == "reminded of a draft: yes"
    assert answered.checkpoints >= 4


def test_what_is_forgotten_in_a_crash_is_found() -> None:
    """A program that keeps something between its steps is told where it went wrong."""
    counts: list[str] = []

    @workflow(name="forgetful")
    async def forgetful(ctx: Context) -> int:
        if ctx.peek("remind") is None:  # a new run
            counts.clear()
        counts.append(await ctx.step(remind, "something"))
        await ctx.sleep("1h")
        return len(counts)

    with pytest.raises(Different, match=r"behind checkpoint \d+ \(.*\) the run came to 2, uninterrupted it comes to 1"):
        crash_at_every_checkpoint(forgetful)


def test_a_failure_that_only_a_crash_brings_is_found() -> None:
    """A run that fails after a crash, and only then, is a difference as well."""

    @step
    async def once() -> None:
        if current_attempt().attempt > 1:
            raise RuntimeError("this has been done before")

    @workflow(name="touchy")
    async def touchy(ctx: Context) -> str:
        await ctx.step(once)
        return "done"

    with pytest.raises(Different, match="this has been done before"):
        crash_at_every_checkpoint(touchy)


def test_children_and_branches_survive_crashes() -> None:
    """Children need to be known as well, and what they come to is part of the output."""

    @workflow(name="child")
    async def child(ctx: Context, text: str) -> str:
        await ctx.sleep("1d")
        return await ctx.step(remind, text)

    @workflow(name="parent")
    async def parent(ctx: Context) -> dict[str, str]:
        return await ctx.gather(
            a=ctx.run_child(child, {"text": "a"}, name="first"), b=ctx.run_child(child, {"text": "b"}, name="second")
        )

    found = crash_at_every_checkpoint(parent, others=[child])

    assert found.output == {"a": "reminded of a", "b": "reminded of b"}


def test_a_store_of_ones_own(tmp_path: Path) -> None:
    """Crashes can be had on any backend: every history gets a store, and every life a handle on it."""
    folders = iter(tmp_path / str(number) for number in range(1000))

    def make_store() -> Callable[[], StateBackend]:
        folder = next(folders)
        return lambda: FileBackend(folder, "normal")

    found = crash_at_every_checkpoint(approval_without_wait, make_store=make_store)

    assert found == Crashes("reminded of a draft", 3)


@workflow(name="short")
async def approval_without_wait(ctx: Context) -> str:
    return await ctx.step(remind, "a draft")


def test_a_failing_workflow_fails_at_once() -> None:
    """What fails without any crash is reported as it is."""

    @step
    async def fail() -> None:
        raise ValueError("no")

    @workflow(name="failing")
    async def failing(ctx: Context) -> None:
        try:
            await ctx.step(fail)
        except StepFailed as failure:
            raise RuntimeError("it failed") from failure

    with pytest.raises(RunFailed):
        crash_at_every_checkpoint(failing)
