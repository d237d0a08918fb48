"""One seed, one episode: a few random runs, the kernels that run them and die, their clients, and what befalls them.

    live_through(draw_episode(7))

An episode has one or two processes side by side on one store, each a row of lives. What befalls the first few lives of
each is drawn from the seed: a crash at a tick, before, after or in the middle of a write, a write that fails or only
says so, an orderly close, or a freeze, in which the life is taken for dead, its successor takes over what it owned, and
then it goes on as if nothing had happened. The lives after these are left alone and have to bring everything to its
end.

A `InvariantChecker` (invariant_checker.py) looks at every commit, claim, body and report in the instant it happens."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from flujo.kernel import Kernel
from flujo.kernel.errors import (
    FlujoError,
    RunActiveError,
    RunNotFoundError,
    RunNotPausedError,
    RunNotResumableError,
    RunReplacedError,
)

from .client import Client, adopt
from .clock import Abandoned, run_simulated
from .episode_world import EpisodeLife, EpisodeWorld
from .flow import end_with_the_process
from .keeper import Keeper
from .plans import LIVES_BEFALLEN, Episode, Process, draw_episode
from .programs import play, timed
from .world import Fault, Violation, enter_life

NO_MORE_PAUSED = RunNotPausedError, RunActiveError, RunNotResumableError, RunNotFoundError, RunReplacedError
"""What whoever wants a paused run to go on is told when others were quicker, or have removed it."""

VIRTUAL_LIMIT = 6 * 3600.0
"""Seconds in which it must, or it hangs."""


# -- living -------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What an episode came to."""

    seed: int
    crashes: int
    failed_writes: int
    takeovers: int  # of runs whose owner went on afterwards
    returns: int  # of runs that had left memory
    removals: int  # of runs, by keepers
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
        with _quiet(), _without_collector():
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
        checker.returns,
        checker.removals,
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
    """Without the log of kernels that die, and of tasks that programs leave behind. What is wrong, an episode finds out
    by itself."""
    loggers = [logging.getLogger("flujo.kernel"), logging.getLogger("asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Without looks for garbage: an episode is short, and they would take a fifth of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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
                [play, timed],
                clock=life.clock,
                random=world.random_bytes,
                max_runs=episode.max_runs,
                max_steps=episode.max_steps,
                max_resident=episode.max_resident,
                max_interruptions=episode.max_interruptions,
            )
            for part in (kernel, kernel._observer):
                part._files.folder = None  # a thread would remove what is in it, and nothing may wait for one
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
        with anyio.CancelScope(shield=True):
            await end_with_the_process(life.loose)
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
        group.start_soon(_unpause_orphans, life, kernel)
        for keeper in process.keepers:
            group.start_soon(Keeper(life, kernel, keeper).live)
        async with anyio.create_task_group() as clients:
            for plan in process.plans:
                clients.start_soon(Client(life, kernel, plan).live)
        await _until_all_have_ended(life.world, kernel)
        life.completed = True
        group.cancel_scope.cancel()


async def _unpause_orphans(life: EpisodeLife, kernel: Kernel) -> None:
    """Children have no client, nor have runs that are there to be removed: when too many lives have ended in a step of
    theirs, somebody else lets them go on."""
    checker = life.world.checker
    while True:
        paused = checker.paused
        for run_id in checker.paused_orphans():
            with suppress(*NO_MORE_PAUSED):
                await kernel.unpause(run_id)
        if checker.paused_orphans():  # somebody else has just claimed it, and may die before it goes on
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
            with suppress(RunNotFoundError):  # a keeper has just removed it
                await adopt(kernel, summary.run_id)
    raise world.violation(f"still not ended:\n{world.checker.stuck()}")


def replay(seed: int) -> Outcome:
    """Live the episode of a seed again; raises its violation again."""
    return live_through(draw_episode(seed))
