"""Leaving memory and coming back changes nothing for a program: no handler of its runs, no deadline of its is lost."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel import Context, Kernel, RetryPolicy, Workflow, step, workflow
from kernel.harness import Harness, crash, settled, until

RUNS = 6

ticks = 30
"""How many scheduler ticks a test grants to what must not happen."""


@asynccontextmanager
async def crowded(
    harness: Harness, *flows: Workflow, count: int = RUNS, at_once: bool = False
) -> AsyncIterator[Kernel]:
    """A kernel that holds one run in memory, with several runs of the first of these workflows that wait. They are
    started one after the other, or all before the first of them waits."""
    async with harness.kernel(*flows, max_resident=1, real_time=True) as kernel:
        async with anyio.create_task_group() as group:
            for number in range(count):
                if at_once:
                    group.start_soon(partial(kernel.start, flows[0], run_id=f"r{number}"))
                else:
                    await kernel.start(flows[0], run_id=f"r{number}")
                    await until(kernel, f"r{number}", "step_waiting")
        for number in range(count):
            await until(kernel, f"r{number}", "step_waiting")
        for _ in range(ticks):
            await checkpoint()
        yield kernel


@pytest.mark.parametrize("form", ["finally", "with", "except"])
async def test_no_handler_around_a_wait_runs_because_its_run_leaves_memory(form: str) -> None:
    """A lock that is given back in a `finally` is given back once, when the wait is over."""
    given_back: list[str] = []

    @asynccontextmanager
    async def lock(name: str) -> AsyncIterator[None]:
        yield
        given_back.append(name)

    @workflow()
    async def holding(ctx: Context) -> None:
        match form:
            case "finally":
                try:
                    await ctx.wait_signal("approve")
                finally:
                    given_back.append(ctx.run_id)
            case "with":
                async with lock(ctx.run_id):
                    await ctx.wait_signal("approve")
            case _:
                try:
                    await ctx.wait_signal("approve")
                except BaseException:
                    given_back.append(ctx.run_id)
                    raise
                given_back.append(ctx.run_id)

    async with crowded(Harness(), holding) as kernel:
        assert given_back == []
        for number in range(RUNS):
            await kernel.signal(f"r{number}", "approve")
            await kernel.wait(f"r{number}")

    assert sorted(given_back) == [f"r{number}" for number in range(RUNS)]


async def test_a_generator_that_a_program_holds_is_not_closed_because_its_run_leaves_memory() -> None:
    """An `async for` keeps its generator where no name of the program's shows it."""
    closed: list[int] = []

    async def pages() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append(1)

    @workflow()
    async def reading(ctx: Context) -> None:
        async for _ in pages():
            await ctx.wait_signal("next")

    async with crowded(Harness(), reading) as kernel:
        assert closed == []
        for number in range(RUNS):
            await kernel.signal(f"r{number}", "next")
            await kernel.wait(f"r{number}")

    assert len(closed) == RUNS


class Lock:
    """Gives itself back when nothing names it any more."""

    def __init__(self, given_back: list[str], name: str) -> None:
        self.given_back = given_back
        self.name = name

    def __del__(self) -> None:
        self.given_back.append(self.name)


class Plain:
    """Has no finalizer of its own."""


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "in a burst"])
@pytest.mark.parametrize("form", ["__del__", "weakref.finalize", "a weak reference", "one step away"])
async def test_nothing_that_a_program_holds_is_finalized_because_its_run_leaves_memory(
    form: str, at_once: bool
) -> None:
    """A variable of the program's, or of a function of its own on the way to the wait, and what is behind it."""
    given_back: list[str] = []

    def hold(name: str) -> object:
        if form == "__del__":
            return Lock(given_back, name)
        if form == "one step away":
            return {"lock": Lock(given_back, name)}
        held = Plain()
        if form == "weakref.finalize":
            weakref.finalize(held, given_back.append, name)
            return held
        refs.append(weakref.ref(held, lambda _: given_back.append(name)))
        return held

    refs: list[object] = []

    async def approval(ctx: Context) -> None:
        held = hold(ctx.run_id)
        await ctx.wait_signal("approve")
        del held

    @workflow()
    async def holding(ctx: Context) -> None:
        await approval(ctx)

    async with crowded(Harness(), holding, at_once=at_once) as kernel:
        assert given_back == []
        for number in range(RUNS):
            await kernel.signal(f"r{number}", "approve")
            await kernel.wait(f"r{number}")

    assert sorted(given_back) == [f"r{number}" for number in range(RUNS)]


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "in a burst"])
async def test_runs_that_only_wait_leave_until_no_more_than_may_are_in_memory(at_once: bool) -> None:
    """Also the one that was the last to begin its wait: somebody looks again once it stands still."""

    @workflow()
    async def patient(ctx: Context) -> str:
        held = {"items": [{"number": number} for number in range(100)], "of": ctx.labels}
        await ctx.wait_signal("approve")
        return str(len(held))

    async with crowded(Harness(), patient, at_once=at_once) as kernel:
        await settled(lambda: "1 live runs" in repr(kernel))
        for number in range(RUNS):
            await kernel.signal(f"r{number}", "approve")
            assert await kernel.result(f"r{number}") == "2"


async def test_a_run_that_stays_for_what_it_holds_stays_for_this_wait_only() -> None:
    """Once it holds nothing any more it leaves like any other."""
    given_back: list[str] = []

    @workflow()
    async def holding(ctx: Context) -> None:
        held = [Lock(given_back, ctx.run_id)]
        await ctx.wait_signal("approve")
        held.clear()
        await ctx.wait_signal("again")

    async with crowded(Harness(), holding) as kernel:
        assert f"{RUNS} live runs" in repr(kernel)
        for number in range(RUNS):
            await kernel.signal(f"r{number}", "approve")
        await settled(lambda: "1 live runs" in repr(kernel))
        assert sorted(given_back) == [f"r{number}" for number in range(RUNS)]
        for number in range(RUNS):
            await kernel.signal(f"r{number}", "again")
            await kernel.wait(f"r{number}")


@pytest.mark.parametrize("brought_back_by", ["signals", "another kernel"])
async def test_nothing_is_finalized_when_many_come_back_at_once(brought_back_by: str) -> None:
    """From the store, each replays and waits anew with what it holds by then; also with the next owner."""
    given_back: list[str] = []

    @workflow()
    async def holding(ctx: Context) -> None:
        await ctx.wait_signal("begin")
        held = [Lock(given_back, ctx.run_id)]
        await ctx.wait_signal("approve")
        held.clear()

    harness = Harness()
    async with crowded(harness, holding) as kernel:
        await settled(lambda: "1 live runs" in repr(kernel))
        if brought_back_by == "signals":
            await _approve(kernel, harness, given_back)
        else:
            crash(kernel)
            async with harness.kernel(holding, max_resident=1, real_time=True) as next_owner:
                await _approve(next_owner, harness, given_back)


async def _approve(kernel: Kernel, harness: Harness, given_back: list[str]) -> None:
    async with anyio.create_task_group() as group:
        for number in range(RUNS):
            group.start_soon(kernel.signal, f"r{number}", "begin")
    for number in range(RUNS):
        await settled(lambda run_id=f"r{number}": harness.types(run_id).count("step_waiting") == 2)  # type: ignore[misc]
    for _ in range(ticks):
        await checkpoint()
    assert given_back == []
    for number in range(RUNS):
        await kernel.signal(f"r{number}", "approve")
        await kernel.wait(f"r{number}")
    assert sorted(given_back) == [f"r{number}" for number in range(RUNS)]


async def test_what_a_file_has_not_written_yet_is_not_lost(tmp_path: Path) -> None:
    """And it is not written before the program writes it."""

    def written() -> list[str]:
        return [path.read_text() for path in tmp_path.iterdir()]

    class Log:
        def __init__(self, path: Path) -> None:
            self.file = path.open("a")

    @workflow()
    async def writing(ctx: Context) -> None:
        log = Log(tmp_path / ctx.run_id)
        log.file.write("begun\n")
        await ctx.wait_signal("approve")
        log.file.write("ended\n")
        log.file.close()

    async with crowded(Harness(), writing, at_once=True) as kernel:
        assert written() == [""] * RUNS
        for number in range(RUNS):
            await kernel.signal(f"r{number}", "approve")
            await kernel.wait(f"r{number}")

    assert written() == ["begun\nended\n"] * RUNS


async def test_what_a_step_that_waits_for_its_next_attempt_was_called_with_is_not_finalized() -> None:
    """No variable of the program's names it; it is dropped with the call all the same."""
    given_back: list[str] = []

    @step(retry=RetryPolicy(max_attempts=2, delay="1h"))
    async def failing(lock: Lock) -> None:
        raise ConnectionError("refused")

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(failing, Lock(given_back, ctx.run_id))

    harness = Harness()
    async with harness.kernel(program, max_resident=1, real_time=True) as kernel:
        for number in range(RUNS):
            await kernel.start(program, run_id=f"r{number}")
            await until(kernel, f"r{number}", "attempt_failed")
        for _ in range(ticks):
            await checkpoint()
        assert given_back == []
        crash(kernel)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("form", ["timeout", "wait_for", "call_later", "create_task"])
async def test_a_deadline_of_the_event_loops_own_wakes_its_run_however_many_wait(form: str) -> None:
    """What anyio does not know of keeps a run in memory: timeouts, timers and tasks of asyncio."""

    @workflow()
    async def impatient(ctx: Context) -> str:
        async def answer() -> str:
            try:
                async with asyncio.timeout(0.05):
                    return str(await ctx.wait_signal("approve"))
            except TimeoutError:
                return "nobody answered"

        async def by_wait_for() -> str:
            try:
                return str(await asyncio.wait_for(ctx.wait_signal("approve"), 0.05))
            except TimeoutError:
                return "nobody answered"

        async def approve() -> None:
            await asyncio.sleep(0.05)
            await kernel.signal(ctx.run_id, "approve", "nobody answered")

        match form:
            case "timeout":
                return await answer()
            case "wait_for":
                return await by_wait_for()
            case "call_later":
                task = asyncio.current_task()
                assert task is not None
                loop = asyncio.get_running_loop()
                loop.call_later(0.05, lambda: loop.create_task(kernel.signal(ctx.run_id, "approve", "nobody answered")))
                return str(await ctx.wait_signal("approve"))
            case _:
                asking = asyncio.create_task(approve())
                answered = str(await ctx.wait_signal("approve"))
                await asking
                return answered

    async with Harness().kernel(impatient, max_resident=1, real_time=True) as kernel:
        for number in range(RUNS):
            await kernel.start(impatient, run_id=f"r{number}")
        with anyio.fail_after(20):
            assert [await kernel.result(f"r{number}") for number in range(RUNS)] == ["nobody answered"] * RUNS


@pytest.mark.parametrize("form", ["fail_after", "branch", "backoff under a deadline", "wait_for", "timeout"])
async def test_a_deadline_of_the_programs_own_is_alive_after_a_restart(form: str, anyio_backend_name: str) -> None:
    """A run that something else may wake is entered again at once by its next owner, which never saw it wait."""
    if anyio_backend_name != "asyncio" and form in ("wait_for", "timeout"):
        pytest.skip("asyncio's own deadlines exist on asyncio only")

    @step(retry=RetryPolicy(max_attempts=2, delay="1h"))
    async def failing() -> None:
        raise ConnectionError("refused")

    @workflow()
    async def impatient(ctx: Context) -> str:
        async def reminder() -> None:
            await anyio.sleep(0.05)
            await kernels[-1].signal(ctx.run_id, "approve", "nobody answered")

        try:
            match form:
                case "fail_after":
                    with anyio.fail_after(0.05):
                        await ctx.wait_signal("approve")
                case "branch":
                    return str((await ctx.gather(a=ctx.wait_signal("approve"), b=reminder()))["a"])
                case "backoff under a deadline":
                    with anyio.fail_after(0.05):
                        await ctx.step(failing)
                case "wait_for":
                    await asyncio.wait_for(ctx.wait_signal("approve"), 0.05)
                case _:
                    async with asyncio.timeout(0.05):
                        await ctx.wait_signal("approve")
        except TimeoutError:
            return "nobody answered"
        return "approved"

    harness, kernels = Harness(), list[Kernel]()
    async with harness.kernel(impatient, real_time=True) as first:
        kernels.append(first)
        await first.start(impatient, run_id="r")
        await until(first, "r", "attempt_failed" if form == "backoff under a deadline" else "step_waiting")
        crash(first)
    async with harness.kernel(impatient, real_time=True) as second:
        kernels.append(second)
        with anyio.fail_after(20):
            assert await second.result("r") == "nobody answered"


async def test_a_plain_wait_is_not_entered_again_by_the_next_owner() -> None:
    """What nothing else can wake stays in the store: a hundred thousand sleeping runs cost nothing."""
    entered: list[str] = []

    @workflow()
    async def patient(ctx: Context) -> None:
        entered.append(ctx.run_id)
        await ctx.wait_signal("approve")

    harness = Harness()
    async with harness.kernel(patient) as first:
        await first.start(patient, run_id="r")
        await until(first, "r", "step_waiting")
        crash(first)
    async with harness.kernel(patient):
        for _ in range(ticks):
            await checkpoint()

    assert entered == ["r"]
    assert not harness.journal("r")[1].fact.reenter  # type: ignore[union-attr]


language: ContextVar[str] = ContextVar("language", default="unset")


async def test_a_program_sees_the_same_context_variables_in_every_life() -> None:
    """A variable of the caller's does not reach the run: after a restart there would be no caller."""
    seen: list[str] = []

    @workflow()
    async def speaking(ctx: Context) -> None:
        seen.append(language.get())
        await ctx.wait_signal("go")

    harness = Harness()
    async with harness.kernel(speaking) as first:
        language.set("of the caller")
        await first.start(speaking, run_id="r")
        await until(first, "r", "step_waiting")
        crash(first)
    language.set("of another caller")
    async with harness.kernel(speaking) as second:
        await second.signal("r", "go")
        await second.wait("r")

    assert seen[0] == "unset"
