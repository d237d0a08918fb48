"""Let a scenario's kernels die at given points, recover, run to the end, and check every promise.

`simulate` is one history: a life per point, then one that nothing befalls. A sweep is a simulation for every point of a
kind: at every tick of the event loop, at every write. A violation says which call repeats it exactly:

    python -c 'from simulation.sweep import *; replay("trio", 7, [Point(Fault.CRASH_AT_TICK, 120)], "lean")'

(with kernel, backends and tests on PYTHONPATH), where a debugger or a print may look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from itertools import count
from typing import NamedTuple

import anyio

from flujo.kernel import FlujoError, Kernel, Observer, RunStatus
from flujo.kernel.errors import RunActiveError, RunCancelled, RunFinishedError, RunNotFoundError, RunNotPausedError

from .clock import Abandoned, Loop, run_simulated
from .invariants import Reference, check_closed, check_ended, check_world, require
from .places import MemoryPlace, Store
from .scenario import LEAN, SCENARIOS, Plan, Scenario
from .world import Fault, Life, Point, Violation, World, enter_life, has_signal

VIRTUAL_LIMIT = 4 * 3600.0
"""Seconds in which a history must come to its end, or it hangs."""

REAL_LIMIT = 60.0
"""The same for a history that is lived in real time."""

TICK_LIMIT = 50_000
"""Ticks in which a history must come to its end, or it spins."""


class History(NamedTuple):
    """What a simulation came to: the numbers are per life."""

    world: World
    ticks: Sequence[int]
    writes: Sequence[int]

    @property
    def reached(self) -> bool:
        """Every point befell its life before that had ended."""
        return len(self.world.reached) == len(self.world.points)


def simulate(
    loop: Loop,
    seed: int,
    points: Sequence[Point] = (),
    scenario: Scenario = LEAN,
    *,
    reference: Reference | None = None,
    make_store: Callable[[], Store] = MemoryPlace,
    pace: float | None = None,
) -> History:
    """Live one history and check it; raises Violation with all that repeats it.

    With `pace` it is lived in real time, `pace` times as long as the scenario says.
    """
    world = World(make_store(), seed, scenario.run_ids, points, pace=1.0 if pace is None else pace)
    total = 0

    def tick() -> None:
        nonlocal total
        total += 1
        if total > TICK_LIMIT:
            raise Abandoned(f"no end after {TICK_LIMIT} ticks: {world.lives}")
        if world.lives:
            world.lives[-1].tick()

    async def history() -> None:
        seconds = VIRTUAL_LIMIT if pace is None else REAL_LIMIT
        with anyio.move_on_after(seconds) as limit:
            await _history(world, scenario, reference)
        require(not limit.cancelled_caught, f"no end after {seconds} seconds: {world.lives}")

    try:
        run_simulated(loop, history, seed=seed, on_tick=tick, virtual=pace is None)
        if world.violations:
            raise world.violations[0]
    except (Exception, Abandoned) as error:
        first = world.violations[0] if world.violations else error
        call = f"replay({loop!r}, {seed}, {list(points)!r}, {scenario.name!r})"
        raise Violation(f"{first!r}\nrepeat it with simulation.sweep.{call}") from error
    finally:
        world.store.close()
    return History(world, [life.ticks for life in world.lives], [life.writes for life in world.lives])


def replay(loop: Loop, seed: int, points: Sequence[Point], scenario: str = "lean") -> History:
    """Repeat a history that a violation named, on memory; raises the violation again."""
    chosen = SCENARIOS[scenario]
    return simulate(loop, seed, points, chosen, reference=uninterrupted(loop, seed, chosen))


def uninterrupted(loop: Loop, seed: int, scenario: Scenario) -> Reference:
    """What a scenario comes to when nothing befalls it."""
    return Reference(simulate(loop, seed, scenario=scenario).world, scenario)


# -- one history --------------------------------------------------------------------------------------------------


async def _history(world: World, scenario: Scenario, reference: Reference | None) -> None:
    for _ in range(2 + max((point.life for point in world.points), default=0)):
        life = world.begin_life()
        await _live(life, scenario)
        summaries = await check_world(world)
        if not (life.dead or life.failed):
            check_closed(world, summaries)
        if life.completed:
            check_ended(world, scenario, summaries, reference)
            return
    raise Violation(f"a life that nothing befell did not complete its runs: {world.lives}")


async def _live(life: Life, scenario: Scenario) -> None:
    """One kernel with its clients, from its opening to its end."""
    tasks = {task.id for task in anyio.get_running_tasks()}
    enter_life(life)
    try:
        with life.scope:
            kernel = Kernel(life.backend, scenario.workflows, clock=life.clock, random=life.world.random_bytes)
            async with kernel:
                await _serve_clients(life, kernel, scenario)
    except Exception as error:
        if not (life.dead or life.failed) or not _is_expected(error):
            raise
    life.ended = True
    life.completed = life.completed and not life.dead
    left = [task for task in anyio.get_running_tasks() if task.id not in tasks]
    require(not left, f"{life} has ended and left {left}")
    durable = life.world.snapshot()
    if life.dead:
        require(durable == life.world.snapshots[-2], f"{life} has written after its death")


def _is_expected(error: BaseException) -> bool:
    """Whether a life that lost its store may end with this: flujo's own errors, also in a group."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_expected(each) for each in error.exceptions)
    return isinstance(error, FlujoError) and not isinstance(error, Violation)


async def _serve_clients(life: Life, kernel: Kernel, scenario: Scenario) -> None:
    """Be all clients until each has seen its run complete, or until the kernel is to be closed."""
    async with anyio.create_task_group() as group:

        async def leave() -> None:
            await life.asked[Fault.CLOSE_AT_TICK].wait()
            group.cancel_scope.cancel()

        async def cancel_all() -> None:
            await life.asked[Fault.CANCEL_AT_TICK].wait()
            for plan in scenario.plans:
                try:
                    await kernel.cancel(plan.run_id)
                except RunNotFoundError:
                    pass

        group.start_soon(leave)
        group.start_soon(cancel_all)
        async with anyio.create_task_group() as clients:
            for plan in scenario.plans:
                clients.start_soon(_be_client, life, kernel, plan)
        life.completed = True
        group.cancel_scope.cancel()


async def _be_client(life: Life, kernel: Kernel, plan: Plan) -> None:
    """Start a run, send its signals and watch it complete; what was acknowledged in an earlier life is not asked for
    again, and a run somebody has cancelled is resumed."""
    if plan.run_id not in life.world.started:
        await kernel.start(plan.workflow, plan.inputs, run_id=plan.run_id)
        life.acknowledge_start(plan.run_id)
    async with anyio.create_task_group() as group:
        for name in plan.signals:
            group.start_soon(_signal, life, kernel, plan, name)
        for name in plan.posts:
            group.start_soon(_post, life, plan, name)
        if plan.pauses:
            group.start_soon(_pause_and_unpause, life, kernel, plan)
        while True:
            await _watch(life, kernel, plan.run_id)
            try:
                await kernel.result(plan.run_id)
            except RunCancelled:
                await kernel.resume(plan.run_id)
            else:
                return


async def _watch(life: Life, kernel: Kernel, run_id: str) -> None:
    """See every event of a run until it is final, from the first one that no earlier life has seen."""
    seen = len(life.world.watched.get(run_id, ()))
    async with aclosing(kernel.watch(run_id, after_seq=seen)) as watch:
        async for event in watch:
            life.observe(run_id, event)


async def _signal(life: Life, kernel: Kernel, plan: Plan, name: str) -> None:
    if (plan.run_id, name) in life.world.signalled:
        return
    await _deliver(life, kernel, plan.run_id, name, "a client")


async def _pause_and_unpause(life: Life, kernel: Kernel, plan: Plan) -> None:
    """Pause a run after a while, unless that has been done in an earlier life, and let it go on once it is paused."""
    if plan.run_id not in life.world.paused:
        await anyio.sleep(0.7 * life.pace)
        try:
            await kernel.pause(plan.run_id)
        except RunFinishedError:
            pass  # somebody has cancelled it
        else:
            life.acknowledge_pause(plan.run_id)
    while not (state := await kernel.wait(plan.run_id)).is_final:
        if state.status is RunStatus.PAUSED:
            try:
                await kernel.unpause(plan.run_id)
            except (RunActiveError, RunNotPausedError):
                pass  # it was resumed, or cancelled, at the same time


async def _post(life: Life, plan: Plan, name: str) -> None:
    """Send a signal from another process, when the run has had the time to wait for it."""
    if (plan.run_id, name) in life.world.signalled:
        return
    await anyio.sleep(4 * life.pace)
    async with life.world.store.open() as handle:
        await _deliver(life, Observer(handle, clock=life.clock), plan.run_id, name, "elsewhere")


async def _deliver(life: Life, runs: Kernel | Observer, run_id: str, name: str, sender: str) -> None:
    """Send a signal until the run has it: one that was cancelled takes none, and its client resumes it."""
    while True:
        try:
            await runs.signal(run_id, name, {"from": sender})
        except RunFinishedError as error:
            if error.status == RunStatus.CANCELLED and not has_signal(life.world, run_id, name):
                await anyio.sleep(0.5 * life.pace)
                continue  # or else an earlier, unacknowledged one has arrived
        life.acknowledge_signal(run_id, name)
        return


# -- sweeps -------------------------------------------------------------------------------------------------------


def sweep(
    loop: Loop,
    fault: Fault,
    scenario: Scenario,
    *,
    seed: int = 0,
    first: int = 1,
    stride: int = 1,
    make_store: Callable[[], Store] = MemoryPlace,
    pace: float | None = None,
) -> Iterator[History]:
    """One history for every point of a kind (or every `stride`th, from the `first`), until the runs end before it."""
    reference = uninterrupted(loop, seed, scenario)
    for number in count(first, stride):
        points = [Point(fault, number)]
        history = simulate(loop, seed, points, scenario, reference=reference, make_store=make_store, pace=pace)
        if not history.reached:
            return
        yield history
