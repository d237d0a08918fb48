"""Let a scenario's kernels die at given points, recover, run to the end, and check every promise.

`simulate` is one history: a life per point, then one that nothing befalls. A sweep is a simulation for every point of a
kind: at every tick of the event loop, at every write. A violation says which call repeats it exactly:

    python -c 'from simulation.sweep import *; replay("trio", 7, [Point(Fault.CRASH_AT_TICK, 120)], "lean")'

(with kernel, backends and tests on PYTHONPATH), where a debugger or a print may look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import NamedTuple
from unittest import mock

import anyio

from flujo.kernel import FlujoError, Kernel, Observer
from flujo.kernel.errors import RunFinishedError

from .clock import Abandoned, Loop, run_simulated
from .invariants import Reference, check_ended, check_world, require
from .scenario import LEAN, SCENARIOS, Plan, Scenario
from .world import Fault, Life, MemoryPlace, Point, Store, Violation, World, enter_life

VIRTUAL_LIMIT = 4 * 3600.0
"""Seconds in which a history must come to its end, or it hangs."""

TICK_LIMIT = 50_000
"""Ticks in which a history must come to its end, or it spins."""


class History(NamedTuple):
    """What a simulation came to: the numbers are per life."""

    world: World
    ticks: Sequence[int]
    writes: Sequence[int]
    reached: bool  # every point befell its life before that had ended


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
    world = World(make_store(), seed, [plan.run_id for plan in scenario.plans], pace=1.0 if pace is None else pace)
    total = 0

    def tick() -> None:
        nonlocal total
        total += 1
        if total > TICK_LIMIT:
            raise Abandoned(f"no end after {TICK_LIMIT} ticks: {world.lives}")
        if world.lives:
            world.lives[-1].tick()

    async def history() -> bool:
        with anyio.move_on_after(VIRTUAL_LIMIT) as limit:
            reached = await _history(world, scenario, points, reference)
        require(not limit.cancelled_caught, f"no end after {VIRTUAL_LIMIT} seconds: {world.lives}")
        return reached

    try:
        with without_processes():
            reached = run_simulated(loop, history, seed=seed, on_tick=tick, virtual=pace is None)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        call = f"replay({loop!r}, {seed}, {list(points)!r}, {scenario.name!r})"
        raise Violation(f"{error!r}\nrepeat it with simulation.sweep.{call}") from error
    return History(world, [life.ticks for life in world.lives], [life.writes for life in world.lives], reached)


def replay(loop: Loop, seed: int, points: Sequence[Point], scenario: str = "lean") -> History:
    """Repeat a history that a violation named, on memory; raises the violation again."""
    chosen = SCENARIOS[scenario]
    return simulate(loop, seed, points, chosen, reference=uninterrupted(loop, seed, chosen))


def uninterrupted(loop: Loop, seed: int, scenario: Scenario) -> Reference:
    """What a scenario comes to when nothing befalls it."""
    return Reference(simulate(loop, seed, scenario=scenario).world, scenario)


@contextmanager
def without_processes() -> Iterator[None]:
    """No step of a scenario starts a process, so none of an earlier life has to be looked for."""
    with mock.patch("flujo.kernel.kernel.Children.sweep", return_value=0):
        yield


# -- one history --------------------------------------------------------------------------------------------------


async def _history(
    world: World, scenario: Scenario, points: Sequence[Point], reference: Reference | None
) -> bool:
    for point in [*points, None]:
        life = world.begin_life(point)
        await _live(life, scenario)
        summaries = await check_world(world)
        if life.completed:
            check_ended(world, scenario, summaries, reference)
            return point is None
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
    if not life.dead:
        life.world.snapshot()


def _is_expected(error: BaseException) -> bool:
    """Whether a life that lost its store may end with this: flujo's own errors, also in a group."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_expected(each) for each in error.exceptions)
    return isinstance(error, FlujoError) and not isinstance(error, Violation)


async def _serve_clients(life: Life, kernel: Kernel, scenario: Scenario) -> None:
    async with anyio.create_task_group() as group:
        for plan in scenario.plans:
            group.start_soon(_be_client, life, kernel, plan)
    life.completed = True


async def _be_client(life: Life, kernel: Kernel, plan: Plan) -> None:
    """Start a run, send its signals and watch it to its end; what was acknowledged in an earlier life is not asked
    for again."""
    world = life.world
    if plan.run_id not in world.started:
        await kernel.start(plan.workflow, plan.inputs, run_id=plan.run_id)
        life.acknowledge_start(plan.run_id)
    async with anyio.create_task_group() as group:
        for name in plan.signals:
            group.start_soon(_signal, life, kernel, plan, name)
        for name in plan.posts:
            group.start_soon(_post, life, plan, name)
        seen = len(world.watched.get(plan.run_id, ()))
        async with aclosing(kernel.watch(plan.run_id, after_seq=seen)) as watch:  # type: ignore[type-var]
            async for event in watch:
                life.observe(plan.run_id, event)
        await kernel.result(plan.run_id)


async def _signal(life: Life, kernel: Kernel, plan: Plan, name: str) -> None:
    if (plan.run_id, name) in life.world.signalled:
        return
    try:
        await kernel.signal(plan.run_id, name, {"from": "a client"})
    except RunFinishedError:
        pass  # an earlier, unacknowledged one has arrived
    life.acknowledge_signal(plan.run_id, name)


async def _post(life: Life, plan: Plan, name: str) -> None:
    """Send a signal from another process, when the run has had the time to wait for it."""
    if (plan.run_id, name) in life.world.signalled:
        return
    await anyio.sleep(4 * life.pace)
    async with life.world.store.open() as handle:
        try:
            await Observer(handle, clock=life.clock).signal(plan.run_id, name, {"from": "elsewhere"})
        except RunFinishedError:
            pass
        life.acknowledge_signal(plan.run_id, name)


# -- sweeps -------------------------------------------------------------------------------------------------------


def sweep(
    loop: Loop,
    fault: Fault,
    scenario: Scenario,
    *,
    seed: int = 0,
    first: int = 1,
    stride: int = 1,
    reference: Reference | None = None,
) -> Iterator[History]:
    """One history for every `stride`th point of a kind from `first` on, until the runs end before the point comes."""
    reference = reference or uninterrupted(loop, seed, scenario)
    number = first
    while True:
        history = simulate(loop, seed, [Point(fault, number)], scenario, reference=reference)
        if not history.reached:
            return
        yield history
        number += stride


def count(histories: Iterable[History]) -> int:
    """How many histories were lived; a violation in one of them is raised."""
    return sum(1 for _ in histories)
