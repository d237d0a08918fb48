"""Leaving memory and coming back changes nothing for a program: no handler of its runs, no deadline of its is lost."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel import Context, Kernel, RetryPolicy, Workflow, step, workflow
from kernel.harness import Harness, crash, until

RUNS = 6

ticks = 30
"""How many scheduler ticks a test grants to what must not happen."""


@asynccontextmanager
async def crowded(harness: Harness, *flows: Workflow, count: int = RUNS) -> AsyncIterator[Kernel]:
    """A kernel that holds one run in memory, with several runs of the first of these workflows that wait."""
    async with harness.kernel(*flows, max_resident=1, real_time=True) as kernel:
        for number in range(count):
            await kernel.start(flows[0], run_id=f"r{number}")
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


@pytest.mark.parametrize("form", ["__del__", "weakref.finalize", "a weak reference"])
async def test_nothing_that_a_program_holds_is_finalized_because_its_run_leaves_memory(form: str) -> None:
    """A variable of the program's, or of a function of its own on the way to the wait."""
    given_back: list[str] = []

    def hold(name: str) -> object:
        if form == "__del__":
            return Lock(given_back, name)
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

    async with crowded(Harness(), holding) as kernel:
        assert given_back == []
        for number in range(RUNS):
            await kernel.signal(f"r{number}", "approve")
            await kernel.wait(f"r{number}")

    assert sorted(given_back) == [f"r{number}" for number in range(RUNS)]


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
