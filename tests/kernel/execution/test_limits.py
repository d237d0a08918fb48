"""No more bodies at once than the limits allow; whoever finds no room waits its turn, if need be in the store."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel import (
    CancelOutcome,
    Context,
    Delivery,
    Kernel,
    RetryPolicy,
    RunFailed,
    RunStatus,
    Wait,
    Why,
    Workflow,
    step,
    workflow,
)
from flujo.kernel.errors import RunFinishedError
from flujo.kernel.execution.limits import Limit, Limiter, Ticket
from flujo.kernel.execution.replay import IDLE_TICKS
from flujo.workflows import TaskCall, load_workflow, task
from kernel.harness import Counter, Harness, JumpingClock, crash, settled, until


class Hall:
    """Where bodies are: each enters under a name and stays until it is let go."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.entered: list[str] = []
        self.most = 0
        self._gates: dict[str, anyio.Event] = {}

    async def stay(self, name: str) -> str:
        """Be inside until `release`."""
        with self._inside(name):
            await self._gate(name).wait()
        return name

    async def pass_through(self, name: str) -> str:
        """Be inside for a few ticks."""
        with self._inside(name):
            for _ in range(3):
                await checkpoint()
        return name

    @contextmanager
    def _inside(self, name: str) -> Iterator[None]:
        self.inside.append(name)
        self.entered.append(name)
        self.most = max(self.most, len(self.inside))
        try:
            yield
        finally:
            self.inside.remove(name)

    def release(self, name: str) -> None:
        self._gate(name).set()

    def _gate(self, name: str) -> anyio.Event:
        return self._gates.setdefault(name, anyio.Event())


@pytest.fixture
def hall() -> Hall:
    return Hall()


def visit(hall: Hall, limit: str | None = "db", **options: Any) -> Workflow:
    """A workflow of one step, called `enter`, under a limit: it is in the hall until it is let go."""

    @step(limit=limit, **options)
    async def enter(name: str) -> str:
        return await hall.stay(name)

    @workflow(name=f"visit-{limit}")
    async def program(ctx: Context) -> str:
        return await ctx.step(enter, ctx.run_id)

    return program


async def start(kernel: Kernel, flow: Workflow, names: str) -> None:
    """Start a run under each letter, one after the other: each waits for something before the next begins."""
    for name in names:
        await kernel.start(flow, run_id=name)
        await anyio.wait_all_tasks_blocked()


async def inside(hall: Hall, *names: str) -> None:
    """Return once these are in the hall and nobody else."""
    await settled(lambda: hall.inside == [*names])


def live(kernel: Kernel) -> set[str]:
    """The ids of the runs in memory."""
    return {run.state.run_id for run in kernel._runtime.runs}


def all_free(kernel: Kernel) -> bool:
    """Whether every slot is free and nobody waits."""
    limiter = kernel._runtime.driver._limiter
    limits = {limit for name in (None, *limiter._named) for limit in limiter.limits_of(name)}
    sizes = {
        limit: kernel._runtime.driver._limits.named.get(limit.name or "", kernel._runtime.driver._limits.max_steps)
        for limit in limits
    }
    return not limiter.parked and all(limit.free == sizes[limit] and not limit.line for limit in limits)


# -- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bounds", [{"limits": {"db": 2}}, {"max_steps": 2}, {"max_steps": 2, "limits": {"db": 3}}], ids=str
)
async def test_no_more_bodies_run_at_once_than_may(hall: Hall, bounds: dict[str, Any]) -> None:
    """In the branches of a gather, the items of a map and the steps of many runs, together."""

    @step(limit="db")
    async def query(name: str) -> str:
        return await hall.pass_through(name)

    @workflow()
    async def program(ctx: Context) -> list[Any]:
        mapped = await ctx.map(query, [f"{ctx.run_id}{number}" for number in range(3)])
        gathered = await ctx.gather(*(ctx.step(query, f"{ctx.run_id}{number}") for number in range(3, 6)))
        return [*mapped, *gathered]

    async with Harness().kernel(program, **bounds) as kernel:
        for name in "abcd":
            await kernel.start(program, run_id=name)
        for name in "abcd":
            assert await kernel.result(name) == [f"{name}{number}" for number in range(6)]
        assert all_free(kernel)

    assert hall.most == 2
    assert len(hall.entered) == 24


async def test_a_limit_bounds_the_steps_that_name_it_and_no_others(hall: Hall) -> None:
    """Another name has slots of its own, and a name the kernel was not given bounds nothing."""
    flows = [visit(hall, limit) for limit in ("db", "api", "unknown", None)]

    async with Harness().kernel(limits={"db": 1, "api": 1}) as kernel:
        for flow, names in zip(flows, ("abc", "def", "ghi", "jkl"), strict=True):
            await start(kernel, flow, names)

        assert hall.inside == [*"ad", *"ghi", *"jkl"]
        for name in "abcdefghijkl":
            hall.release(name)
            await kernel.result(name)


async def test_the_first_in_line_is_the_first_to_be_let_in(hall: Hall) -> None:
    """Whoever ends makes room for the one that has waited longest."""
    flow = visit(hall)
    async with Harness().kernel(flow, limits={"db": 2}) as kernel:
        await start(kernel, flow, "abcde")
        for name in "badce":
            hall.release(name)
            await kernel.result(name)

    assert hall.entered == [*"abcde"]


async def test_a_step_that_waits_for_a_named_limit_holds_no_general_slot(hall: Hall) -> None:
    """With room for two bodies and one of them in "db", the second in line for "db" does not keep others out."""
    db, other = visit(hall), visit(hall, None)
    async with Harness().kernel(max_steps=2, limits={"db": 1}) as kernel:
        await start(kernel, db, "ab")
        await start(kernel, other, "xy")
        assert hall.inside == ["a", "x"]

        hall.release("a")
        await settled(lambda: "y" in hall.inside)  # it was first in line for the general limit
        assert hall.inside == ["x", "y"]
        assert (await kernel.explain("b")).reasons[0].text == (
            "step 'enter' waits for a free slot: the limit on concurrent steps is reached"
        )
        hall.release("x")
        await settled(lambda: "b" in hall.inside)
        for name in "by":
            hall.release(name)
            await kernel.result(name)
        assert all_free(kernel)


@pytest.mark.parametrize("bounds", [{"limits": {"db": 0}}, {"max_steps": 0}], ids=str)
def test_a_limit_of_nothing_is_refused(bounds: dict[str, Any]) -> None:
    """It would stop everything, without a word."""
    with pytest.raises(ValueError, match=r"^0 is not a valid (limits\.db|max_steps): a whole number from 1"):
        Harness().kernel(**bounds)


async def test_limits_cost_no_commit() -> None:
    """S steps take S + 2 commits under a named and a general limit."""

    @step(limit="db")
    async def work(number: int) -> int:
        return number

    @workflow()
    async def chain(ctx: Context) -> None:
        for number in range(20):
            await ctx.step(work, number)

    async with Harness().kernel(chain, max_steps=1, limits={"db": 1}) as kernel:
        await kernel.run(chain)

        assert kernel._runtime.driver.committer.commits == 20 + 2


async def test_the_steps_of_a_yaml_workflow_are_under_the_limit_of_their_task(hall: Hall, tmp_path: Path) -> None:
    """`limits={"task:visit": 1}` bounds every step that uses the task `visit`, whatever it is called."""

    @task("visit", inputs={"name": {"type": "string"}})
    async def visits(call: TaskCall) -> str:
        return await hall.stay(call.inputs["name"])

    text = """
name: hall
steps:
  - {name: first, task: visit, inputs: {name: "{{ workflow_name }}-1"}, depends_on: []}
  - {name: second, task: visit, inputs: {name: "{{ workflow_name }}-2"}, depends_on: []}
  - {name: third, task: noop, depends_on: []}
"""
    flow = load_workflow(text, tasks=[visits])
    async with Harness().kernel(flow, limits={"task:visit": 1}, workspaces=tmp_path) as kernel:
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", "step_completed", "third")
        await settled(lambda: len(hall.inside) == 1)
        (reason,) = [each for each in (await kernel.explain("r")).reasons if each.why is Why.LIMIT]
        assert reason.step in ("first", "second")
        assert "the limit 'task:visit' is reached" in reason.text

        for name in ("hall-1", "hall-2"):
            hall.release(name)
        await kernel.result("r")

    assert hall.most == 1


# -- how long a slot is held ---------------------------------------------------------------------------------------


async def test_a_step_holds_no_slot_while_it_waits_for_its_next_attempt(hall: Hall) -> None:
    """Another one runs during the backoff; the retry stands in line like everybody."""
    harness = Harness()
    tries: list[str] = []

    @step(limit="db", retry=RetryPolicy(max_attempts=2, delay=60, jitter=0))
    async def flaky(name: str) -> str:
        tries.append(name)
        if tries.count(name) == 1:
            raise ConnectionError("no")
        return name

    @workflow()
    async def fails_once(ctx: Context) -> str:
        return await ctx.step(flaky, ctx.run_id)

    stays = visit(hall)
    async with harness.kernel(fails_once, stays, limits={"db": 1}) as kernel:
        await kernel.start(fails_once, run_id="a")
        await until(kernel, "a", "attempt_failed")
        await start(kernel, stays, "b")
        assert hall.inside == ["b"]

        await harness.clock.asleep(60)
        harness.clock.advance(60)
        await anyio.wait_all_tasks_blocked()
        assert tries == ["a"]
        hall.release("b")
        assert await kernel.result("a") == "a"
        assert all_free(kernel)


async def test_a_durable_wait_holds_no_slot(hall: Hall) -> None:
    """A body that has returned a Wait has ended."""

    @step(limit="db")
    async def asks() -> Any:
        return Wait(signal="go")

    @workflow()
    async def program(ctx: Context) -> Any:
        return await ctx.step(asks)

    async with Harness().kernel(program, limits={"db": 1}) as kernel:
        await kernel.start(program, run_id="a")
        await until(kernel, "a", "step_waiting")
        assert all_free(kernel)
        await kernel.signal("a", "go", 1)
        assert await kernel.result("a") == 1


# -- in the store --------------------------------------------------------------------------------------------------


async def test_runs_in_line_leave_memory_and_are_brought_back_in_order(hall: Hall) -> None:
    """Those at the end of the line leave, each comes back when its turn comes, and nothing of it is recorded."""
    harness, flow = Harness(), visit(hall)
    names = "abcdefgh"
    async with harness.kernel(flow, limits={"db": 1}, max_resident=2) as kernel:
        await start(kernel, flow, names)
        assert live(kernel) == {"a", "b"}
        assert {tuple(harness.types(name)) for name in names[1:]} == {("run_created",)}

        for name in names:
            await inside(hall, name)
            hall.release(name)
            assert await kernel.result(name) == name
        assert all_free(kernel)

    assert hall.entered == [*names]
    journals = {tuple(harness.types(name)) for name in names}
    assert journals == {("run_created", "step_started", "step_completed", "run_completed")}


async def test_a_turn_goes_through_its_lines_while_its_run_is_away(hall: Hall) -> None:
    """A run that has left in the line for "db" gets on to the general line without being brought back for that."""
    flow, other = visit(hall), visit(hall, None)
    async with Harness().kernel(flow, max_steps=1, limits={"db": 1}, max_resident=0) as kernel:
        await start(kernel, flow, "ab")
        await start(kernel, other, "x")
        assert live(kernel) == {"a"}

        hall.release("a")
        await inside(hall, "x")
        assert "b" not in live(kernel)
        assert (await kernel.explain("b")).reasons[0].text.endswith("the limit on concurrent steps is reached")
        hall.release("x")
        await inside(hall, "b")
        hall.release("b")
        assert await kernel.result("b") == "b"
        assert all_free(kernel)


async def test_a_retry_in_line_leaves_too_and_is_not_woken_by_its_instant(hall: Hall) -> None:
    """It is due and yet it has to wait for a slot: its program is entered once more then, and not before."""
    harness = Harness()
    entered: list[str] = []
    tries: list[str] = []

    @step(limit="db", retry=RetryPolicy(max_attempts=2, delay=60, jitter=0))
    async def flaky(name: str) -> str:
        tries.append(name)
        if tries.count(name) == 1:
            raise ConnectionError("no")
        return await hall.stay(name)

    @workflow()
    async def program(ctx: Context) -> str:
        entered.append(ctx.run_id)
        return await ctx.step(flaky, ctx.run_id)

    blocks = visit(hall)
    async with harness.kernel(program, blocks, limits={"db": 1}, max_resident=0) as kernel:
        for name in "ab":
            await kernel.start(program, run_id=name)
            await until(kernel, name, "attempt_failed")
        await start(kernel, blocks, "x")
        await harness.clock.asleep(60)
        harness.clock.advance(60)
        await settled(lambda: entered == [*"abab"] or entered == [*"abba"])
        await settled(lambda: live(kernel) == {"x"})
        harness.clock.advance(600)
        await anyio.wait_all_tasks_blocked()
        assert len(entered) == 4

        for name in ("x", *entered[2:]):
            await inside(hall, name)
            hall.release(name)
            await kernel.result(name)
        assert all_free(kernel)

    assert len(entered) == 6


async def test_a_signal_brings_a_run_back_and_it_keeps_its_place(hall: Hall) -> None:
    """A run that is away in a line takes a signal, and is still before those that came later."""
    flow = visit(hall)
    async with Harness().kernel(flow, limits={"db": 1}, max_resident=1) as kernel:
        await start(kernel, flow, "abc")
        assert live(kernel) == {"a"}
        assert await kernel.signal("b", "hello") is Delivery.RECORDED

        hall.release("a")
        await inside(hall, "b")
        for name in "bc":
            hall.release(name)
            await kernel.result(name)
        assert all_free(kernel)


async def test_runs_in_line_survive_a_crash(hall: Hall) -> None:
    """The next kernel takes them up as any other, whether they were in memory or not."""
    harness, flow = Harness(), visit(hall)
    async with harness.kernel(flow, limits={"db": 1}, max_resident=2) as kernel:
        await start(kernel, flow, "abcd")
        crash(kernel)
    hall.entered.clear()

    async with harness.kernel(flow, limits={"db": 1}) as kernel:
        for name in "abcd":
            hall.release(name)
        assert [await kernel.result(name) for name in "abcd"] == [*"abcd"]
    assert sorted(hall.entered) == [*"abcd"]


async def test_a_deadline_of_the_program_keeps_its_run_in_memory(hall: Hall) -> None:
    """It would begin anew: a run that waits inside of one stays."""

    @step(limit="db")
    async def bounded(name: str) -> str:
        return await hall.stay(name)

    @workflow()
    async def program(ctx: Context) -> str:
        with anyio.move_on_after(3600):
            return await ctx.step(bounded, ctx.run_id)
        return "late"

    async with Harness().kernel(program, limits={"db": 1}, max_resident=0) as kernel:
        await start(kernel, program, "ab")
        assert live(kernel) == {"a", "b"}
        for name in "ab":
            hall.release(name)
            assert await kernel.result(name) == name


async def test_a_run_in_line_fails_when_its_time_is_over(hall: Hall) -> None:
    """The timeout of a workflow counts while its run is not in memory, and its turn goes to the next."""
    harness, blocks = Harness(), visit(hall)

    @step(limit="db")
    async def bounded() -> None: ...

    @workflow(timeout=60)
    async def hurried(ctx: Context) -> None:
        await ctx.step(bounded)

    async with harness.kernel(blocks, hurried, limits={"db": 1}, max_resident=0) as kernel:
        await start(kernel, blocks, "a")
        await start(kernel, hurried, "b")
        await start(kernel, blocks, "c")
        assert live(kernel) == {"a"}
        harness.clock.advance(60)
        with pytest.raises(RunFailed, match="took longer than 1m"):
            await kernel.result("b")

        for name in "ac":
            hall.release(name)
            await kernel.result(name)
        assert all_free(kernel)


@pytest.mark.parametrize("instead", ["sleep", "child", "end"])
async def test_a_run_that_comes_back_for_something_else_gives_its_turn_away(hall: Hall, instead: str) -> None:
    """A program that decides by what is not recorded may ask for a wait instead: nobody waits for it then."""
    harness, blocks = Harness(), visit(hall)
    seen: list[str] = []

    @step(limit="db")
    async def bounded() -> None: ...

    @workflow()
    async def fickle(ctx: Context) -> None:
        seen.append(ctx.run_id)
        if len(seen) == 1:
            await ctx.step(bounded)
        elif instead == "sleep":
            await ctx.sleep(60)
        elif instead == "child":
            await ctx.run_child(blocks, name="child")

    async with harness.kernel(blocks, fickle, limits={"db": 1}, max_resident=0) as kernel:
        await start(kernel, blocks, "a")
        await start(kernel, fickle, "b")
        await start(kernel, blocks, "c")
        hall.release("a")
        await inside(hall, "c")
        for name in ("c", "b.child"):
            hall.release(name)
        await kernel.result("c")
        await settled(lambda: all_free(kernel))


async def test_runs_in_line_count_as_being_at_work(hall: Hall) -> None:
    """With `max_runs` no further run is begun because one of those under way stands in a line, in memory or not."""
    harness, flow = Harness(), visit(hall)
    async with harness.kernel(flow, limits={"db": 1}, max_runs=2, max_resident=0) as kernel:
        await start(kernel, flow, "abc")
        assert live(kernel) == {"a"}
        assert (await kernel.explain("b")).reasons[0].step == "enter"
        assert (await kernel.explain("c")).reasons[
            0
        ].text == "it waits for a free slot: the limit on concurrent runs is reached"

        for name in "abc":
            hall.release(name)
            await kernel.result(name)


# -- being stopped in line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_resident", [1000, 0], ids=["in memory", "away"])
async def test_a_run_that_is_cancelled_in_line_makes_room(hall: Hall, max_resident: int) -> None:
    """It is cancelled at once, and the next in line is let in after the one before it."""
    flow = visit(hall)
    async with Harness().kernel(flow, limits={"db": 1}, max_resident=max_resident) as kernel:
        await start(kernel, flow, "abc")
        assert await kernel.cancel("b") is CancelOutcome.REQUESTED
        assert (await kernel.wait("b")).status is RunStatus.CANCELLED

        hall.release("a")
        await inside(hall, "c")
        hall.release("c")
        await kernel.result("c")
        assert all_free(kernel)
    assert hall.entered == ["a", "c"]


@pytest.mark.parametrize("max_resident", [1000, 0], ids=["in memory", "away"])
async def test_a_run_that_is_paused_in_line_goes_on_at_its_end(hall: Hall, max_resident: int) -> None:
    """Nothing of it runs, so it is paused at once; when it goes on it lines up anew."""
    flow = visit(hall)
    async with Harness().kernel(flow, limits={"db": 1}, max_resident=max_resident) as kernel:
        await start(kernel, flow, "abc")
        await kernel.pause("b")
        assert (await kernel.wait("b")).status is RunStatus.PAUSED
        await kernel.unpause("b")
        await anyio.wait_all_tasks_blocked()

        for name in "acb":
            await inside(hall, name)
            hall.release(name)
            await kernel.result(name)
        assert all_free(kernel)
    assert hall.entered == [*"acb"]


async def test_a_step_that_is_held_by_a_pause_lets_the_next_in_line_pass(hall: Hall) -> None:
    """A pause waits for a body of the same run; the turn of another step of it goes to somebody else meanwhile."""
    blocks = visit(hall)

    @step(limit="db")
    async def bounded() -> str:
        return "bounded"

    async def other() -> str:
        return await hall.stay("other")

    @workflow()
    async def both(ctx: Context) -> list[Any]:
        return await ctx.gather(ctx.step(other), ctx.step(bounded))

    async with Harness().kernel(blocks, both, limits={"db": 1}) as kernel:
        await start(kernel, blocks, "a")
        await start(kernel, both, "b")
        await start(kernel, blocks, "c")
        await kernel.pause("b")
        hall.release("a")
        await inside(hall, "other", "c")
        hall.release("other")
        assert (await kernel.wait("b")).status is RunStatus.PAUSED
        hall.release("c")
        assert await (await kernel.unpause("b")).result() == ["other", "bounded"]
        assert all_free(kernel)


async def test_a_shielded_program_in_line_does_not_hold_up_a_cancel(hall: Hall) -> None:
    """A step that waits for a slot inside a shield is let go when its run is stopped."""
    blocks = visit(hall)

    @step(limit="db")
    async def bounded() -> None: ...

    @workflow()
    async def shielded(ctx: Context) -> None:
        with anyio.CancelScope(shield=True):
            await ctx.step(bounded)

    async with Harness().kernel(blocks, shielded, limits={"db": 1}) as kernel:
        await start(kernel, blocks, "a")
        await start(kernel, shielded, "b")
        await kernel.cancel("b")
        assert (await kernel.wait("b")).status is RunStatus.CANCELLED
        hall.release("a")
        await kernel.result("a")
        assert all_free(kernel)


async def test_a_program_may_give_up_waiting(hall: Hall) -> None:
    """The step leaves the line; a replay in which there is room waits until the program gives up again."""
    harness, blocks, counter = Harness(), visit(hall), Counter()
    given_up = [anyio.Event(), anyio.Event()]  # in its first and in its second life

    @step(limit="db")
    async def bounded() -> None:
        counter.count("bounded")

    @workflow()
    async def impatient(ctx: Context) -> str:
        async def give_up(scope: anyio.CancelScope) -> None:
            await given_up[counter.count("life") - 1].wait()
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(give_up, group.cancel_scope)
            await ctx.step(bounded)
        await ctx.step(counter.body("after"), name="after")
        await ctx.wait_signal("go")
        return "gave up"

    async with harness.kernel(blocks, impatient, limits={"db": 1}) as kernel:
        await start(kernel, blocks, "a")
        await start(kernel, impatient, "b")
        given_up[0].set()
        await until(kernel, "b", "step_waiting")
        crash(kernel)
    async with harness.kernel(impatient, limits={"db": 1}) as kernel:
        await kernel.signal("b", "go")  # which brings it back
        for _ in range(4 * IDLE_TICKS):
            await checkpoint()
        given_up[1].set()
        assert await kernel.result("b") == "gave up"
        assert all_free(kernel)

    assert counter.calls == ["life", "after", "life"]


@pytest.mark.parametrize("ask", ["cancel", "pause", "close"])
@pytest.mark.parametrize("max_resident", [1000, 0])
async def test_no_slot_is_lost_wherever_a_run_is_stopped(ask: str, max_resident: int) -> None:
    """After every tick of its life a run is stopped beside others; then all slots are free again."""
    ticks = 0
    ended = False
    while not ended:
        ticks += 1
        ended = await _stopped_after(ticks, ask, max_resident)
    assert ticks > 10


async def _stopped_after(ticks: int, ask: str, max_resident: int) -> bool:
    """Stop one run of three, or all of them, after so many ticks; whether it had ended before."""
    hall = Hall()

    @step(limit="db", retry=RetryPolicy(max_attempts=2, delay=1, jitter=0))
    async def query(name: str) -> str:
        if name.endswith("1") and name not in hall.entered:
            hall.entered.append(name)
            raise ConnectionError("no")
        return await hall.pass_through(name)

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(query, f"{ctx.run_id}0")
        await ctx.map(query, [f"{ctx.run_id}1", f"{ctx.run_id}2"], name="mapped")

    kernel = Harness(JumpingClock()).kernel(program, max_steps=2, limits={"db": 1}, max_resident=max_resident)
    async with kernel:
        for name in "abc":
            await kernel.start(program, run_id=name)
        for _ in range(ticks):
            await checkpoint()
        over = (await kernel.inspect("b")).is_final
        if ask != "close":
            with suppress(RunFinishedError):
                await (kernel.cancel("b") if ask == "cancel" else kernel.pause("b"))
            await kernel.wait("b")
            for name in "ac":
                await kernel.result(name)
            assert all_free(kernel)
    left = kernel._runtime.driver._limiter.parked
    assert ask == "close" or not left
    for uid in list(left):
        kernel._runtime.driver._limiter.forget(uid)
    assert all_free(kernel)
    assert hall.most == 1 or ask == "close"
    return over


# -- explaining ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_resident", [1000, 0], ids=["in memory", "away"])
async def test_explain_names_the_limit(hall: Hall, max_resident: int) -> None:
    """A run in line says for what, in memory or not."""
    flow = visit(hall)
    async with Harness().kernel(flow, limits={"db": 1}, max_resident=max_resident) as kernel:
        await start(kernel, flow, "ab")
        (reason,) = (await kernel.explain("b")).reasons

        assert (reason.why, reason.step) == (Why.LIMIT, "enter")
        assert reason.text == "step 'enter' waits for a free slot: the limit 'db' is reached"
        for name in "ab":
            hall.release(name)
            await kernel.result(name)


# -- the limiter by itself -----------------------------------------------------------------------------------------


class Crowd:
    """Runs at random with the limits of one kernel, and a count beside them of what each run has."""

    def __init__(self, seed: int) -> None:
        self.lots = random.Random(seed)
        self.sizes = {"db": self.lots.randint(1, 3), "api": self.lots.randint(1, 3)}
        self.max_steps = self.lots.choice((None, 1, 2, 4))
        self.granted: list[Ticket] = []
        self.limiter = Limiter(self.max_steps, self.sizes, self.granted.append)
        self.holding: dict[str, tuple[Limit, ...]] = {}
        self.waiting: dict[str, Ticket] = {}  # in memory
        self.away: dict[str, Ticket] = {}
        self.number = 0

    def act(self) -> None:
        act = self.lots.choice((self.arrive, self.arrive, self.end, self.end, self.give_up, self.leave, self.come_back))
        act()
        for uid, ticket in list(self.waiting.items()):
            if ticket.is_granted:
                self.holding[uid] = tuple(ticket.limits)
                del self.waiting[uid]

    def arrive(self) -> None:
        self.number += 1
        uid = str(self.number)
        self.ask(uid, self.lots.choice(("db", "api", None)))

    def ask(self, uid: str, name: str | None) -> None:
        limits = self.limiter.limits_of(name)
        if self.limiter.try_acquire(uid, limits):
            self.holding[uid] = limits
        else:
            self.waiting[uid] = self.limiter.enqueue(uid, uid, "step", limits)

    def end(self) -> None:
        if self.holding:
            self.limiter.release(self.holding.pop(self.lots.choice(list(self.holding))))

    def give_up(self) -> None:
        if self.waiting:
            ticket = self.waiting.pop(self.lots.choice(list(self.waiting)))
            self.limiter.withdraw(ticket)
            self.limiter.withdraw(ticket)

    def leave(self) -> None:
        if self.waiting:
            uid = self.lots.choice(list(self.waiting))
            self.away[uid] = self.waiting.pop(uid)
            self.limiter.park(self.away[uid])

    def come_back(self) -> None:
        if self.away:
            ticket = self.away.pop(self.lots.choice(list(self.away)))
            if self.lots.random() < 0.2:
                self.limiter.forget(ticket.uid)
            elif self.lots.random() < 0.2:
                self.ask(ticket.uid, self.lots.choice(("db", "api", None)))
            else:
                same = self.limiter.enqueue(ticket.run_id, ticket.uid, "step", ticket.limits)
                assert same is ticket
                self.waiting[ticket.uid] = ticket

    def check(self) -> None:
        """Every slot is free or somebody's, none is free while somebody waits for it, and who has come was called."""
        tickets = [*self.waiting.values(), *self.away.values()]
        limits = {limit for name in (None, *self.sizes) for limit in self.limiter.limits_of(name)}
        for limit in limits:
            size = self.max_steps if limit.name is None else self.sizes[limit.name]
            taken = sum(limit in held for held in self.holding.values())
            taken += sum(limit in ticket.limits[: ticket.held] for ticket in tickets)
            assert limit.free + taken == size
            assert set(limit.line) == {
                ticket for ticket in tickets if limit in ticket.limits[ticket.held : ticket.held + 1]
            }
            assert not (limit.free and limit.line)
        assert all(ticket in self.granted for ticket in self.away.values() if ticket.is_granted)


@pytest.mark.parametrize("seed", range(40))
async def test_every_slot_is_free_or_somebodys(seed: int) -> None:
    """Whatever runs do, in whatever order, nothing is lost, nothing is had twice and no room is left unused."""
    crowd = Crowd(seed)
    for _ in range(200):
        crowd.act()
        crowd.check()
