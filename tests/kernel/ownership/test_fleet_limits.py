"""No more bodies at once than a limit of all kernels allows, whichever kernels run them, and no slot is lost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack, suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, Observer, RetryPolicy, RunStatus, Why, step, workflow
from flujo.kernel.backend import SlotRequest, Slots
from flujo.kernel.errors import RunFinishedError, StoreError
from kernel.execution.test_limits import Hall, inside, start, visit
from kernel.harness import Harness, JumpingClock, crash, settled


@pytest.fixture
def hall() -> Hall:
    return Hall()


async def set_limit(harness: Harness, slots: int | None, name: str = "db") -> None:
    """Set a limit of all kernels, as an operator does."""
    harness.store.created = True
    async with harness.backend() as backend:
        await backend.set_fleet_limit(name, slots)


def in_line(harness: Harness) -> list[str]:
    """The ids of the runs that wait for a slot, the first in line first."""
    return [slot.request.run_id for slot in harness.store.slots.values() if not slot.is_granted]


def held(harness: Harness) -> list[str]:
    """The ids of the runs that have a slot."""
    return [slot.request.run_id for slot in harness.store.slots.values() if slot.is_granted]


async def test_no_more_bodies_run_at_once_than_all_kernels_may(hall: Hall) -> None:
    """Two kernels with two hundred steps and a limit of three: never more than three are at work, and all come to
    their turn, those of either kernel."""

    @step(limit="db")
    async def query(name: str) -> str:
        return await hall.pass_through(name)

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.map(query, [f"{ctx.run_id}{number}" for number in range(25)])

    harness = Harness()
    await set_limit(harness, 3)
    async with harness.kernel(program) as one, harness.kernel(program) as two:
        for mine, others in zip("abcd", "efgh", strict=True):
            await one.start(program, run_id=mine)
            await two.start(program, run_id=others)
        for name in "abcd":
            await one.result(name)
        for name in "efgh":
            await two.result(name)

    assert hall.most == 3
    assert len(hall.entered) == 200
    first = Counter(name[0] in "abcd" for name in hall.entered[:100])
    assert min(first[True], first[False]) >= 40  # neither waits for the other to be done
    assert harness.store.slots == {}


async def test_the_first_in_line_is_the_first_to_be_let_in_whoever_runs_it(hall: Hall) -> None:
    """Steps of two kernels come to their turn in the order in which they have asked."""
    flow, harness = visit(hall), Harness()
    await set_limit(harness, 1)
    async with harness.kernel(flow) as one, harness.kernel(flow) as two:
        for number, name in enumerate("abcdef"):
            await start((one, two)[number % 2], flow, name)
        assert (held(harness), in_line(harness)) == (["a"], [*"bcdef"])
        for number, name in enumerate("abcdef"):
            await inside(hall, name)
            hall.release(name)
            await (one, two)[number % 2].result(name)

    assert hall.entered == [*"abcdef"]


async def test_a_limit_of_all_kernels_is_beside_those_of_each(hall: Hall) -> None:
    """A step takes a slot of both: two at once here, three in all; one of another limit is in nobody's way."""
    flow, other, harness = visit(hall), visit(hall, "api"), Harness()
    await set_limit(harness, 3)
    async with harness.kernel(flow, limits={"db": 2}) as one, harness.kernel(flow) as two:
        await start(one, flow, "abc")
        await start(two, flow, "xyz")
        await start(two, other, "o")
        assert hall.inside == [*"abxo"]
        hall.release("a")
        await inside(hall, *"bxoc"[:3], *"y")  # `c` has asked after `y`: it had to wait for a slot of its kernel
        for name in "bcxyzo":
            hall.release(name)
        for name in "bc":
            await one.result(name)
        for name in "xyzo":
            await two.result(name)


async def test_the_slots_of_a_kernel_that_dies_are_free(hall: Hall) -> None:
    """What it had goes to the first in line, and its runs ask again where they go on."""
    flow, harness = visit(hall), Harness()
    await set_limit(harness, 1)
    async with harness.kernel(flow, recover=False) as two:
        dying = harness.kernel(flow)
        async with dying:
            await start(dying, flow, "ab")
            await start(two, flow, "c")
            assert (held(harness), in_line(harness)) == (["a"], ["b", "c"])
            crash(dying)
            await settled(lambda: held(harness) == ["c"])
            hall.release("a")
            hall.release("b")
        await settled(lambda: "c" in hall.inside)
        hall.release("c")
        await two.result("c")
        await two.recover()
        for name in "ab":
            await two.result(name)
    assert harness.store.slots == {}


async def test_a_limit_may_be_set_changed_and_removed_while_many_wait(hall: Hall) -> None:
    """Set while kernels are open it counts from the next step on; lowered it takes nothing away; raised and removed it
    lets in who waits."""
    flow, harness = visit(hall), Harness()
    async with harness.kernel(flow) as one, harness.kernel(flow) as two:
        await start(one, flow, "a")
        await set_limit(harness, 2)
        await anyio.wait_all_tasks_blocked()
        await start(one, flow, "bcd")
        await start(two, flow, "efg")
        assert hall.inside == [*"abc"]

        await set_limit(harness, 1)
        hall.release("b")
        await one.result("b")
        await anyio.wait_all_tasks_blocked()
        assert hall.inside == [*"ac"]
        hall.release("c")
        await inside(hall, *"ad")

        await set_limit(harness, 3)
        await settled(lambda: sorted(hall.inside) == [*"adef"])
        await set_limit(harness, None)
        await settled(lambda: sorted(hall.inside) == [*"adefg"])
        await start(two, flow, "h")
        assert sorted(hall.inside) == [*"adefgh"]

        await set_limit(harness, 1)
        await anyio.wait_all_tasks_blocked()
        await start(two, flow, "i")
        assert (held(harness), in_line(harness)) == ([*"defg"], ["i"])
        for name in "adefghi":
            hall.release(name)
        for name in "ad":
            await one.result(name)
        for name in "efghi":
            await two.result(name)
    assert harness.store.slots == {}


@pytest.mark.parametrize("max_resident", [1000, 0], ids=["in memory", "away"])
@pytest.mark.parametrize("ask", ["cancel", "pause", "time out"])
async def test_a_step_in_line_is_stopped_as_any_other(hall: Hall, ask: str, max_resident: int) -> None:
    """A run that waits for a slot of all kernels is cancelled, paused and timed out, and gives its place away."""
    flow, harness = visit(hall), Harness()

    @step(limit="db")
    async def enter(name: str) -> str:
        return await hall.stay(name)

    @workflow(timeout="10s")
    async def waiting(ctx: Context) -> str:
        return await ctx.step(enter, ctx.run_id)

    await set_limit(harness, 1)
    async with harness.kernel(flow, waiting, max_resident=max_resident) as one, harness.kernel(flow) as two:
        await start(two, flow, "a")
        await start(one, waiting, "b")
        await start(two, flow, "c")
        assert in_line(harness) == ["b", "c"]
        if ask == "time out":
            harness.clock.advance(11)
        elif ask == "cancel":
            await one.cancel("b")
        else:
            await one.pause("b")
        ended = await one.wait("b")
        expected = {"cancel": RunStatus.CANCELLED, "pause": RunStatus.PAUSED, "time out": RunStatus.FAILED}
        assert ended.status is expected[ask]
        await settled(lambda: in_line(harness) == ["c"])
        hall.release("a")
        await inside(hall, "c")
        hall.release("c")
        for name in "ac":
            await two.result(name)
    assert harness.store.slots == {}


async def test_a_run_that_leaves_memory_keeps_its_place(hall: Hall) -> None:
    """It is granted its slot while it is away, comes back and begins; those behind it wait."""
    flow, harness = visit(hall), Harness()
    await set_limit(harness, 1)
    async with harness.kernel(flow, max_resident=0) as one, harness.kernel(flow) as two:
        await start(two, flow, "a")
        await start(one, flow, "b")
        await start(two, flow, "c")
        assert not list(one._runtime.runs)
        hall.release("a")
        await inside(hall, "b")
        assert in_line(harness) == ["c"]
        for name in "bc":
            hall.release(name)
        await one.result("b")
        await two.result("c")


async def test_attempts_give_their_slot_back_between_them(hall: Hall) -> None:
    """A step that has failed has no slot while it waits for its next attempt."""

    @step(limit="db", retry=RetryPolicy(max_attempts=2, delay=60, jitter=0))
    async def query(name: str) -> str:
        if name not in hall.entered:
            hall.entered.append(name)
            raise ConnectionError("no")
        return await hall.pass_through(name)

    @workflow()
    async def program(ctx: Context) -> str:
        return await ctx.step(query, ctx.run_id)

    harness = Harness()
    await set_limit(harness, 1)
    async with harness.kernel(program) as kernel:
        await start(kernel, program, "a")
        assert harness.store.slots == {}
        harness.clock.advance(61)
        assert await kernel.result("a") == "a"


async def test_everybody_can_explain_who_waits_for_whom(hall: Hall) -> None:
    """The kernel that has the run, another one, and whoever reads the store say for what it waits and who has it."""
    flow, harness = visit(hall), Harness()
    await set_limit(harness, 1)
    async with harness.kernel(flow) as one, harness.kernel(flow) as two, harness.backend() as backend:
        await start(one, flow, "a")
        await start(two, flow, "bc")
        for runs in (one, two, Observer(backend, clock=harness.clock)):
            (reason,) = (await runs.explain("c")).reasons
            assert (reason.why, reason.step) == (Why.LIMIT, "enter")
            assert reason.text.startswith(
                "step 'enter' waits for a slot of the limit 'db' of all kernels: 2nd in line; "
                "its slot is held by 'enter' of run a at "
            )
            assert reason.commands == ["flujoctl limits", "flujoctl cancel c"]
        for name in "abc":
            hall.release(name)
        await one.result("a")
        for name in "bc":
            await two.result(name)


class CountingBackend(InMemoryBackend):
    """Counts how often slots are exchanged, and fails when told."""

    exchanges = 0
    fails = False

    async def exchange_slots(self, asked: Sequence[SlotRequest], given_back: Collection[int]) -> Slots:
        type(self).exchanges += 1
        found = await super().exchange_slots(asked, given_back)
        if self.fails:
            raise StoreError(self.url, "the answer was lost")
        return found


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> type[CountingBackend]:
    monkeypatch.setattr(CountingBackend, "exchanges", 0)
    monkeypatch.setattr(CountingBackend, "fails", False)
    return CountingBackend


async def test_without_a_limit_of_all_kernels_the_store_is_asked_once(
    hall: Hall, counting: type[CountingBackend]
) -> None:
    """A kernel looks when it opens; steps that name a limit nobody has set ask nothing."""
    flow, harness = visit(hall), Harness()
    async with harness.kernel(flow, backend=counting(harness.store), limits={"db": 1}) as kernel:
        for name in "abc":
            hall.release(name)
            await kernel.run(flow, run_id=name)
    assert counting.exchanges == 1


async def test_a_crowd_shares_its_questions(hall: Hall, counting: type[CountingBackend]) -> None:
    """A hundred steps that ask at once ask in one question, and go together."""

    @step(limit="db")
    async def query(name: int) -> str:
        return await hall.pass_through(str(name))

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.map(query, range(100))

    harness = Harness()
    await set_limit(harness, 100)
    async with harness.kernel(program, backend=counting(harness.store)) as kernel:
        await kernel.run(program)
    assert hall.most == 100
    assert counting.exchanges <= 6


async def test_what_the_store_did_not_answer_is_asked_again(hall: Hall, counting: type[CountingBackend]) -> None:
    """Lost answers cost neither a slot nor a place."""
    flow, harness = visit(hall), Harness(JumpingClock())
    await set_limit(harness, 1)
    async with harness.kernel(flow, backend=counting(harness.store)) as kernel:
        counting.fails = True
        for name in "abc":
            await kernel.start(flow, run_id=name)
        await settled(lambda: counting.exchanges > 5)
        assert hall.inside == []
        counting.fails = False
        for name in "abc":
            await inside(hall, name)
            hall.release(name)
            await kernel.result(name)
    assert harness.store.slots == {}


@pytest.mark.parametrize("ask", ["cancel", "pause", "crash"])
@pytest.mark.parametrize("max_resident", [1000, 0])
async def test_no_slot_is_lost_wherever_a_run_is_stopped(ask: str, max_resident: int) -> None:
    """After every tick of its life a run is stopped, or its kernel dies, beside others; then all slots are free."""
    for ticks in range(1, 60, 3):
        await _stopped_after(ticks, ask, max_resident)


async def _stopped_after(ticks: int, ask: str, max_resident: int) -> None:
    hall = Hall()

    @step(limit="db")
    async def query(name: str) -> str:
        return await hall.pass_through(name)

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(query, f"{ctx.run_id}0")
        await ctx.map(query, [f"{ctx.run_id}1", f"{ctx.run_id}2"], name="mapped")

    harness = Harness(JumpingClock())
    await set_limit(harness, 1)
    first = harness.kernel(program, max_steps=2, max_resident=max_resident)
    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(harness.kernel(program, recover=ask != "crash"))
        await stack.enter_async_context(first)
        for name, kernel in (("a", first), ("b", first), ("c", second)):
            await kernel.start(program, run_id=name)
        for _ in range(ticks):
            await checkpoint()
        if ask == "crash":
            crash(first)
        else:
            with suppress(RunFinishedError):
                await (first.cancel("b") if ask == "cancel" else first.pause("b"))
            await first.wait("b")
            await first.result("a")
        await second.result("c")
        assert hall.most == 1 or ask == "crash"
        await settled(lambda: not held(harness))
    assert harness.store.slots == {}


class Fleet:
    """Three owners of one store who ask, give back, set the limit and die at random, and a model beside them of who has
    what."""

    def __init__(self, seed: int) -> None:
        self.lots = random.Random(seed)
        self.store = MemoryStore()
        self.size: int | None = None
        self.line: list[tuple[str, int]] = []  # (owner, number) in the order of asking
        self.has: list[tuple[str, int]] = []
        self.number = 0
        self.owners: dict[str, InMemoryBackend] = {}

    async def play(self) -> None:
        for name in ("one", "two", "three"):
            await self.open(name)
        for _ in range(200):
            await self.lots.choice((self.ask, self.ask, self.give_back, self.give_back, self.set, self.die))()
            while self.line and (self.size is None or len(self.has) < self.size):
                self.has.append(self.line.pop(0))
            self.check()

    async def open(self, name: str) -> None:
        self.owners[name] = InMemoryBackend(self.store)
        await self.owners[name].open(name)

    def anyone(self) -> str:
        return self.lots.choice(list(self.owners))

    async def ask(self) -> None:
        owner, self.number = self.anyone(), self.number + 1
        found = await self.owners[owner].exchange_slots([SlotRequest(self.number, "db", "r", "u", "s")], ())
        if self.size is None:
            assert self.number in found.granted
        else:
            self.line.append((owner, self.number))

    async def give_back(self) -> None:
        owner = self.anyone()
        mine = [key for key in (*self.has, *self.line) if key[0] == owner]
        gone = self.lots.sample(mine, min(len(mine), 2))
        await self.owners[owner].exchange_slots((), [number for _, number in gone])
        self.forget(gone.__contains__)

    async def set(self) -> None:
        self.size = self.lots.choice((1, 2, 3, 5, None))
        await self.owners[self.anyone()].set_fleet_limit("db", self.size)

    async def die(self) -> None:
        owner = self.anyone()
        self.owners[owner].kill()
        self.forget(lambda key: key[0] == owner)
        await self.open(owner)

    def forget(self, is_gone: Callable[[tuple[str, int]], bool]) -> None:
        self.line = [key for key in self.line if not is_gone(key)]
        self.has = [key for key in self.has if not is_gone(key)]

    def check(self) -> None:
        slots = self.store.slots.items()
        assert [key for key, slot in slots if not slot.is_granted] == self.line
        assert sorted(key for key, slot in slots if slot.is_granted) == sorted(self.has)


@pytest.mark.parametrize("seed", range(20))
async def test_every_slot_is_where_the_model_has_it(seed: int) -> None:
    """Whatever owners ask for, give back, set and leave behind, in whatever order."""
    await Fleet(seed).play()
