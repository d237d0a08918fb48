"""Code as users write it, which must type-check under mypy --strict and under pyright in strict mode.

Nothing here runs. `assert_type` says what a type checker has to find, so that a change of a signature that makes the
public interface vaguer fails in `make check`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, assert_type

from flujo.backends import InMemoryBackend, open_backend
from flujo.client.blocking import Client
from flujo.kernel import (
    CancelOutcome,
    Context,
    Delivery,
    Event,
    Kernel,
    Observer,
    PruneResult,
    Retention,
    RetryPolicy,
    RunHandle,
    StateBackend,
    Step,
    StepFailed,
    StoredRuns,
    Workflow,
    WorkflowState,
    blocking,
    step,
    workflow,
)


@dataclass
class Page:
    """What a step returns."""

    url: str
    size: int


@step
async def fetch(url: str) -> Page:
    """Declared without arguments."""
    return Page(url, 0)


@step(name="measure", retry=RetryPolicy(max_attempts=3, delay="5s", on_error=["ConnectionError"]), timeout="30s")
async def measure(page: Page) -> int:
    """Declared with arguments."""
    return page.size


@step
def in_a_thread(number: int, factor: float = 1.0) -> float:
    """A plain function."""
    return number * factor


async def undeclared(name: str) -> str:
    """A function that is no declared step."""
    return name


@workflow
async def brief(ctx: Context, day: str) -> int:
    """A workflow without options."""
    return await ctx.step(measure, Page(day, 1))


assert_type(brief, Workflow[int])


@workflow(name="report", version="1", timeout="1h", retention=Retention(completed="30d", last=100))
async def report(ctx: Context, day: str) -> int:
    """Outputs have the types their steps declare."""
    page = await ctx.step(fetch, f"https://example.org/{day}")
    assert_type(page, Page)
    size = await ctx.step(measure, page, name="size", retry=RetryPolicy(), timeout=2.5)
    assert_type(size, int)
    assert_type(await ctx.step(in_a_thread, 3, factor=2), float)
    assert_type(await ctx.step(undeclared, "a"), str)
    assert_type(await ctx.map(measure, [page], limit=8, key=lambda item: item.url), list[int])
    assert_type(await ctx.map(measure, [page], on_error="collect"), list[int | StepFailed])
    assert_type(await ctx.gather(ctx.step(fetch, "a"), ctx.step(measure, page)), list[Any])
    assert_type(await ctx.gather(a=ctx.step(fetch, "a"), b=ctx.sleep("1h")), dict[str, Any])
    await ctx.sleep(3, name="nap")
    await ctx.wait_signal("go", timeout="1h", type=Page)
    ctx.skip("optional", "not today")
    return size


async def declared() -> None:
    """Decorated functions keep their signatures and stay callable."""
    assert_type(report, Workflow[int])
    plain: Callable[[str], Awaitable[Page]] = fetch
    assert_type(await plain("a"), Page)
    assert_type(await fetch("a"), Page)
    assert_type(in_a_thread(1), float)
    assert_type(in_a_thread(1, factor=2), float)
    descriptor: Step[[Page], Any] = measure
    assert_type(descriptor.name, str)


async def embedded() -> None:
    """A kernel on any backend."""
    backend: StateBackend = InMemoryBackend()
    assert_type(open_backend("sqlite:state.db"), StateBackend)
    async with Kernel(backend, workflows=[report], max_steps=8) as kernel:
        assert_type(kernel, Kernel)
        handle = await kernel.start(report, {"day": "2026-11-22"}, run_id="r", labels={"team": "a"})
        assert_type(handle, RunHandle[int])
        assert_type(await handle.result(), int)
        assert_type(await kernel.run(report, {"day": "2026-11-22"}), int)
        assert_type(await kernel.run("report", {"day": "2026-11-22"}), Any)
        async for event in handle.watch():
            assert_type(event, Event)
        assert_type(await handle.signal("go", {"a": 1}), Delivery)
        assert_type(await handle.cancel("enough"), CancelOutcome)
        assert_type(await handle.inspect(), WorkflowState)
        assert_type(await kernel.resume("r", from_step="measure", inputs={"day": "x"}), RunHandle)
        assert_type(await kernel.cancel("r", "enough", by="ann", request_id="x"), CancelOutcome)
        assert_type(await kernel.signal("r", "go", [1], by="ann", request_id="x"), Delivery)
        assert_type(await kernel.set_variable("r", "mode", 1, reason="why", by="ann"), Delivery)
        await kernel.skip("r", "measure", reason="why", by="ann", request_id="x")
        assert_type(await kernel.fork("r", from_step="measure", new_run_id="s", labels={"a": "1"}), RunHandle)
        assert_type(await kernel.inspect("r"), WorkflowState)
        assert_type((await kernel.list(statuses=["failed"], limit=3)).next, str | None)
        assert_type([event async for event in kernel.watch("r", 2)], list[Event])
        assert_type(await kernel.prune(older_than_seconds="30d", dry_run=True), PruneResult)
        observer: StoredRuns = kernel
        page = await observer.list(statuses=["failed"], labels={"team": "a"})
        assert_type(page.runs[0].run_id, str)
        since = datetime(2026, 11, 22, tzinfo=UTC)
        assert_type(
            await observer.count(workflow="report", created_from=since, updated_before=1_767_225_600_000_000), int
        )
        told = await observer.stats(window_seconds="7d")
        assert_type(told.workflows[0].failure_rate, float | None)
        assert_type(await observer.prune(keep_last=100, labels={"team": "a"}), PruneResult)


def blocked() -> None:
    """The same calls for code that blocks, with the same types."""
    with blocking.Kernel(InMemoryBackend(), workflows=[report], max_steps=8) as kernel:
        assert_type(kernel, blocking.Kernel)
        run = kernel.start(report, {"day": "2026-11-22"}, run_id="r", labels={"team": "a"})
        assert_type(run, blocking.RunHandle[int])
        assert_type(run.result(timeout="5s"), int)
        assert_type(kernel.run(report, {"day": "2026-11-22"}), int)
        assert_type(kernel.run("report"), Any)
        for event in run.watch(after_seq=2):
            assert_type(event, Event)
        assert_type(run.signal("go", {"a": 1}), Delivery)
        assert_type(kernel.cancel("r", "enough", by="me"), CancelOutcome)
        assert_type(kernel.inspect("r"), WorkflowState)
        assert_type(kernel.resume("r", from_step="measure").run_id, str)
        assert_type(kernel.list(statuses=["failed"], limit=3).runs[0].run_id, str)
        assert_type(kernel.count(workflow="report"), int)
        assert_type(kernel.prune(keep_last=100), PruneResult)
    with Client("unix:server.sock", call_seconds=3) as client:
        assert_type(client.start(report).result(), int)
        assert_type(client.wait("r", timeout=3), WorkflowState)
        assert_type(client.info().version, str)


async def refused() -> None:
    """What a type checker has to refuse; an ignore that is not needed is an error itself."""
    await fetch(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    observer = Observer(InMemoryBackend())
    await observer.list(colour="red")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await observer.count(created_from="yesterday")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kernel = Kernel(InMemoryBackend())
    await kernel.list(colour="red")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await kernel.inspect(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await kernel.cancel("r", because="why")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await kernel.skip("r", "a", by=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    facade = blocking.Kernel(InMemoryBackend())
    facade.inspect(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    facade.cancel("r", because="no")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    facade.count(colour="red")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    blocking.Kernel(InMemoryBackend(), max_stepps=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    in_a_thread("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
