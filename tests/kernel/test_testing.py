"""What flujo.kernel.testing gives to those who test their workflows."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from flujo.backends.file import FileBackend
from flujo.kernel import (
    Context,
    Kernel,
    RetryPolicy,
    RunHandle,
    StateBackend,
    StepFailed,
    current_attempt,
    step,
    workflow,
)
from flujo.kernel.errors import RunFailed
from flujo.kernel.testing import (
    Crashes,
    Different,
    Loop,
    Stuck,
    VirtualClock,
    crash_at_every_checkpoint,
    run_virtually,
    run_workflow,
)

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])

ROOT = Path(__file__).parents[2]
DAY = 86_400.0


@step(retry=RetryPolicy(max_attempts=3, delay="1h", on_error=["ConnectionError"]))
async def charge(amount: int) -> str:
    if current_attempt().attempt == 1:
        raise ConnectionError("the bank does not answer")
    return f"charged {amount}"


@step
async def remind(text: str) -> str:
    return f"reminded of {text}"


@workflow(name="subscription")
async def subscription(ctx: Context, months: int) -> list[str]:
    done = []
    for month in range(months):
        done.append(await ctx.step(charge, 10 * month))
        await ctx.sleep("30d")
    return [*done, await ctx.step(remind, "the end")]


@workflow(name="approval")
async def approval(ctx: Context) -> str:
    draft = await ctx.step(remind, "a draft")
    answer = await ctx.wait_signal("answer", timeout="7d")
    return f"{draft}: {answer}"


@loops
def test_a_month_passes_at_once(loop: Loop) -> None:
    """A workflow that takes three months is over in no time, retries and durable sleeps included."""
    began = time.monotonic()
    output = run_workflow(subscription, {"months": 3}, loop=loop)

    assert output == ["charged 0", "charged 10", "charged 20", "reminded of the end"]
    assert time.monotonic() - began < DAY


@loops
def test_many_years_pass(loop: Loop) -> None:
    """Nor does time become too coarse for timers, however much of it passes."""

    async def naps() -> float:
        for _ in range(240):
            await anyio.sleep(30 * DAY)
            await anyio.sleep(0.001)
        return anyio.current_time()

    assert run_virtually(naps, loop=loop) >= 240 * 30 * DAY


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


def test_time_stands_still_for_a_thread() -> None:
    """A plain function that works in a thread does not make the timeouts around it run out."""

    def work() -> str:
        time.sleep(0.02)
        return "done"

    @workflow(name="threaded", timeout="1m")
    async def threaded(ctx: Context) -> str:
        return await ctx.step(work)

    assert run_workflow(threaded) == "done"


@loops
def test_a_kernel_of_ones_own(loop: Loop) -> None:
    """Whatever runs on the event loop shares its virtual time, and the clock begins where it is told to."""

    async def scenario(days: int) -> timedelta:
        from flujo.backends.memory import InMemoryBackend

        clock = VirtualClock(start=0)
        async with Kernel(InMemoryBackend(), [subscription], clock=clock) as kernel:
            await kernel.run(subscription, {"months": days // 30})
        return timedelta(microseconds=clock.now())

    passed = run_virtually(scenario, 60, loop=loop)

    assert timedelta(days=60) < passed < timedelta(days=61)


def test_nothing_can_ever_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for what nobody does is said to be stuck, and does not wait for ever."""
    monkeypatch.setattr("flujo.kernel.testing.virtual.STUCK_SECONDS", 0.05)

    with pytest.raises(Stuck):
        run_virtually(anyio.sleep_forever)


def test_the_fixture_is_loaded_by_name_only(tmp_path: Path) -> None:
    """A test suite that names the plugin has the fixture; nobody else has it."""
    (tmp_path / "test_mine.py").write_text(
        "from flujo.kernel import workflow\n"
        "\n"
        "@workflow(name='nap')\n"
        "async def nap(ctx):\n"
        "    await ctx.sleep('30d')\n"
        "    return 'rested'\n"
        "\n"
        "def test_nap(virtual_time):\n"
        "    assert virtual_time.run_workflow(nap) == 'rested'\n"
        "    assert virtual_time.crash_at_every_checkpoint(nap).output == 'rested'\n"
    )
    without = _pytest(tmp_path)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["flujo.kernel.testing.plugin"]\n')
    named = _pytest(tmp_path)

    assert "fixture 'virtual_time' not found" in without.stdout
    assert "1 passed" in named.stdout


def _pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


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


def test_the_guide_is_true(tmp_path: Path) -> None:
    """Every test that docs/testing.md shows passes as it stands."""
    page = (ROOT / "docs/testing.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for number, block in enumerate(blocks):
        name = "conftest.py" if block.startswith("pytest_plugins") else f"test_{number}.py"
        (tmp_path / name).write_text(block)

    assert "4 passed" in _pytest(tmp_path).stdout
