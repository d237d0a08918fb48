"""A run rests when nothing of it or of its children can happen before an instant or a signal; the kernel says when."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel import Context, Kernel, Observer, RetryPolicy, StoredRuns, step, workflow
from flujo.kernel.api import Rest
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.events import decode
from flujo.kernel.state import RunStatus
from kernel.harness import START, GatedBackend, Harness, crash, settled, until

HOUR = 3600
BACKOFF = 300


class Bodies:
    """What the bodies of the steps have done."""

    def __init__(self) -> None:
        self.done: set[str] = set()
        self.cut: set[str] = set()
        self.gate = anyio.Event()

    async def work(self, name: str, ticks: int) -> str:
        """Take some ticks of the event loop; a cancellation meanwhile is remembered."""
        try:
            for _ in range(ticks):
                await checkpoint()
        except BaseException:
            self.cut.add(name)
            raise
        self.done.add(name)
        return name


BODIES = Bodies()


@pytest.fixture(autouse=True)
def bodies(monkeypatch: pytest.MonkeyPatch) -> Bodies:
    """Fresh for each test."""
    fresh = Bodies()
    monkeypatch.setitem(globals(), "BODIES", fresh)
    return fresh


@step
async def plain(name: str, ticks: int = 3) -> str:
    return await BODIES.work(name, ticks)


@step(retry=RetryPolicy(max_attempts=2, delay=BACKOFF, jitter=0))
async def late(name: str) -> str:
    await BODIES.work(name, 2)
    raise ConnectionError("not yet")


@step(retry=RetryPolicy(max_attempts=2, delay=0, jitter=0))
async def soon(name: str) -> str:
    first = name not in BODIES.done
    await BODIES.work(name, 2)
    if first:
        raise ConnectionError("not yet")
    return name


@step
async def gated() -> None:
    await BODIES.gate.wait()


@workflow(name="scripted")
async def scripted(ctx: Context, plan: list[Any]) -> None:
    """Do what a plan says, each item of which is a list that begins with a word."""
    await follow(ctx, plan)


async def follow(ctx: Context, plan: list[Any]) -> None:
    for word, name, *rest in plan:
        match word:
            case "step":
                await ctx.step(plain, name, rest[0], name=name)
            case "own code":
                for _ in range(rest[0]):
                    await checkpoint()
            case "nap":
                await ctx.sleep(rest[0], name=name)
            case "signal":
                await ctx.wait_signal(name)
            case "late":
                await ctx.step(late, name, name=name)
            case "soon":
                await ctx.step(soon, name, name=name)
            case "map":
                await ctx.map(plain, [f"{name}-{index}" for index in range(rest[0])], limit=2, name=name)
            case "gather":
                await ctx.gather(**{f"{name}{index}": follow(ctx, branch) for index, branch in enumerate(rest[0])})
            case "child":
                await ctx.run_child("scripted", {"plan": rest[0]}, name=name)


def generate(draw: random.Random, depth: int, names: Iterator[int], stored: list[str], *, in_child: bool) -> list[Any]:
    """A plan, with the signals that are sent to it beforehand in `stored`."""
    plan: list[Any] = []
    for _ in range(draw.randint(1, 4)):
        name = f"n{next(names)}"
        word = draw.choice(["step", "step", "own code", "nap", "signal", "late", "soon", "map", "gather", "child"])
        if word in ("gather", "child") and depth == 0:
            word = "step"
        match word:
            case "step" | "own code":
                plan.append([word, name, draw.randint(1, 30)])
            case "nap":
                plan.append([word, name, draw.choice([0, 0, HOUR])])
            case "signal":
                if not in_child and draw.random() < 0.7:
                    stored.append(name)
                plan.append([word, name])
            case "map":
                plan.append([word, name, draw.randint(1, 5)])
            case "gather":
                branches = [generate(draw, depth - 1, names, stored, in_child=in_child) for _ in range(2)]
                plan.append([word, name, branches])
            case "child":
                plan.append([word, name, generate(draw, depth - 1, names, stored, in_child=True)])
            case _:
                plan.append([word, name])
    return plan


def reach(plan: list[Any], stored: list[str], done: set[str]) -> bool:
    """Add the bodies that can be done to `done`, and return True if the plan comes to its end."""
    for word, name, *rest in plan:
        match word:
            case "step" | "soon":
                done.add(name)
            case "late":
                done.add(name)
                return False
            case "nap" if rest[0]:
                return False
            case "signal" if name not in stored:
                return False
            case "map":
                done |= {f"{name}-{index}" for index in range(rest[0])}
            case "gather":
                ends = [reach(branch, stored, done) for branch in rest[0]]  # of all, whichever does not
                if not all(ends):
                    return False
            case "child" if not reach(rest[0], stored, done):
                return False
    return True


async def rested(kernel: Kernel, run_id: str = "r") -> Rest:
    """Ask until the run rests, and end its driving."""
    with anyio.fail_after(30):
        while (found := await kernel.suspend(run_id)) is None:
            await checkpoint()
    return found


def interruptions(harness: Harness) -> list[str]:
    """The interruptions that are recorded in the store."""
    rows = (row for run in harness.store.runs.values() for row in run.events)
    return [event.type for event in map(decode, rows) if event.type == "step_interrupted"]


@pytest.mark.parametrize("seed", range(20))
async def test_a_run_that_is_asked_all_the_time_is_ended_when_all_that_can_happen_has(
    seed: int, bodies: Bodies
) -> None:
    """Of ten programs each, with children, stored signals, due timers, backoff and maps: no body is interrupted, none
    that could run is left out, and every run comes to rest."""
    for number in range(10):
        draw, done = random.Random(seed * 1000 + number), set[str]()
        stored: list[str] = []
        plan = generate(draw, 2, iter(range(1000)), stored, in_child=False)
        ends = reach(plan, stored, done)
        harness = Harness()
        bodies.done.clear()
        async with harness.kernel(scripted) as kernel:
            await kernel.start(scripted, {"plan": plan}, run_id="r")
            for name in stored:
                await kernel.signal("r", name)

            await rested(kernel)

            assert (bodies.done, bodies.cut) == (done, set()), plan
            assert ((await kernel.inspect("r")).status is RunStatus.COMPLETED) == ends, plan
        assert interruptions(harness) == [], plan


# -- one reason each ----------------------------------------------------------------------------------------------


async def rest_now(kernel: StoredRuns, run_id: str = "r") -> Rest | None:
    """What `explain` says."""
    return (await kernel.explain(run_id)).rest


async def test_a_parent_is_not_at_rest_while_a_step_of_its_child_runs(bodies: Bodies) -> None:
    """That it waits for a run is true and not all; asked from another process as well."""

    @workflow(name="child")
    async def child(ctx: Context) -> None:
        await ctx.step(gated)
        await ctx.wait_signal("go")

    @workflow(name="parent")
    async def parent(ctx: Context) -> None:
        await ctx.run_child("child")

    harness = Harness()
    async with harness.kernel(parent, child) as kernel, harness.backend() as store:
        await kernel.start(parent, run_id="r")
        await settled(lambda: "r.child" in harness.store.runs and "step_started" in harness.types("r.child"))
        other = Observer(store, clock=harness.clock)
        assert [await rest_now(kernel), await rest_now(other), await kernel.suspend("r")] == [None, None, None]

        bodies.gate.set()
        await until(kernel, "r.child", "step_waiting")
        found = await rest_now(kernel)

        assert found is not None
        assert found.until is None
        assert await rest_now(other) == found


async def test_a_backoff_of_minutes_is_rest_and_says_until_when() -> None:
    """As a sleep is; shortly before its end it is not any more."""
    harness = Harness()
    async with harness.kernel(scripted) as kernel:
        await kernel.start(scripted, {"plan": [["late", "a"]]}, run_id="r")
        await harness.clock.asleep(BACKOFF)
        found = await rest_now(kernel)
        assert found is not None
        assert found.until == START + BACKOFF * MICROSECONDS

        harness.clock.instant += BACKOFF * MICROSECONDS - MICROSECONDS // 2

        assert await rest_now(kernel) is None


async def test_a_branch_between_two_steps_is_no_rest(bodies: Bodies) -> None:
    """Its sibling waits, and nothing is recorded of what it does; only the kernel that runs it can know."""

    @workflow(name="branches")
    async def branches(ctx: Context) -> None:
        await ctx.gather(a=ctx.wait_signal("go"), b=bodies.gate.wait())

    harness = Harness()
    async with harness.kernel(branches) as kernel:
        await kernel.start(branches, run_id="r")
        await until(kernel, "r", "step_waiting")
        assert await rest_now(kernel) is None

        bodies.gate.set()

        await rested(kernel)


async def test_a_deadline_of_the_programs_own_bounds_the_rest() -> None:
    """What happens then is not recorded anywhere, and happens all the same."""

    @workflow(name="impatient")
    async def impatient(ctx: Context, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await ctx.wait_signal("go")

    harness = Harness()
    async with harness.kernel(impatient, real_time=True) as kernel:
        await kernel.start(impatient, {"seconds": 0.5}, run_id="soon")
        await kernel.start(impatient, {"seconds": HOUR}, run_id="late")
        await until(kernel, "soon", "step_waiting")
        await until(kernel, "late", "step_waiting")

        late = await rest_now(kernel, "late")

        assert await rest_now(kernel, "soon") is None
        assert late is not None
        assert late.until is not None


async def test_a_request_in_the_inbox_is_no_rest() -> None:
    """It is about to be answered; a repeat of one that is recorded changes nothing, and does not count."""
    harness = Harness()
    backend = GatedBackend(harness.store)
    async with harness.kernel(scripted, backend=backend) as kernel, harness.backend() as store:
        other = Observer(store, clock=harness.clock)
        await kernel.start(scripted, {"plan": [["signal", "a"], ["signal", "b"]]}, run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.signal("r", "other", request_id="once")
        await other.signal("r", "other", request_id="once")
        assert await rest_now(other) is not None

        backend.close_gate()
        await other.signal("r", "a")
        assert await rest_now(other) is None
        backend.gate.set()

        await rested(kernel)
        assert [step.name for step in (await kernel.inspect("r")).open_steps()] == ["b"]


@pytest.mark.parametrize("ended", ["completed", "paused", "unowned"])
async def test_what_only_a_command_moves_is_at_rest(ended: str) -> None:
    """A run that has ended, is paused, or that no process runs."""
    harness = Harness()
    plan: list[Any] = [] if ended == "completed" else [["signal", "a"]]
    async with harness.kernel(scripted) as kernel:
        await kernel.start(scripted, {"plan": plan}, run_id="r")
        if ended == "completed":
            await kernel.wait("r")
        else:
            await until(kernel, "r", "step_waiting")
        if ended == "paused":
            await kernel.pause("r")
            await kernel.wait("r")
        if ended == "unowned":
            crash(kernel)
        async with harness.backend() as store:
            found = await rest_now(Observer(store, clock=harness.clock))
    assert found is not None
    assert found.until is None


async def test_a_suspended_run_goes_on_in_the_next_kernel() -> None:
    """Nothing is recorded of it, and nothing is lost."""
    harness = Harness()
    async with harness.kernel(scripted) as kernel:
        await kernel.start(scripted, {"plan": [["signal", "a"], ["step", "b", 1]]}, run_id="r")
        await until(kernel, "r", "step_waiting")
        before = harness.types("r")
        await rested(kernel)
    assert harness.types("r") == before

    async with harness.kernel(scripted) as kernel:
        await kernel.signal("r", "a")
        assert (await kernel.wait("r")).status is RunStatus.COMPLETED


@workflow
async def limited(ctx: Context, name: str = "r") -> None:
    await ctx.step(plain, name, name="first")
    await ctx.step(held, name, name="held")


@step(limit="db")
async def held(name: str) -> None:
    BODIES.done.add(f"{name} began")
    await BODIES.gate.wait()


async def rest_of(kernel: Kernel, run_id: str) -> Rest | None:
    """What a run waits for, once it has nothing else to do."""
    with anyio.fail_after(30):
        while (found := (await kernel.explain(run_id)).rest) is None:
            await checkpoint()
    return found


@pytest.mark.parametrize("max_resident", [None, 1])
async def test_a_step_that_waits_for_a_slot_is_at_rest(bodies: Bodies, max_resident: int | None) -> None:
    """Also when its run has left memory; whoever has the slot is at work, and the next one once it is free."""
    harness = Harness()
    options: dict[str, Any] = {} if max_resident is None else {"max_resident": max_resident}
    async with harness.kernel(limited, limits={"db": 1}, **options) as kernel:
        for name in ("r", "s"):
            await kernel.start(limited, {"name": name}, run_id=name)
            await until(kernel, name, "step_completed")
        await settled(lambda: "r began" in bodies.done)

        assert await rest_now(kernel) is None
        assert await rest_of(kernel, "s") == Rest(harness.journal("s")[-1].seq)

        bodies.gate.set()

        assert (await kernel.wait("s")).status is RunStatus.COMPLETED


async def test_a_run_that_waits_for_room_is_at_rest(bodies: Bodies) -> None:
    """It has not begun, and a timeout of it is an instant."""
    harness = Harness()
    async with harness.kernel(limited, max_runs=1) as kernel:
        await kernel.start(limited, {"name": "r"}, run_id="r")
        await kernel.start(limited, {"name": "s"}, run_id="s")
        await settled(lambda: "r began" in bodies.done)

        assert await rest_of(kernel, "s") == Rest(1)

        bodies.gate.set()

        assert (await kernel.wait("s")).status is RunStatus.COMPLETED


async def test_a_run_that_waits_for_a_slot_can_be_suspended(bodies: Bodies) -> None:
    """It leaves the line, and the next kernel lets it begin."""
    harness = Harness()
    async with harness.kernel(limited, limits={"db": 1}) as kernel:
        for name in ("r", "s"):
            await kernel.start(limited, {"name": name}, run_id=name)
            await until(kernel, name, "step_completed")
        await rest_of(kernel, "s")

        assert await kernel.suspend("s") is not None
        assert "s began" not in bodies.done

        bodies.gate.set()
        await kernel.wait("r")
        assert "s began" not in bodies.done
    async with harness.kernel(limited) as kernel:
        assert (await kernel.wait("s")).status is RunStatus.COMPLETED
