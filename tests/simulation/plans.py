"""What a seed decides: the runs of an episode, their clients, and what befalls the kernels they are on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from .clock import Loop
from .programs import Room, Script, draw, draw_never, kinds_of, signals_of
from .world import Fault, Point

LIVES_BEFALLEN = 16
"""How many lives of one process something may befall, at most."""


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
    is_timed: bool = False  # it waits for what never comes, until its time is over


class Keep(NamedTuple):
    """A run that is started and removed again and again, by one of several who do so."""

    run_id: str
    script: Script
    number: int


@dataclass(frozen=True)
class Process:
    """A row of lives, whose clients see to these plans."""

    plans: Sequence[Plan]
    points: Sequence[Point]
    keepers: Sequence[Keep] = ()


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
    jumps: Sequence[tuple[float, float]] = ()  # of the wall clock: when, and by how many seconds

    @property
    def has_limits(self) -> bool:
        """True if a run or a step may have to wait until another one has ended."""
        return self.max_runs is not None or self.max_steps is not None

    @property
    def is_put_right(self) -> bool:
        """True if the wall clock is set back after it was set forward: instants that were reckoned in between then say
        nothing of how long a wait has lasted."""
        order = [by > 0 for _, by in self.jumps]
        return order != sorted(order)

    @property
    def plans(self) -> list[Plan]:
        """The plans of all processes."""
        return [plan for process in self.processes for plan in process.plans]


# -- drawing ------------------------------------------------------------------------------------------------------


def draw_episode(seed: int) -> Episode:
    """The episode of a seed: programs that use the event loop themselves, a wall clock that jumps, and keepers."""
    lots = random.Random(f"{seed}")
    count = lots.choice((1, 1, 2, 3))
    plans = [_draw_wide_plan(lots, f"run-{number}", small=count > 1) for number in range(count)]
    keepers = [Keep("tidy", [["step", "tidy", lots.choice((0.0, 0.05)), 0, "t"]], number) for number in range(4)]
    kept = lots.choice((0, 0, 0, 0, 0, 2))
    processes = [Process(plans, _draw_points(lots), keepers[:kept])]
    if count > 1 and lots.random() < 0.35:
        first = Process(plans[:1], _draw_points(lots), keepers[:kept])
        processes = [first, Process(plans[1:], _draw_points(lots), keepers[2 : 2 + kept])]
    return Episode(
        seed,
        "trio" if seed % 20 == 0 else "asyncio",
        processes,
        max_runs=lots.choice((None, None, None, 1)),
        max_steps=None if _may_give_up(plans) else lots.choice((None, None, None, 1, 2)),
        max_resident=lots.choice((1000, 0, 0, 1, 2)),
        max_interruptions=lots.choice((1, 3, 3, 100)),
        slow=lots.choice((0.0, 0.0, 0.0, 0.2)),
        jumps=_draw_jumps(lots),
    )


def _draw_jumps(lots: random.Random) -> list[tuple[float, float]]:
    """How the wall clock is set during an episode: a little or far, forward and back."""
    count = lots.choice((0, 0, 1, 2, 3))
    times = sorted(lots.choice((0.03, 0.4, 1, 3, 8, 20)) for _ in range(count))
    return list(zip(times, lots.choices((-1200, -300, -20, 5, 400, 3000), k=count), strict=True))


def _draw_wide_plan(lots: random.Random, run_id: str, *, small: bool) -> Plan:
    plan = _draw_plan(lots, run_id, small=small, uses_loop=True)
    if lots.random() > 0.08:
        return plan
    # A part of what the run of a timed workflow does is lost with its time, so there is nothing to be sent for it.
    script = [*draw(lots, Room(1, [], is_child=True, uses_loop=True), 2), draw_never(lots)]
    return replace(plan, script=script, signals=(), is_timed=True)


def draw_first_edition(seed: int) -> Episode:
    """What a seed decided before programs used the event loop themselves: violations found then have these seeds."""
    lots = random.Random(seed)
    count = lots.choice((1, 1, 2, 3))
    plans = [_draw_plan(lots, f"run-{number}", small=count > 1) for number in range(count)]
    processes = [Process(plans, _draw_points(lots, 12))]
    if count > 1 and lots.random() < 0.35:
        processes = [Process(plans[:1], _draw_points(lots, 12)), Process(plans[1:], _draw_points(lots, 12))]
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


def _draw_plan(lots: random.Random, run_id: str, *, small: bool, uses_loop: bool = False) -> Plan:
    names = ["go"] if lots.random() < 0.5 else ["go", "on"]
    script = draw(lots, Room(2, names, uses_loop=uses_loop), 4 if small else 7)
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


def _draw_points(lots: random.Random, lives: int = LIVES_BEFALLEN) -> list[Point]:
    points: list[Point] = []
    for life in range(1, lives + 1):
        if lots.random() < 0.7:
            points.append(Point(lots.choice(_AT_TICKS), lots.randint(10, lots.choice((40, 60, 110))), life))
        else:
            points.append(Point(lots.choice(_AT_WRITES), lots.randint(1, lots.choice((2, 4, 8))), life))
    return points
