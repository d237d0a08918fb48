"""The world of an episode, and the lives in it: several kernels may be alive at once, side by side on one store."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import anyio

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel.backend import Commit, Refused, RunSummary
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import StoreError

from .clock import Abandoned, OrderedSet
from .flow import Stay
from .invariant_checker import InvariantChecker
from .places import MemoryPlace
from .plans import Episode
from .world import Body, Fault, Life, Point, World, current_life

Result = TypeVar("Result")

TICK_LIMIT = 30_000
"""Ticks in which an episode must come to its end, or it spins."""


_removing: ContextVar[tuple[EpisodeLife, Callable[[RunSummary], bool]]] = ContextVar("removing")
"""Who removes runs here, and what it was asked to remove."""


class _Runs(dict[str, Any]):
    """The runs of a store; tells in the instant when one is removed."""

    def __init__(self, removed: Callable[[RunSummary], None]) -> None:
        super().__init__()
        self._removed = removed

    def __delitem__(self, key: str) -> None:
        self._removed(self[key].summary)
        super().__delitem__(key)

    def pop(self, key: str, *default: Any) -> Any:  # a dict's own asks for no __delitem__
        found = self[key]
        del self[key]
        return found


class EpisodeWorld(World):
    """A world in which several kernels may be alive at once."""

    store: MemoryPlace

    def __init__(self, episode: Episode) -> None:
        super().__init__(MemoryPlace(), episode.seed)
        self.episode = episode
        self.store.store.wakers = OrderedSet()  # type: ignore[assignment]  # their order must not be that of addresses
        self.store.store.runs = _Runs(self._removed)
        self.checker = InvariantChecker(self.store.store, episode.plans)
        self.alive: list[EpisodeLife] = []
        self.cursors: dict[str, int] = {}  # how far the client of a run has watched it
        self.reported: dict[str, Any] = {}  # the outputs that were reported to clients
        self.asked: set[tuple[str, str]] = set()  # (run id, what) that were acknowledged
        self.sent: set[tuple[str, int]] = set()  # (run id, number of the signal) that were acknowledged
        self.left_cancelled: set[str] = set()
        self.seen_to: set[str] = set()  # runs whose client is content
        self.news = anyio.Event()  # set when another one is
        self.ticks = 0
        self.has_ended = False  # the event loop may still have to tidy up
        self.crashes = 0
        self.failed_writes = 0

    def tick(self) -> None:
        """The event loop is about to run another tick."""
        for _, befall in self.round(1):
            befall()

    def round(self, ticks: int) -> Sequence[tuple[int, Callable[[], None]]]:
        """It is about to run so many: before which of them does something befall a life?"""
        self.ticks += 0 if self.has_ended else ticks
        if self.ticks > TICK_LIMIT:
            raise Abandoned(f"no end after {TICK_LIMIT} ticks: {self.lives}")
        return [point for life in self.alive if (point := life.round(ticks)) is not None]

    def stay_begins(self, life: EpisodeLife, stay: Stay) -> None:
        """The program of a run is called."""
        if not life.dead and (problem := self.checker.stay_begins(life, stay)) is not None:
            raise self.violation(problem)

    def _removed(self, summary: RunSummary) -> None:
        life, asked = _removing.get()
        self.checker.removed(life, summary, asked=asked(summary))

    def failures_of(self, body: Body) -> int:
        return self.checker.failures_of(body)

    def body_begins(self, body: Body) -> None:
        self.bodies.append(body)
        if (problem := self.checker.body_begins(body, current_life())) is not None:
            raise self.violation(problem)


class EpisodeLife(Life):
    """One kernel's life in an episode."""

    world: EpisodeWorld

    def __init__(self, world: EpisodeWorld, number: int, points: Sequence[Point]) -> None:
        super().__init__(world, number, points)
        self.lots = random.Random(f"{world.seed}/{number}")
        self._at_tick = next(iter(self._at_ticks.values()), None)
        self.over = anyio.Event()  # it is dead, closed, or taken for dead: its successor may begin
        self.frozen = False
        self.was_frozen = False
        self._thawed = anyio.Event()

    def offset(self, seconds: float) -> int:
        jumps = self.world.episode.jumps
        return super().offset(seconds) + round(sum(by for at, by in jumps if at <= seconds) * MICROSECONDS)

    def begin_stay(self, run_id: str) -> Stay:
        stay = super().begin_stay(run_id)
        self.world.stay_begins(self, stay)
        return stay

    def crash(self) -> None:
        self.dead = True
        self.world.crashes += 1
        self.backend.kill()
        self.scope.cancel()
        self.over.set()

    def freeze(self) -> None:
        """Be taken for dead: nothing gets to the store before the thaw."""
        if self.owner is not None and not self.dead:
            self.frozen = self.was_frozen = True
            self._store.alive.discard(self.owner)
            self._store.wake()
            self.over.set()

    def thaw(self) -> None:
        """Be alive again, and go on as if nothing had happened."""
        if self.frozen and not self.dead and self.owner is not None:
            self.frozen = False
            self._store.alive.add(self.owner)
            self._thawed.set()

    @property
    def _store(self) -> MemoryStore:
        return self.world.store.store

    @property
    def owner(self) -> str | None:
        """The name under which this life has opened the store."""
        inner = self.backend.inner
        assert isinstance(inner, InMemoryBackend)
        return inner._owner

    def round(self, ticks: int) -> tuple[int, Callable[[], None]] | None:
        """So many ticks come at once: what befalls this life in them, and before which?"""
        before, self.ticks = self.ticks, self.ticks + ticks
        point = self._at_tick
        if point is None or not before < point.number <= self.ticks or self.dead or self.ended:
            return None
        return point.number - before - 1, partial(self._befall, point)

    def _befall(self, point: Point) -> None:
        if not self.dead and not self.ended:
            self.befall(point)

    def befall(self, point: Point) -> None:
        if point.fault is Fault.FREEZE_AT_TICK:
            self.freeze()
        else:
            super().befall(point)
            self.over.set()

    async def enter(self) -> None:
        if self.frozen:
            await self._thawed.wait()
        self.backend.require_alive()

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        await self.enter()
        self.writes += 1
        point = self._at_writes.get(self.writes)
        fault = None if point is None else point.fault
        if self.lots.random() < self.world.episode.slow:
            await anyio.sleep(self.lots.choice((0.01, 0.3, 2.0)))
            await self.enter()
        if fault is Fault.CRASH_BEFORE_WRITE:
            self.crash()
        elif fault is Fault.WRITE_FAILS:
            raise self._failure("the disk is full")
        self.backend.require_alive()
        chosen = commits
        if fault in (Fault.CRASH_IN_WRITE, Fault.WRITE_FAILS_PARTLY):
            chosen = [commit for commit in commits if self.lots.random() < 0.5]
        refused = await self.backend.inner.append(chosen)
        self.world.checker.committed(self, chosen, refused)
        if fault in (Fault.CRASH_AFTER_WRITE, Fault.CRASH_IN_WRITE):
            self.crash()
        elif fault in (Fault.WRITE_FAILS_DURABLY, Fault.WRITE_FAILS_PARTLY):
            raise self._failure("the disk answered with an error, after it had written")
        self.backend.require_alive()
        return refused

    def _failure(self, problem: str) -> StoreError:
        self.failed = True
        self.over.set()
        self.world.failed_writes += 1
        return StoreError(self.backend.url, problem)

    def claimed(self, summaries: Sequence[RunSummary]) -> None:
        self.world.checker.claimed(self, summaries)

    def released(self, uids: Sequence[str] | None) -> None:
        self.world.checker.released(self, uids)

    async def remove(self, call: Callable[[], Awaitable[Result]], asked: Callable[[RunSummary], bool]) -> Result:
        token = _removing.set((self, asked))
        try:
            return await self.write(call)
        finally:
            _removing.reset(token)
