"""The world around a kernel that may die: what is durable, what was promised to clients, and which bodies ran.

A `World` outlives its kernels. Each `Life` is one kernel with its backend handle, from opening to its end, be that a
crash, a failed store or an orderly close. A crash is one instant: from then on nothing of that life reaches the store
(its handle refuses everything), no client counts what it still hears, and no body has an effect. The tasks of the dead
kernel are then cancelled, which only frees the event loop for the next life.

Wherever the truth can be looked at synchronously it is looked at in the very instant: a body asks whether its start is
durable, a client whether what was acknowledged is."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, TypeVar

import anyio

from flujo.kernel import Event, current_attempt, events
from flujo.kernel.backend import Commit, Refused, Removal, RunFilter, RunSummary
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import StoreError
from flujo.kernel.events import AttemptFailed, EventRow, StepStarted
from flujo.kernel.testing.relays import RelayBackend

from .clock import SimulatedClock
from .flow import Cancellable, Stay
from .places import Store

Result = TypeVar("Result")

decode = lru_cache(maxsize=10_000)(events.decode)
"""The event of a row. Rows do not change, and every check reads them again."""


class Violation(AssertionError):
    """The kernel broke a promise."""


class Fault(StrEnum):
    """What befalls a life, at the tick or the write with a certain number."""

    CRASH_AT_TICK = "crash at tick"
    """The process dies right before this tick of the event loop."""

    CRASH_BEFORE_WRITE = "crash before write"
    """The process dies while it asks for this write, and nothing of it gets to the store."""

    CRASH_AFTER_WRITE = "crash after write"
    """The write is durable, and the process dies before it learns so."""

    WRITE_FAILS = "write fails"
    """The write raises StoreError and did nothing; the process goes on."""

    WRITE_FAILS_DURABLY = "write fails durably"
    """The write raises StoreError although it is durable; the process goes on."""

    CRASH_IN_WRITE = "crash in write"
    """The process dies in the middle of a commit batch: only some of its runs have got to the store (episodes)."""

    WRITE_FAILS_PARTLY = "write fails partly"
    """The same, but the process lives on and is told StoreError (episodes)."""

    FREEZE_AT_TICK = "freeze at tick"
    """The process is taken for dead and goes on, while others take over what it owned (episodes)."""

    CLOSE_AT_TICK = "close at tick"
    """The kernel is closed in good order from this tick on."""

    CANCEL_AT_TICK = "cancel at tick"
    """A client cancels every run at this tick, and resumes it once it is cancelled."""


AT_WRITES = (
    Fault.CRASH_BEFORE_WRITE,
    Fault.CRASH_AFTER_WRITE,
    Fault.CRASH_IN_WRITE,
    Fault.WRITE_FAILS,
    Fault.WRITE_FAILS_DURABLY,
    Fault.WRITE_FAILS_PARTLY,
)


class Point(NamedTuple):
    """What befalls a life, and when. Lives count from 1, and so do the ticks and the writes of each."""

    fault: Fault
    number: int
    life: int = 1

    def __repr__(self) -> str:
        """As it is written in code, so that a violation can be repeated by copying."""
        return f"Point(Fault.{self.fault.name}, {self.number}, {self.life})"


class Body(NamedTuple):
    """A body of a step that began."""

    uid: str
    run_id: str
    step: str
    generation: int
    attempt: int


_ENDINGS = ("run_completed", "run_failed", "run_cancelled", "run_paused")
_MAY_COME_LATE = ("signal_received", "variable_set")


@dataclass
class World:
    """What outlives a crash, and what the clients of a kernel remember."""

    store: Store
    seed: int = 0
    run_ids: Sequence[str] = ()
    points: Sequence[Point] = ()
    reached: list[Point] = field(default_factory=list)  # the points that have befallen a life
    violations: list[Violation] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    started: set[str] = field(default_factory=set)  # run ids whose start was acknowledged
    signalled: set[tuple[str, str]] = field(default_factory=set)  # (run id, signal) that were acknowledged
    paused: set[str] = field(default_factory=set)  # run ids whose pause was acknowledged
    watched: dict[str, list[Event]] = field(default_factory=dict)  # what a client has seen of a run, over all lives
    snapshots: list[dict[str, list[EventRow]]] = field(default_factory=list)  # of each crash and each end
    pace: float = 1.0  # seconds that one second of the scenario takes

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def random_bytes(self, count: int) -> bytes:
        """The source of randomness of every kernel of this world."""
        return self._random.randbytes(count)

    def begin_life(self) -> Life:
        """The next kernel's life, which its points may end."""
        number = len(self.lives) + 1
        life = Life(self, number, [point for point in self.points if point.life == number])
        self.lives.append(life)
        return life

    def snapshot(self) -> dict[str, list[EventRow]]:
        """Remember what is durable now: none of it may ever change."""
        self.snapshots.append({run_id: list(self.store.rows(run_id)) for run_id in self.run_ids})
        return self.snapshots[-1]

    def violation(self, message: str) -> Violation:
        """A violation to raise. It is kept here as well, since a kernel takes what a body raises for its failure."""
        self.violations.append(Violation(message))
        return self.violations[-1]

    def failures_of(self, body: Body) -> int:
        """How many attempts of this generation of a step have durably failed."""
        facts = [decode(row).fact for row in self.store.rows(body.run_id)]
        failed = [fact for fact in facts if isinstance(fact, AttemptFailed) and fact.step == body.step]
        return sum(fact.attempt < body.attempt for fact in failed)

    def body_begins(self, body: Body) -> None:
        """Check in this very instant that the start of this attempt is the last durable fact about its step."""
        rows = self.store.rows(body.run_id)
        for row in reversed(rows):
            fact = decode(row).fact
            if getattr(fact, "step", None) == body.step:
                if not isinstance(fact, StepStarted) or fact[1:3] != (body.attempt, body.generation):
                    raise self.violation(f"{body} begins, but the last durable fact about its step is {fact}")
                break
        else:
            raise self.violation(f"{body} begins without a durable start")
        if next((row.type for row in reversed(rows) if row.type not in _MAY_COME_LATE), "") in _ENDINGS:
            raise self.violation(f"{body} begins after its run has ended")
        self.bodies.append(body)


class Life:
    """One kernel's life. `dead` from the instant of its crash on."""

    def __init__(self, world: World, number: int, points: Sequence[Point]) -> None:
        self.world = world
        self.number = number
        self.pace = world.pace
        self.clock = SimulatedClock(self.offset)
        self.loose: list[Cancellable] = []  # what programs have left on the event loop: it ends with this process
        self.scope = anyio.CancelScope()
        self.dead = False
        self.failed = False  # the store has failed this life, which must notice and end by itself
        self.ticks = 0
        self.writes = 0
        self.ended = False
        self.gives_up = False  # its store is about to be closed, so that others may take what it owns
        self.gate = anyio.Event()  # for the bodies of this life
        self.completed = False  # every client has seen its run end
        self.backend = LifeBackend(self, world.store)
        self.asked: dict[Fault, anyio.Event] = {Fault.CLOSE_AT_TICK: anyio.Event(), Fault.CANCEL_AT_TICK: anyio.Event()}
        self._at_ticks = {point.number: point for point in points if point.fault not in AT_WRITES}
        self._at_writes = {point.number: point for point in points if point.fault in AT_WRITES}

    def __repr__(self) -> str:
        return f"<life {self.number}, {self.ticks} ticks, {self.writes} writes{', dead' if self.dead else ''}>"

    def offset(self, seconds: float) -> int:
        """How far the wall clock of this life is set forward, in microseconds.

        Every life finds it set back a little, as an administrator may do while no kernel runs."""
        return round(-2 * (self.number - 1) * self.pace * MICROSECONDS)

    def tick(self) -> None:
        """The event loop is about to run another tick."""
        if self.ended:
            return
        self.ticks += 1
        if (point := self._at_ticks.get(self.ticks)) is None or self.dead:
            return
        self.world.reached.append(point)
        self.befall(point)

    def befall(self, point: Point) -> None:
        """Something happens to this life at its present tick."""
        if point.fault is Fault.CRASH_AT_TICK:
            self.crash()
        else:
            self.asked[point.fault].set()

    def crash(self) -> None:
        """The process is dead, in this instant."""
        self.dead = True
        self.world.snapshot()
        self.backend.kill()
        self.scope.cancel()

    async def write(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Let a write happen, or not."""
        await self.enter()
        self.writes += 1
        point = self._at_writes.get(self.writes)
        fault = None if point is None else point.fault
        if point is not None:
            self.world.reached.append(point)
        if fault is Fault.CRASH_BEFORE_WRITE:
            self.crash()
        elif fault is Fault.WRITE_FAILS:
            self.failed = True
            raise StoreError(self.backend.url, "the disk is full")
        self.backend.require_alive()
        result = await call()
        if fault is Fault.CRASH_AFTER_WRITE:
            self.crash()
        elif fault is Fault.WRITE_FAILS_DURABLY:
            self.failed = True
            raise StoreError(self.backend.url, "the disk answered with an error, after it had written")
        self.backend.require_alive()
        return result

    async def enter(self) -> None:
        """A call of the store begins. Raises StoreError once this life is dead."""
        self.backend.require_alive()

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        """Let a batch be committed, or not."""
        return await self.write(lambda: self.backend.inner.append(commits))

    def claimed(self, summaries: Sequence[RunSummary]) -> None:
        """This life has become the owner of these runs."""

    def released(self, uids: Sequence[str] | None) -> None:
        """This life has given up these runs, or all it had."""

    async def remove(self, call: Callable[[], Awaitable[Result]], asked: Callable[[RunSummary], bool]) -> Result:
        """Let runs be removed, or not; it is `asked` of each whether it should go."""
        return await self.write(call)

    async def body(self, seconds: float) -> Body:
        """What the body of every step in a scenario does: begin, and take some time."""
        attempt = current_attempt()
        if self.dead:
            await anyio.sleep_forever()  # the dead do nothing; this task is about to be cancelled
        body = Body(attempt.uid, attempt.run_id, attempt.step, attempt.generation, attempt.attempt)
        self.world.body_begins(body)
        await anyio.sleep(seconds * self.pace)
        return body

    def begin_stay(self, run_id: str) -> Stay:
        """The program of a run is called."""
        return Stay(run_id, self.loose)

    # -- what clients remember ------------------------------------------------------------------------------------

    def acknowledge_start(self, run_id: str) -> None:
        """A client was told that its run exists; from now on it must."""
        if not self.dead:
            if not self.world.store.rows(run_id):
                raise Violation(f"the start of {run_id} was acknowledged and is not durable")
            self.world.started.add(run_id)

    def acknowledge_signal(self, run_id: str, name: str) -> None:
        """A client was told that its signal will reach the run; from now on it must be stored."""
        if not self.dead:
            require_signal(self.world, run_id, name)
            self.world.signalled.add((run_id, name))

    def acknowledge_pause(self, run_id: str) -> None:
        """A client was told that its run will pause; from now on the request must be stored."""
        if not self.dead:
            require_pause(self.world, run_id)
            self.world.paused.add(run_id)

    def observe(self, run_id: str, event: Event) -> None:
        """A watcher received an event: it must be durable, and the next one."""
        if self.dead:
            return
        seen = self.world.watched.setdefault(run_id, [])
        rows = self.world.store.rows(run_id)
        if event.seq != len(seen) + 1:
            raise Violation(f"a watcher of {run_id} has seen {len(seen)} events and received number {event.seq}")
        if len(rows) < event.seq or decode(rows[event.seq - 1]) != event:
            raise Violation(f"a watcher of {run_id} received {event}, which is not durable")
        seen.append(event)


def require_pause(world: World, run_id: str) -> None:
    """An acknowledged pause is in the journal or in the inbox of its run, unless a cancel has overruled it."""
    received = any(row.type in ("pause_requested", "cancel_requested") for row in world.store.rows(run_id))
    if not received and not any(request.kind == "pause" for request in world.store.requests(run_id)):
        raise Violation(f"the pause of {run_id} was acknowledged and is stored nowhere")


def has_signal(world: World, run_id: str, name: str) -> bool:
    """True if a signal is in the journal or in the inbox of its run."""
    received = any(row.type == "signal_received" and decode(row).fact[0] == name for row in world.store.rows(run_id))
    return received or any(f'"name":"{name}"' in request.body for request in world.store.requests(run_id))


def require_signal(world: World, run_id: str, name: str) -> None:
    """An acknowledged signal is in the journal or in the inbox of its run."""
    if not has_signal(world, run_id, name):
        raise Violation(f"the signal {name} to {run_id} was acknowledged and is stored nowhere")


_life: ContextVar[Life] = ContextVar("simulated_life")


def current_life() -> Life:
    """The life this code is part of; every task of a kernel inherits it."""
    return _life.get()


def enter_life(life: Life) -> None:
    """Make `life` the current one for this task and all it starts."""
    _life.set(life)


READS = {
    *("load", "read_events", "requests", "read_runs", "list", "due", "count", "stats", "changes", "last_position"),
    *("take", "paused_with", "get_definition", "get_workflow", "stored_workflows", "is_alive", "members"),
    *("fleet_limits", "open", "identity", "integrity", "integrity_beside_runs", "backup", "details"),
}
"""The calls that change nothing in the store, beside those that wait for something. Each other one is a write, which a
life may die before or behind; a call that the port gets is one until it stands here."""


class LifeBackend(RelayBackend):
    """The handle of one life: counts its writes, and refuses everything once that life is dead."""

    def __init__(self, life: Life, store: Store) -> None:
        super().__init__(store.open())
        self._life = life
        self._store = store

    def kill(self) -> None:
        """Die with the process."""
        self._store.kill(self.inner)

    def require_alive(self) -> None:
        """Raise StoreError once this life is dead."""
        if self._life.dead:
            raise StoreError(self.url, "its process was killed")

    async def relay(self, name: str, call: Callable[[], Awaitable[Result]]) -> Result:
        """Do the call of this name, or not."""
        if name == "close":  # the operating system closes what a dead process has open
            return await call()
        if name not in READS and not name.startswith("wait_for_"):
            return await self._life.write(call)
        await self._life.enter()
        return await call()

    async def close(self) -> None:
        self._life.gives_up = True
        await super().close()

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        return await self._life.append(commits)

    async def _claim(self, call: Callable[[], Awaitable[Sequence[RunSummary]]]) -> Sequence[RunSummary]:
        async def claim() -> Sequence[RunSummary]:
            claimed = await call()
            self._life.claimed(claimed)
            return claimed

        return await self._life.write(claim)

    async def claim(self, run_id: str) -> RunSummary:
        async def claim() -> Sequence[RunSummary]:
            return [await self.inner.claim(run_id)]

        (claimed,) = await self._claim(claim)
        return claimed

    async def claim_idle(
        self, statuses: Sequence[str], workflows: Sequence[str], limit: int, *, owner: str | None = None
    ) -> Sequence[RunSummary]:
        return await self._claim(lambda: self.inner.claim_idle(statuses, workflows, limit, owner=owner))

    async def claim_share(
        self, statuses: Sequence[str], workflows: Sequence[str], room: int, unfit: Mapping[str, int]
    ) -> Sequence[RunSummary]:
        return await self._claim(lambda: self.inner.claim_share(statuses, workflows, room, unfit))

    async def release(self, uids: Sequence[str] | None) -> None:
        async def release() -> None:
            await self.inner.release(uids)
            self._life.released(uids)

        await self._life.write(release)

    async def delete(self, run_id: str, uid: str) -> None:
        await self._life.remove(lambda: self.inner.delete(run_id, uid), lambda summary: summary.uid == uid)

    async def prune(self, filter: RunFilter, *, limit: int, dry_run: bool) -> Removal:
        def is_asked_for(summary: RunSummary) -> bool:
            fits = summary.run_id.startswith(filter.id_prefix or "")
            return fits and summary.status in filter.statuses and not dry_run

        return await self._life.remove(lambda: self.inner.prune(filter, limit=limit, dry_run=dry_run), is_asked_for)
