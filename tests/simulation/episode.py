"""One seed, one episode: a few random runs, the kernels that run them and die, their clients, and what befalls them.

    live_through(draw_episode(7))

An episode has one or two processes side by side on one store, each a row of lives. What befalls the first few lives of
each is drawn from the seed: a crash at a tick, before, after or in the middle of a write, a write that fails or only
says so, an orderly close, or a freeze, in which the life is taken for dead, its successor takes over what it owned, and
then it goes on as if nothing had happened. The lives after these are left alone and have to bring everything to its
end.

A `InvariantChecker` (invariant_checker.py) looks at every commit, claim, body and report in the instant it happens."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import anyio
from anyio.abc import TaskGroup

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Kernel, Observer
from flujo.kernel.api import CancelOutcome
from flujo.kernel.backend import Commit, Refused, RunSummary
from flujo.kernel.errors import (
    FlujoError,
    RunActiveError,
    RunCancelled,
    RunExistsError,
    RunFailed,
    RunFinishedError,
    RunInterrupted,
    RunNotPausedError,
    RunNotResumableError,
    RunPaused,
    StepCompletedError,
    StoreError,
)
from flujo.kernel.values import encode

from .clock import Abandoned, Loop, OrderedSet, run_simulated
from .invariant_checker import InvariantChecker
from .programs import Room, Script, draw, kinds_of, play, signals_of
from .world import Body, Fault, Life, MemoryPlace, Point, Violation, World, current_life, enter_life

LIVES_BEFALLEN = 12
"""How many lives of one process something may befall, at most."""

TICK_LIMIT = 30_000
"""Ticks in which an episode must come to its end, or it spins."""

VIRTUAL_LIMIT = 6 * 3600.0
"""Seconds in which it must, or it hangs."""


async def adopt(kernel: Kernel, run_id: str) -> None:
    """Have a kernel go on with a run if it has no live owner."""
    await kernel._takeover.adopt(await kernel.backend.load(run_id))


class Ask(NamedTuple):
    """What a client asks of its run besides: what, when, and whether a cancelled run is resumed."""

    kind: str  # "cancel", "pause" or "set_variable"
    after: float
    resumes: bool


class Send(NamedTuple):
    """A signal that a client sends: when, and whether as another process would, by a post."""

    name: str
    after: float
    posts: bool


@dataclass(frozen=True)
class Plan:
    """One run and its client."""

    run_id: str
    script: Script
    signals: Sequence[Send]
    asks: Sequence[Ask]
    watches: bool
    insists: bool  # starts its run in every life, acknowledged or not
    cure: str  # "resume", "from_step", "skip" or "set_output": what it does about a failure


@dataclass(frozen=True)
class Process:
    """A row of lives, whose clients see to these plans."""

    plans: Sequence[Plan]
    points: Sequence[Point]


@dataclass(frozen=True)
class Episode:
    """Everything a seed decides."""

    seed: int
    loop: Loop
    processes: Sequence[Process]
    max_runs: int | None
    max_steps: int | None
    max_resident: int
    max_interruptions: int
    slow: float  # the share of writes that take their time

    @property
    def plans(self) -> list[Plan]:
        """The plans of all processes."""
        return [plan for process in self.processes for plan in process.plans]


# -- drawing ------------------------------------------------------------------------------------------------------


def draw_episode(seed: int) -> Episode:
    """The episode of a seed."""
    lots = random.Random(seed)
    count = lots.choice((1, 1, 2, 3))
    plans = [_draw_plan(lots, f"run-{number}", small=count > 1) for number in range(count)]
    processes = [Process(plans, _draw_points(lots))]
    if count > 1 and lots.random() < 0.35:
        processes = [Process(plans[:1], _draw_points(lots)), Process(plans[1:], _draw_points(lots))]
    return Episode(
        seed,
        "trio" if seed % 20 == 0 else "asyncio",
        processes,
        max_runs=lots.choice((None, None, None, 1)),
        max_steps=None if _may_give_up(plans) else lots.choice((None, None, None, 1, 2)),
        max_resident=lots.choice((1000, 0, 0, 1)),
        max_interruptions=lots.choice((1, 3, 3, 100)),
        slow=lots.choice((0.0, 0.0, 0.0, 0.2)),
    )


def _may_give_up(plans: Sequence[Plan]) -> bool:
    """Whether a program may give a step up before its turn has come. Nothing is recorded of such a step, so that a
    later life, in which there is room, would find it new."""
    return any("patience" in kinds_of(plan.script) for plan in plans)


def _draw_plan(lots: random.Random, run_id: str, *, small: bool) -> Plan:
    names = ["go"] if lots.random() < 0.5 else ["go", "on"]
    script = draw(lots, Room(2, names), 4 if small else 7)
    delays = (0.0, 0.0, 0.5, 3.0, 9.0)
    signals = [Send(name, lots.choice(delays), lots.random() < 0.5) for name in signals_of(script)]
    lots.shuffle(signals)
    asks: list[Ask] = []
    if lots.random() < 0.4:
        kind = lots.choice(("cancel", "pause", "pause", "set_variable"))
        asks.append(Ask(kind, lots.choice((0.0, 0.1, 0.4, 2.0, 7.0)), lots.random() < 0.6))
    # Signals that were taken are void once a wait is resumed `from_step`, and nobody would send them again.
    cure = lots.choice(("resume", "resume", "skip", "set_output") + (() if signals else ("from_step",)))
    return Plan(run_id, script, signals, asks, lots.random() < 0.4, lots.random() < 0.3, cure)


_AT_TICKS = (Fault.CRASH_AT_TICK,) * 14 + (Fault.FREEZE_AT_TICK,) * 3 + (Fault.CLOSE_AT_TICK,)
_AT_WRITES = (
    *(Fault.CRASH_BEFORE_WRITE, Fault.CRASH_AFTER_WRITE, Fault.CRASH_IN_WRITE) * 2,
    *(Fault.WRITE_FAILS, Fault.WRITE_FAILS_DURABLY, Fault.WRITE_FAILS_PARTLY),
)


def _draw_points(lots: random.Random) -> list[Point]:
    points: list[Point] = []
    for life in range(1, LIVES_BEFALLEN + 1):
        if lots.random() < 0.7:
            points.append(Point(lots.choice(_AT_TICKS), lots.randint(10, lots.choice((40, 60, 110))), life))
        else:
            points.append(Point(lots.choice(_AT_WRITES), lots.randint(1, lots.choice((2, 4, 8))), life))
    return points


# -- the world ----------------------------------------------------------------------------------------------------


class EpisodeWorld(World):
    """A world in which several kernels may be alive at once."""

    store: MemoryPlace

    def __init__(self, episode: Episode) -> None:
        super().__init__(MemoryPlace(), episode.seed)
        self.episode = episode
        self.store.store.wakers = OrderedSet()  # type: ignore[assignment]  # their order must not be that of addresses
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


# -- living -------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What an episode came to."""

    seed: int
    crashes: int
    failed_writes: int
    takeovers: int  # of runs whose owner went on afterwards
    lives: int
    commits: int
    ticks: int


def live_through(episode: Episode) -> Outcome:
    """Live one episode and check it; raises Violation with the command that repeats it."""
    worlds: list[EpisodeWorld] = []

    def tick() -> None:
        if worlds:
            worlds[0].tick()

    def round(ticks: int) -> Sequence[tuple[int, Callable[[], None]]]:
        return worlds[0].round(ticks) if worlds else ()

    async def history() -> None:
        world = EpisodeWorld(episode)
        worlds.append(world)
        with anyio.move_on_after(VIRTUAL_LIMIT) as limit:
            await _episode(world)
        world.has_ended = True
        if limit.cancelled_caught:
            raise Violation(f"no end after {VIRTUAL_LIMIT} seconds: {world.lives}\n{world.checker.stuck()}")

    try:
        with _quiet():
            run_simulated(episode.loop, history, seed=episode.seed, on_tick=tick, on_round=round)
        world = worlds[0]
        if world.violations:
            raise world.violations[0]
        world.checker.check()
    except (Exception, Abandoned) as error:
        first = next(_problems(worlds[0]), None) or _innermost(error)
        command = f"python tests/simulation/torture.py --replay {episode.seed}"
        said = first if isinstance(first, str) else f"{type(first).__name__}: {first}"
        raise Violation(f"{said}\nrepeat it with: {command}") from error
    checker = world.checker
    return Outcome(
        episode.seed,
        world.crashes,
        world.failed_writes,
        checker.takeovers,
        len(world.lives),
        checker.commits,
        world.ticks,
    )


def _problems(world: EpisodeWorld) -> Iterator[str | Violation]:
    """What else is wrong with a world that has failed; the first of these says most."""
    yield from world.checker.problems
    yield from world.violations
    try:
        world.checker.check()
    except Violation as violation:
        yield violation


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the log of kernels that die; what is wrong, an episode finds out by itself."""
    logger = logging.getLogger("flujo.kernel")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


async def _episode(world: EpisodeWorld) -> None:
    tasks = {task.id for task in anyio.get_running_tasks()}
    await _live_side_by_side(world, world.episode.processes)
    if world.checker.not_ended():
        # A client in a life that was frozen has resumed what all others were content with.
        world.seen_to.clear()
        await _live_side_by_side(world, [Process(process.plans, ()) for process in world.episode.processes])
    left = [task for task in anyio.get_running_tasks() if task.id not in tasks]
    if left:
        raise Violation(f"the last life has ended and left {left}")
    world.checker.check()
    world.checker.check_ended(world.left_cancelled, world.reported)


async def _live_side_by_side(world: EpisodeWorld, processes: Sequence[Process]) -> None:
    async with anyio.create_task_group() as background:
        try:
            async with anyio.create_task_group() as rows:
                for process in processes:
                    rows.start_soon(_row, world, process, background)
        finally:
            for life in world.alive:  # those that were frozen
                life.thaw()
                life.asked[Fault.CLOSE_AT_TICK].set()
                life.over.set()


async def _row(world: EpisodeWorld, process: Process, background: TaskGroup) -> None:
    """One life after the other, until all clients are content."""
    for number in range(1, LIVES_BEFALLEN + 8):
        points = [point._replace(life=len(world.lives) + 1) for point in process.points if point.life == number]
        life = EpisodeLife(world, len(world.lives) + 1, points)
        world.lives.append(life)
        background.start_soon(_live, life, process)
        await life.over.wait()
        world.checker.check()
        if life.completed:
            return
    raise Violation(f"lives that nothing befell did not complete their runs: {world.lives}")


async def _live(life: EpisodeLife, process: Process) -> None:
    """One kernel with its clients, from its opening to its end."""
    world, episode = life.world, life.world.episode
    enter_life(life)
    world.alive.append(life)
    try:
        with life.scope:
            kernel = Kernel(
                life.backend,
                [play],
                clock=life.clock,
                random=world.random_bytes,
                max_runs=episode.max_runs,
                max_steps=episode.max_steps,
                max_resident=episode.max_resident,
                max_interruptions=episode.max_interruptions,
            )
            async with kernel:
                await _serve_clients(life, kernel, process)
    except Exception as error:
        if not (life.dead or life.failed) or not _is_expected(error):
            raise
    finally:
        world.alive.remove(life)
        life.ended = True
        life.completed = life.completed and not life.dead
        life.over.set()
    if not (life.dead or life.failed):
        world.checker.closed(life)


def _is_expected(error: BaseException) -> bool:
    """Whether a life that lost its store may end with this: flujo's own errors, also in a group."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_expected(each) for each in error.exceptions)
    return isinstance(error, FlujoError)


async def _serve_clients(life: EpisodeLife, kernel: Kernel, process: Process) -> None:
    """Be all clients of a process until every one in the world is content, or until the kernel is to be closed."""
    async with anyio.create_task_group() as group:

        async def supervise() -> None:
            await life.over.wait()
            if not life.asked[Fault.CLOSE_AT_TICK].is_set():
                # Whoever has a run there is told that the store has failed; a frozen one goes on for a while.
                await anyio.sleep(life.lots.choice((0.0, 0.2, 3.0)))
                life.thaw()
                await anyio.sleep(life.lots.choice((0.0, 0.2, 3.0)))
            group.cancel_scope.cancel()

        group.start_soon(supervise)
        group.start_soon(_unpause_children, life, kernel)
        async with anyio.create_task_group() as clients:
            for plan in process.plans:
                clients.start_soon(Client(life, kernel, plan).live)
        await _until_all_have_ended(life.world, kernel)
        life.completed = True
        group.cancel_scope.cancel()


async def _unpause_children(life: EpisodeLife, kernel: Kernel) -> None:
    """Children have no client: when too many lives have ended in a step of theirs, somebody else lets them go on."""
    checker = life.world.checker
    while True:
        paused = checker.paused
        for run_id in checker.paused_children():
            with suppress(RunNotPausedError, RunActiveError, RunNotResumableError):
                await kernel.unpause(run_id)
        if checker.paused_children():  # somebody else has just claimed it, and may die before it goes on
            await anyio.sleep(1)
        else:
            await paused.wait()


async def _until_all_have_ended(world: EpisodeWorld, kernel: Kernel) -> None:
    while len(world.seen_to) < len(world.episode.plans):
        await world.news.wait()
    for _ in range(3000):
        left = world.checker.not_ended()
        if not left:
            return
        await anyio.sleep(0.1)
        for summary in left:  # children, perhaps, that another process had
            await adopt(kernel, summary.run_id)
    raise world.violation(f"still not ended:\n{world.checker.stuck()}")


# -- clients ------------------------------------------------------------------------------------------------------


class Client:
    """Whoever has started a run, during one life of its kernel."""

    def __init__(self, life: EpisodeLife, kernel: Kernel, plan: Plan) -> None:
        self._life = life
        self._world = life.world
        self._checker = life.world.checker
        self._kernel = kernel
        self._plan = plan
        self._run_id = plan.run_id

    async def live(self) -> None:
        """See to the run until it has ended as it should."""
        plan, world = self._plan, self._world
        if plan.insists or self._run_id not in world.started:
            await self._start()
        async with anyio.create_task_group() as group:
            if plan.watches:
                group.start_soon(self._watch_on)
            for number, send in enumerate(plan.signals):
                if (self._run_id, number) not in world.sent:
                    group.start_soon(self._send, number, send)
            for ask in plan.asks:
                if (self._run_id, ask.kind) not in world.asked:
                    group.start_soon(self._ask, ask)
            await self._see_to_it()
            if plan.watches:
                await self._watch()
            group.cancel_scope.cancel()
        if not self._life.dead:
            world.seen_to.add(self._run_id)
            world.news.set()
            world.news = anyio.Event()

    def _require(self, promised: bool, problem: str) -> None:
        """What the kernel has just said must be true; the dead say nothing."""
        if not promised and not self._life.dead:
            raise self._world.violation(problem)

    async def _start(self) -> None:
        run_id, started = self._run_id, self._world.started
        handle = await self._kernel.start(play, {"script": self._plan.script}, run_id=run_id)
        if self._life.dead:
            return
        self._require(self._checker.exists(run_id), f"the start of {run_id} was acknowledged and is not durable")
        self._require(not handle.created or run_id not in started, f"{run_id} was created twice")
        started.add(run_id)
        if self._plan.insists:
            try:
                await self._kernel.start(play, {"script": []}, run_id=run_id)
            except RunExistsError:
                return
            self._require(False, f"{run_id} was started with other inputs than it has")

    # -- its end ------------------------------------------------------------------------------------------------

    async def _see_to_it(self) -> None:
        """Return when the run has ended as it should."""
        run_id, kernel, world = self._run_id, self._kernel, self._world
        for _ in range(60):
            try:
                output = await kernel.result(run_id)
            except RunInterrupted:
                await self._politely(lambda: adopt(kernel, run_id))
                await anyio.sleep(0.1)
            except RunFailed:
                await self._cure()
            except RunCancelled:
                if not any(ask.kind == "cancel" and not ask.resumes for ask in self._plan.asks):
                    await self._politely(lambda: kernel.resume(run_id))
                elif not self._life.dead:
                    world.left_cancelled.add(run_id)
                    return
            except RunPaused:
                await anyio.sleep(self._life.lots.choice((0.0, 0.5, 5.0)))
                await self._politely(lambda: kernel.unpause(run_id))
            else:
                if not self._life.dead:
                    problem = self._checker.reported(run_id, output)
                    self._require(problem is None, str(problem))
                    world.reported[run_id] = output
                return
        raise world.violation(f"{run_id} was seen to 60 times and has not ended")

    async def _cure(self) -> None:
        """Do something about the failure of the run."""
        run_id, kernel, cure = self._run_id, self._kernel, self._plan.cure
        state = await kernel.inspect(run_id)
        failed = [name for name in state.failed_steps if state.steps[name].status == "failed"]
        outputs = self._checker.later_outputs(self._plan.script, failed)
        if cure == "from_step" and failed and len(self._world.alive) == 1:  # or somebody might just have completed it
            await self._politely(lambda: kernel.resume(run_id, from_step=failed[0]))
        elif cure == "skip" and outputs:
            await self._politely(lambda: kernel.resume(run_id, skip=outputs))
        elif cure == "set_output" and outputs:
            for name, output in outputs.items():
                await self._politely(lambda name=name, output=output: kernel.set_output(run_id, name, output))
            await self._politely(lambda: kernel.resume(run_id))
        else:
            await self._politely(lambda: kernel.resume(run_id))

    async def _politely(self, call: Callable[..., Awaitable[Any]]) -> None:
        """Do what somebody else may have done meanwhile."""
        try:
            await call()
        except (RunActiveError, RunNotResumableError, RunNotPausedError, RunFinishedError, StepCompletedError):
            await anyio.sleep(0.3)

    # -- what it asks for ---------------------------------------------------------------------------------------

    async def _send(self, number: int, send: Send) -> None:
        await anyio.sleep(send.after)
        payload = {"name": send.name, "number": number, "life": self._life.number}
        while True:
            with suppress(RunFinishedError):
                await self._signal(send, payload)
                break
            await anyio.sleep(0.5)  # it has failed, or was cancelled, and somebody is going to resume it
        stored = self._checker.has_signal(self._run_id, encode(payload))
        self._require(stored, f"the signal {payload} to {self._run_id} was acknowledged and is stored nowhere")
        if not self._life.dead:
            self._checker.promise(self._run_id, encode(payload))
            self._world.sent.add((self._run_id, number))

    async def _signal(self, send: Send, payload: Any) -> None:
        if send.posts:
            async with self._world.store.open() as handle:
                await Observer(handle, clock=self._life.clock).signal(self._run_id, send.name, payload)
        else:
            await self._kernel.signal(self._run_id, send.name, payload)

    async def _ask(self, ask: Ask) -> None:
        await anyio.sleep(ask.after)
        run_id, kernel = self._run_id, self._kernel
        try:
            if ask.kind == "cancel":
                if await kernel.cancel(run_id, "enough") is CancelOutcome.ALREADY_FINISHED:
                    return
            elif ask.kind == "pause":
                await kernel.pause(run_id)
            else:
                await kernel.set_variable(run_id, "outside", 1)
        except RunFinishedError:
            return
        stored = self._checker.is_asked(run_id, ask.kind)
        self._require(stored, f"{ask.kind} of {run_id} was acknowledged and is stored nowhere")
        if not self._life.dead:
            self._world.asked.add((run_id, ask.kind))

    # -- watching -----------------------------------------------------------------------------------------------

    async def _watch_on(self) -> None:
        while True:
            await self._watch()
            await anyio.sleep(0.5)

    async def _watch(self) -> None:
        """See every event until the run is final, from the first that no earlier life has seen."""
        run_id, cursors = self._run_id, self._world.cursors
        cursor = cursors.get(run_id, 0)
        async with aclosing(self._kernel.watch(run_id, after_seq=cursor)) as watch:
            async for event in watch:
                if self._life.dead:
                    return
                cursor += 1
                problem = self._checker.observed(run_id, cursor, event)
                self._require(problem is None, str(problem))
                cursors[run_id] = max(cursor, cursors.get(run_id, 0))


def replay(seed: int) -> Outcome:
    """Live the episode of a seed again; raises its violation again."""
    return live_through(draw_episode(seed))
