"""What the tests of the kernel stand on: one store in memory, one clock that only moves when told, any number of
kernels.

    harness = Harness()
    async with harness.kernel(report) as kernel:
        await kernel.start(report, run_id="r")
        await until(kernel, "r", "step_waiting")
        harness.clock.advance(60)

A crash is `crash(kernel)`: from that instant the handle of its store refuses everything, as if the process had died. A
kernel that is merely left goes in good order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Event, Kernel, StoredRuns, Workflow
from flujo.kernel.backend import Commit, Refused, RunSummary
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import StoreError
from flujo.kernel.events import decode

START = 1_767_225_600 * MICROSECONDS
"""2026-01-01T00:00:00Z, where every clock here begins."""


async def settled(condition: Callable[[], bool]) -> None:
    """Return once a condition holds; it is looked at after every tick."""
    with anyio.fail_after(30):
        while not condition():
            await checkpoint()


class ManualClock:
    """Stands still until somebody advances it, and tells when somebody waits for it."""

    def __init__(self) -> None:
        self.instant = START
        self.sleepers: list[tuple[int, anyio.Event]] = []
        self._another: list[anyio.Event] = []

    def now(self) -> int:
        return self.instant

    async def sleep_until(self, instant: int) -> None:
        if instant <= self.instant:
            return
        woken = anyio.Event()
        self.sleepers.append((instant, woken))
        for event in self._another:
            event.set()
        try:
            await woken.wait()
        finally:
            self.sleepers.remove((instant, woken))

    def advance(self, seconds: float) -> None:
        """Move on, and wake whoever is due."""
        self.instant += round(seconds * MICROSECONDS)
        for instant, woken in self.sleepers:
            if instant <= self.instant:
                woken.set()

    async def asleep(self, seconds: float) -> None:
        """Return once somebody sleeps until `seconds` after the start."""
        while not any(instant == START + round(seconds * MICROSECONDS) for instant, _ in self.sleepers):
            event = anyio.Event()
            self._another.append(event)
            await event.wait()
            self._another.remove(event)


class JumpingClock(ManualClock):
    """Moves on by itself to whatever instant somebody waits for, and remembers the waits, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.naps: list[float] = []

    async def sleep_until(self, instant: int) -> None:
        if instant <= self.instant:
            return
        self.naps.append((instant - self.instant) / MICROSECONDS)
        await checkpoint()
        self.instant = max(self.instant, instant)


class Harness:
    """One store, one clock."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.store = MemoryStore()
        self.clock = clock or ManualClock()

    def backend(self) -> InMemoryBackend:
        """Another handle on the store, as another process would have."""
        return InMemoryBackend(self.store)

    def kernel(
        self, *workflows: Workflow, backend: InMemoryBackend | None = None, real_time: bool = False, **options: Any
    ) -> Kernel:
        """Another kernel on the store. With `real_time` its clock is the machine's."""
        clock = None if real_time else self.clock
        return Kernel(backend or self.backend(), workflows, clock=clock, **options)

    def summary(self, run_id: str) -> RunSummary:
        """What is durable of a run, in this instant."""
        return self.store.runs[run_id.lower()].summary

    def journal(self, run_id: str) -> list[Event]:
        """The events of a run that are durable in this instant."""
        return [decode(row) for row in self.store.runs[run_id.lower()].events]

    def types(self, run_id: str) -> list[str]:
        """The kinds of these events."""
        return [event.type for event in self.journal(run_id)]


class FailingBackend(InMemoryBackend):
    """Its appends fail while `broken`, having done nothing; `appends` counts the commits of each that succeeded."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        super().__init__(store)
        self.broken = False
        self.appends: list[int] = []

    async def append(self, commits: Any) -> dict[str, Refused]:
        if self.broken:
            await checkpoint()
            raise StoreError(self.url, "the disk is on fire")
        refused = await super().append(commits)
        self.appends.append(len(commits))
        return refused


class DyingBackend(InMemoryBackend):
    """Dies, as its process would, right after an event of this type of this run has become durable."""

    def __init__(self, store: MemoryStore, run_id: str, type: str) -> None:
        super().__init__(store)
        self.dead = anyio.Event()
        self._last = run_id, type

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        refused = await super().append(commits)
        if any((commit.run_id, row.type) == self._last for commit in commits for row in commit.rows):
            self.kill()
            self.dead.set()
        return refused


class GatedBackend(InMemoryBackend):
    """Its appends wait while the gate is closed; `waiting` is set when one does."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        super().__init__(store)
        self.gate = anyio.Event()
        self.gate.set()
        self.waiting = anyio.Event()

    async def append(self, commits: Iterable[Commit]) -> dict[str, Refused]:
        if not self.gate.is_set():
            self.waiting.set()
            await self.gate.wait()
        return await super().append(list(commits))

    def close_gate(self) -> None:
        self.gate = anyio.Event()
        self.waiting = anyio.Event()


def crash(kernel: Kernel) -> None:
    """End a kernel as SIGKILL ends a process: nothing it does from now on reaches the store."""
    assert isinstance(kernel.backend, InMemoryBackend)
    kernel.backend.kill()


def usurp(harness: Harness, run_id: str, owner: str = "usurper") -> None:
    """Take a run away from its owner, as a kernel may that has seen the owner dead."""
    run = harness.store.runs[run_id.lower()]
    run.summary = run.summary._replace(owner=owner, token=run.summary.token + 1)


async def until(observer: StoredRuns, run_id: str, type: str, step: str | None = None, count: int = 1) -> Event:
    """The event of this type (and step) of a run, once it is committed; with `count`, the one of that number."""
    async with aclosing(observer.watch(run_id)) as events:
        async for event in events:
            if event.type == type and step in (None, event.step):
                count -= 1
                if count == 0:
                    return event
    raise AssertionError(f"{run_id} ended without {type}")


async def recorded(harness: Harness, run_id: str, type: str, count: int = 1) -> None:
    """Return once so many events of this type are durable; the run need not be there yet, and may have ended before."""
    while run_id not in harness.store.runs or harness.types(run_id).count(type) < count:
        await checkpoint()


class Counter:
    """How often each body ran; `counter.body("a")` is one that does nothing but count."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def count(self, name: str) -> int:
        self.calls.append(name)
        return self.calls.count(name)

    def body(self, name: str) -> Callable[[], Any]:
        async def body() -> int:
            return self.count(name)

        return body


async def is_cancelled_after(ticks: int, call: Callable[[], Awaitable[Any]]) -> bool:
    """Make a call, cancel it some passes of the event loop later, and return whether that ended it."""
    answered = False

    async def make() -> None:
        nonlocal answered
        await call()
        answered = True

    async with anyio.create_task_group() as group:
        group.start_soon(make)
        for _ in range(ticks):
            await checkpoint()
        group.cancel_scope.cancel()
    return not answered
