"""Taking over runs whose owner is dead: recovery at the opening of a kernel, and owners that were replaced."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, Kernel, Observer, RunFailed, RunInterrupted, RunPaused, workflow
from flujo.kernel.backend import RunSummary
from flujo.kernel.errors import CorruptStoreError, RunActiveError, StoreError
from flujo.kernel.events import RunTakenOver
from flujo.kernel.ownership import recovery
from flujo.kernel.ownership.driver import Driver
from kernel.flows import double, doubling, stuck, waiting
from kernel.harness import (
    Counter,
    GatedBackend,
    Harness,
    JumpingClock,
    ManualClock,
    crash,
    recorded,
    settled,
    until,
    usurp,
)


async def test_opening_a_kernel_recovers_interrupted_runs() -> None:
    """Runs whose owner crashed go on by themselves, with the outcomes they had."""
    harness = Harness()
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> Any:
        before = await ctx.step(counter.body("before"), name="before")
        signalled = await ctx.wait_signal("go")
        return [before, signalled]

    async with harness.kernel(program) as kernel:
        for number in range(3):
            await kernel.start(program, run_id=f"r{number}")
            await until(kernel, f"r{number}", "step_waiting")
        crash(kernel)
    async with harness.kernel(program) as kernel:
        for number in range(3):
            await kernel.signal(f"r{number}", "go", number)
        outputs = [await kernel.result(f"r{number}") for number in range(3)]

    assert outputs == [[1, 0], [2, 1], [3, 2]]
    assert counter.calls == ["before"] * 3


async def test_a_step_that_outlives_too_many_owners_pauses_its_run() -> None:
    """The third crash in one step pauses the run instead of crashing the next kernel; a plain resume revives it."""
    harness = Harness()
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> str:
        async def deadly() -> str:
            if counter.count("deadly") <= 3:
                await anyio.sleep_forever()
            return "survived"

        return await ctx.step(deadly)

    for life in range(3):
        async with harness.kernel(program, max_interruptions=3) as kernel:
            if life == 0:
                await kernel.start(program, run_id="r")
            await until(kernel, "r", "step_started", count=life + 1)
            await anyio.wait_all_tasks_blocked()
            crash(kernel)
    async with harness.kernel(program, max_interruptions=3) as kernel:
        with pytest.raises(RunPaused, match="StepInterrupted"):
            await kernel.result("r")
        paused = await kernel.inspect("r")
        output = await (await kernel.resume("r")).result()

    assert paused.steps["deadly"].interruptions == 3
    assert harness.summary("r").owner is None
    assert output == "survived"
    assert counter.calls == ["deadly"] * 4


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"body": "{"}, id="not JSON"),
        pytest.param({"body": '{"step":"another"}'}, id="an unknown step"),
        pytest.param({"seq": 9}, id="a gap"),
    ],
)
async def test_a_damaged_journal_keeps_nobody_from_the_other_runs(damage: dict[str, Any]) -> None:
    """A run whose events make no sense is left alone and says so when asked; the kernel opens and recovers the rest."""
    harness = Harness()

    @workflow()
    async def program(ctx: Context) -> Any:
        await ctx.step(double, 1)
        return await ctx.wait_signal("go")

    async with harness.kernel(program) as kernel:
        for run_id in ("good", "bad"):
            await kernel.start(program, run_id=run_id)
            await until(kernel, run_id, "step_waiting")
    rows = harness.store.runs["bad"].events
    rows[2] = rows[2]._replace(**damage)

    async with harness.kernel(program) as kernel:
        await kernel.signal("good", "go", 1)
        assert await kernel.result("good") == 1
        for refused in (kernel.inspect, kernel.resume, kernel.cancel):
            with pytest.raises(CorruptStoreError, match="bad"):
                await refused("bad")


async def test_a_run_that_is_ended_before_it_is_claimed_is_let_go() -> None:
    """Somebody was faster between the look at it and the claim: nobody owns what is over."""
    harness = Harness()
    async with harness.kernel(stuck) as kernel:
        await kernel.start(stuck, run_id="r")
        await until(kernel, "r", "step_started")
        crash(kernel)

    class Late(InMemoryBackend):
        async def claim(self, run_id: str) -> RunSummary:
            async with harness.kernel(stuck) as faster:
                await faster.cancel(run_id)
                await faster.wait(run_id)
            return await super().claim(run_id)

    async with harness.kernel(stuck, backend=Late(harness.store), recover=False) as kernel:
        await kernel.start(stuck, run_id="r")

        assert (harness.summary("r").status, harness.summary("r").owner) == ("cancelled", None)


async def test_starting_an_interrupted_run_again_takes_it_up() -> None:
    """`start` with the id of a run that nobody runs goes on with that run."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)

    async with harness.kernel(recover=False) as kernel:
        handle = await kernel.start(waiting, run_id="r")
        await handle.signal("go", 1)

        assert handle.created is False
        assert await handle.result() == 1


async def adopt(kernel: Kernel) -> None:
    await kernel.recover()
    await settled(lambda: kernel._runtime.runs.find("r") is not None)


async def resume_it(kernel: Kernel) -> None:
    await kernel.resume("r")


async def start_it_again(kernel: Kernel) -> None:
    await kernel.start(stuck, run_id="r")


async def cancel_it(kernel: Kernel) -> None:
    await kernel.cancel("r")


async def pause_it(kernel: Kernel) -> None:
    await kernel.pause("r")


async def amend_it(kernel: Kernel) -> None:
    await kernel.set_variable("r", "x", 1)


@pytest.mark.parametrize("act", [adopt, resume_it, start_it_again, cancel_it, pause_it, amend_it])
async def test_whoever_takes_a_run_over_names_the_owner_that_died(act: Callable[[Kernel], Awaitable[None]]) -> None:
    """Once, before anything else, whatever it does to the run; and so does each further owner of the one before it."""
    harness = Harness()
    async with harness.kernel(stuck) as first:
        await first.start(stuck, run_id="r")
        await until(first, "r", "step_started")
        crash(first)

    async with harness.kernel(stuck, recover=False) as second:
        await act(second)
        await recorded(harness, "r", "run_taken_over")
        state = await second.inspect("r")
        await anyio.wait_all_tasks_blocked()
        crash(second)

    assert harness.types("r")[2:4] == ["run_taken_over", "step_interrupted"]
    assert takeovers(harness, "r") == [RunTakenOver(first.id, second.id)]
    assert state.taken_over is not None
    assert (state.taken_over.former_owner, state.taken_over.seq) == (first.id, 3)
    still_owned = harness.summary("r").owner == second.id
    async with harness.kernel(stuck) as third:
        await anyio.wait_all_tasks_blocked()
    assert takeovers(harness, "r")[1:] == ([RunTakenOver(second.id, third.id)] if still_owned else [])


def takeovers(harness: Harness, run_id: str) -> list[RunTakenOver]:
    return [event.fact for event in harness.journal(run_id) if isinstance(event.fact, RunTakenOver)]


async def test_a_run_that_was_released_in_good_order_was_taken_from_nobody() -> None:
    """A close is no death; nor is it one when a run has left memory, and comes back to its kernel."""
    harness = Harness()
    async with harness.kernel(waiting, max_resident=0) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        await settled(lambda: kernel._runtime.runs.find("r") is None)
        await kernel.set_variable("r", "x", 1)
    async with harness.kernel(waiting) as heir:
        await heir.signal("r", "go", 1)
        assert await heir.result("r") == 1

    assert "run_taken_over" not in harness.types("r")


async def test_an_owner_that_died_before_it_entered_a_run_is_named_by_the_next() -> None:
    """It was the owner, and has recorded nothing: the one before it is named by the log of that kernel only."""
    harness = Harness()
    async with harness.kernel(waiting) as first:
        await first.start(waiting, run_id="r")
        await until(first, "r", "step_waiting")
        crash(first)
    async with harness.kernel(waiting) as second:
        await settled(lambda: harness.summary("r").owner == second.id)
        crash(second)
    async with harness.kernel(waiting) as third:
        await third.signal("r", "go", 1)
        await third.result("r")
        fork = await third.fork("r")

    assert takeovers(harness, "r") == [RunTakenOver(second.id, third.id)]
    assert takeovers(harness, fork.run_id) == []


async def test_an_owner_that_was_replaced_stops_silently() -> None:
    """A kernel whose run was taken over cannot record anything more of it, and stops its program."""
    harness = Harness()
    go = anyio.Event()
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(go.wait, name="gate")
        await ctx.step(counter.body("after"), name="after")

    async with harness.kernel(program, recover=False) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_started")
        usurp(harness, "r")
        before = harness.journal("r")
        go.set()
        with pytest.raises(RunInterrupted):  # the usurper is not alive
            await kernel.result("r")

        assert harness.journal("r") == before
        assert counter.calls == []
        assert harness.summary("r").owner == "usurper"


async def test_a_kernel_that_was_taken_for_dead_loses_its_runs_to_the_next() -> None:
    """While one kernel believes it owns a run, another that claimed it finishes it; each outcome is recorded once."""
    harness = Harness()
    go = anyio.Event()

    @workflow()
    async def program(ctx: Context) -> int:
        await ctx.step(go.wait, name="gate")
        return await ctx.step(double, 4)

    async with harness.kernel(program) as first:
        await first.start(program, run_id="r")
        await until(first, "r", "step_started")
        harness.store.alive.discard(first.id)
        async with harness.kernel(program) as second:
            await until(second, "r", "step_started", count=2)
            harness.store.alive.add(first.id)
            go.set()

            assert await second.result("r") == 8
            assert await first.result("r") == 8

    assert harness.types("r").count("run_completed") == 1
    assert harness.types("r").count("step_completed") == 2


# -- what a dead owner has left behind -------------------------------------------------------------------------------


class DurableBackend(InMemoryBackend):
    """Says that its runs outlive their process, so that processes of theirs may be left behind."""

    capabilities = InMemoryBackend.capabilities._replace(durable=True)


class LeftBehind:
    """A run whose owner crashed in its step, and a process of that step that has escaped from its session."""

    def __init__(self) -> None:
        self._stage = Harness()
        self._fails = False
        self.process: subprocess.Popen[bytes] | None = None
        self.found: list[int | None] = []
        """The exit code of the process, or None while it lives, as each later attempt began."""

        @workflow()
        async def program(ctx: Context) -> None:
            await ctx.step(self._body, name="work")

        self.program = program

    async def _body(self) -> None:
        if self._fails:
            raise ValueError("not yet")
        if self.process is None:
            uid = self._stage.summary("r").uid
            self.process = start_process(uid)
        else:
            self.found.append(self.process.poll())
        await anyio.sleep_forever()

    def kernel(self, **options: Any) -> Kernel:
        """Another kernel on the store."""
        return self._stage.kernel(self.program, backend=DurableBackend(self._stage.store), **options)

    async def crash(self) -> None:
        """Let an owner resume the run under the request `again`, start its step, and crash."""
        async with self.kernel() as kernel:
            self._fails = True
            with pytest.raises(RunFailed):
                await kernel.run(self.program, run_id="r")
            self._fails = False
            await kernel.resume("r", request_id="again")
            while self.process is None:
                await checkpoint()
            crash(kernel)


def start_process(uid: str) -> subprocess.Popen[bytes]:
    """Start a process of the run with this uid."""
    return subprocess.Popen(["sleep", "999"], env={**os.environ, "FLUJO_RUN_UID": uid})


@pytest.fixture
def left() -> Iterator[LeftBehind]:
    """The run and the process of a dead owner."""
    left = LeftBehind()
    yield left
    if left.process is not None:
        left.process.kill()
        left.process.wait()


async def start(kernel: Kernel) -> None:
    await kernel.start("program", run_id="r")


async def resume(kernel: Kernel) -> None:
    await kernel.resume("r")


async def repeat_the_resume(kernel: Kernel) -> None:
    await kernel.resume("r", request_id="again")


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the variables of processes in /proc")


@on_linux
@pytest.mark.parametrize("take_over", [start, resume, repeat_the_resume])
async def test_what_a_dead_owner_left_is_dead_before_the_next_attempt(
    left: LeftBehind, take_over: Callable[[Kernel], Awaitable[None]]
) -> None:
    """Whatever takes the run over; or two attempts of one step would be at work at once."""
    await left.crash()

    async with left.kernel(recover=False) as kernel:
        await take_over(kernel)
        while not left.found:
            await checkpoint()

    assert left.found == [-signal.SIGKILL]


@on_linux
async def test_what_a_dead_owner_left_is_dead_before_the_recovery_goes_on(left: LeftBehind) -> None:
    """A kernel that opens takes over all runs that were at work."""
    await left.crash()

    async with left.kernel():
        while not left.found:
            await checkpoint()

    assert left.found == [-signal.SIGKILL]


@on_linux
@pytest.mark.parametrize("end", [lambda kernel: kernel.cancel("r"), lambda kernel: kernel.pause("r")])
async def test_what_a_dead_owner_left_is_dead_when_the_run_is_ended(
    left: LeftBehind, end: Callable[[Kernel], Awaitable[Any]]
) -> None:
    """A cancel or a pause of a run that nobody runs is recorded, and nothing of the run goes on."""
    await left.crash()

    async with left.kernel(recover=False) as kernel:
        await end(kernel)
        assert left.process is not None

        assert left.process.poll() == -signal.SIGKILL

    assert left.found == []


# -- a store that fails while runs are taken over ---------------------------------------------------------------------


class Failing(InMemoryBackend):
    """Its method `name` fails from its `first` call on, for so many `times`."""

    def __init__(self, harness: Harness, name: str, first: int, times: float) -> None:
        super().__init__(harness.store)
        self._name = name
        self._failing = (first, first + times)
        self._calls = 0

    def _count(self, name: str) -> None:
        if name == self._name:
            self._calls += 1
            if self._failing[0] <= self._calls < self._failing[1]:
                raise StoreError(self.url, "the disk cannot be read")

    async def claim_idle(self, *given: Any, **named: Any) -> Any:
        self._count("claim_idle")
        return await super().claim_idle(*given, **named)

    async def load(self, run_id: str) -> RunSummary:
        self._count("load")
        return await super().load(run_id)


once_and_for_ever = pytest.mark.parametrize("times", [1, math.inf])


@once_and_for_ever
async def test_a_kernel_lives_on_when_not_every_waiting_run_can_be_claimed(
    times: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are claimed in the background, a thousand at a time. The next kernel finds the rest."""
    monkeypatch.setattr(recovery, "CLAIM_AT_ONCE", 1)
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        for name in ("a", "b", "c"):
            await kernel.start(waiting, run_id=name)
            await until(kernel, name, "step_waiting")

    # First those that were at work are asked for, then the first that waits, then the rest.
    async with harness.kernel(waiting, doubling, backend=Failing(harness, "claim_idle", 3, times)) as kernel:
        await anyio.wait_all_tasks_blocked()
        await kernel.signal("a", "go", 1)

        assert await kernel.run(doubling, {"number": 2}) == 4
        assert await kernel.result("a") == 1
    async with harness.kernel(waiting) as kernel:
        for name in ("b", "c"):
            await kernel.signal(name, "go", name)

            assert await kernel.result(name) == name

    assert "not every waiting run was claimed" in caplog.text


@once_and_for_ever
async def test_a_kernel_lives_on_when_a_child_cannot_be_looked_at(
    times: float, caplog: pytest.LogCaptureFixture
) -> None:
    """A child may have missed the end of its parent, so it is looked at as soon as it is claimed."""
    harness = Harness()

    @workflow()
    async def parent(ctx: Context) -> Any:
        return await ctx.run_child(waiting, name="child")

    async with harness.kernel(parent, waiting) as kernel:
        await kernel.start(parent, run_id="parent")
        await recorded(harness, "parent.child", "step_waiting")

    async with harness.kernel(parent, waiting, doubling, backend=Failing(harness, "load", 1, times)) as kernel:
        await anyio.wait_all_tasks_blocked()

        assert [run.run_id for run in (await kernel.list()).runs] == ["parent.child", "parent"]
        assert kernel._runtime.driver.committer.commits >= 0
    async with harness.kernel(parent, waiting) as kernel:
        await kernel.signal("parent.child", "go", 5)

        assert await kernel.result("parent") == 5

    assert "could not be brought back" in caplog.text


@once_and_for_ever
@pytest.mark.parametrize(("name", "first"), [("claim_idle", 1), ("claim_idle", 2), ("load", 1)])
async def test_a_kernel_whose_recovery_fails_does_not_open(name: str, first: int, times: float) -> None:
    """It keeps no run that it has claimed: the next kernel goes on with all of them."""
    harness = Harness()
    async with harness.kernel(waiting, stuck) as kernel:
        await kernel.start(waiting, run_id="waits")
        await kernel.start(stuck, run_id="works")
        await until(kernel, "works", "step_started")
        await until(kernel, "waits", "step_waiting")
        crash(kernel)

    with pytest.raises(StoreError, match="the disk cannot be read"):
        async with harness.kernel(waiting, stuck, backend=Failing(harness, name, first, times)):
            pytest.fail("it has opened")

    async with harness.kernel(waiting, stuck) as kernel:
        await until(kernel, "works", "step_started", count=2)
        await kernel.signal("waits", "go", 3)

        assert await kernel.result("waits") == 3


class Refusing(InMemoryBackend):
    """A handle that refuses so many releases, with or without making them."""

    refusals = 0
    makes_them = False

    async def release(self, uids: Sequence[str] | None) -> None:
        if self.refusals:
            self.refusals -= 1
            if self.makes_them:
                await super().release(uids)
            raise StoreError(self.url, "the disk is full")
        await super().release(uids)


@pytest.mark.parametrize("makes_them", [False, True], ids=["refused", "made all the same"])
@pytest.mark.parametrize("refusals", [1, 3])
async def test_a_release_that_fails_is_tried_again(refusals: int, makes_them: bool) -> None:
    """A change by hand is recorded, and its caller told so; the run is nobody's as soon as the store takes that, while
    the kernel lives on."""
    harness = Harness(JumpingClock())
    async with harness.kernel(waiting) as dying:
        await dying.start(waiting, run_id="r")
        await until(dying, "r", "step_waiting")
        crash(dying)
    backend = Refusing(harness.store)
    backend.makes_them = makes_them
    async with harness.kernel(waiting, backend=backend, recover=False) as kernel:
        backend.refusals = refusals
        await kernel.set_variable("r", "x", 1)
        await settled(lambda: harness.summary("r").owner is None)
        backend.refusals = 0

        async with harness.kernel(waiting, recover=False) as other:
            await other.resume("r")
            await other.signal("r", "go", 5)
            assert await other.result("r") == 5
        assert (await kernel.inspect("r")).variables == {"x": 1}


async def test_a_run_that_could_neither_be_taken_up_nor_released_is_taken_up_later() -> None:
    """The store says that this kernel has it, and the kernel does not. Whoever asks for it need not wait until the
    release is tried again: no time passes here."""
    harness = Harness(ManualClock())
    async with harness.kernel(waiting) as dying:
        await dying.start(waiting, run_id="r")
        await until(dying, "r", "step_waiting")
        crash(dying)
    backend = Refusing(harness.store)
    async with harness.kernel(waiting, backend=backend, recover=False) as kernel:
        backend.refusals = 1
        await kernel.set_variable("r", "x", 1)
        await kernel.start(waiting, run_id="r")
        await kernel.signal("r", "go", 5)

        with anyio.fail_after(30):
            assert await kernel.result("r") == 5


async def test_a_run_that_has_come_back_is_not_released_late() -> None:
    """The release was made although the store refused it, and the run goes on here before it is tried again."""
    harness = Harness(ManualClock())
    async with harness.kernel(waiting) as dying:
        await dying.start(waiting, run_id="r")
        await until(dying, "r", "step_waiting")
        crash(dying)
    backend = Refusing(harness.store)
    backend.makes_them = True
    async with harness.kernel(waiting, backend=backend, recover=False) as kernel:
        backend.refusals = 1
        await kernel.set_variable("r", "x", 1)
        await kernel.resume("r")
        harness.clock.advance(5)
        await anyio.wait_all_tasks_blocked()

        assert harness.summary("r").owner == kernel.id
        await kernel.signal("r", "go", 5)
        assert await kernel.result("r") == 5


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_run_whose_store_has_forgotten_events_goes_on_from_what_is_there(
    signals: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that goes back to an earlier moment, as a replica does that is promoted too early, strands no run: what
    it has forgotten is done again, its owner says so, and the journal has no gap."""
    harness = Harness()
    counter = Counter()

    @workflow()
    async def program(ctx: Context) -> Any:
        found = [await ctx.wait_signal("go")]
        for number in range(signals):
            found.append(await ctx.step(counter.body("work"), name=f"work{number}"))
            found.append(await ctx.wait_signal("on"))
        return found

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await until(kernel, "r", "step_waiting")
        stored = harness.store.runs["r"]
        earlier = stored.summary, list(stored.events)
        await kernel.signal("r", "go", 1)
        for number in range(signals - 1):
            await until(kernel, "r", "step_waiting", count=number + 2)
            await kernel.signal("r", "on", number)
        await until(kernel, "r", "step_waiting", count=signals + 1)
        stored.summary, stored.events = earlier
        with suppress(StoreError, RunInterrupted):
            await kernel.signal("r", "news")  # refused: the word of the store counts
        await until(kernel, "r", "step_waiting")
        await kernel.signal("r", "go", 2)
        for number in range(signals):
            await until(kernel, "r", "step_waiting", count=number + 2)
            await kernel.signal("r", "on", number)
        result = await kernel.result("r")

    assert result[0] == 2
    assert len(result) == 1 + 2 * signals
    assert [event.seq for event in harness.journal("r")] == list(range(1, len(harness.journal("r")) + 1))
    assert "has forgotten events" in caplog.text


@pytest.mark.parametrize(
    ("ask", "type"),
    [
        (lambda kernel: kernel.cancel("r"), "run_cancelled"),
        (lambda kernel: kernel.pause("r"), "run_paused"),
        (lambda kernel: kernel.set_variable("r", "colour", "red"), "variable_set"),
        (lambda kernel: kernel.skip("r", "go"), "step_skipped"),
        (lambda kernel: kernel.resume("r"), "run_resumed"),
    ],
    ids=["cancel", "pause", "set_variable", "skip", "resume"],
)
async def test_nothing_is_acknowledged_that_was_refused_since(
    ask: Callable[[Kernel], Awaitable[object]], type: str
) -> None:
    """A kernel claims a run to record a request, and is stopped until another one has taken it for dead and claimed the
    run: what was refused then is either recorded at the next look, or told to be in the hands of another."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")

    backend = GatedBackend(harness.store)
    async with harness.kernel(waiting, backend=backend, recover=False) as kernel, anyio.create_task_group() as group:
        backend.close_gate()
        refused: list[RunActiveError] = []

        async def asking() -> None:
            try:
                await ask(kernel)
            except RunActiveError as error:
                refused.append(error)

        group.start_soon(asking)
        await backend.waiting.wait()
        usurp(harness, "r")
        backend.gate.set()

    assert refused or type in harness.types("r")


class TakesOnce(InMemoryBackend):
    """Tells nobody a second time of what was taken, as a store does when two take at the same moment."""

    async def wait_for_posts(self) -> None:
        await anyio.sleep_forever()


async def test_a_resume_hands_on_what_was_asked_of_other_runs() -> None:
    """It takes the whole inbox, and a signal in it for a run that waits in this kernel would lie there for good."""

    @workflow()
    async def broken(ctx: Context) -> None:
        raise ValueError("no")

    backend = TakesOnce()
    async with Kernel(backend, [waiting, broken]) as kernel, InMemoryBackend(backend.store) as elsewhere:
        await kernel.start(waiting, run_id="other")
        await until(kernel, "other", "step_waiting")
        await (await kernel.start(broken, run_id="r")).wait()
        await Observer(elsewhere).signal("other", "go", "on")

        await kernel.resume("r")

        with anyio.fail_after(30):
            assert await kernel.result("other") == "on"


async def test_a_resume_that_fails_hands_on_what_was_asked_of_other_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong behind its look into the inbox; and the run itself can be resumed again."""

    @workflow()
    async def broken(ctx: Context) -> None:
        raise ValueError("no")

    backend = TakesOnce()
    async with Kernel(backend, [waiting, broken]) as kernel, InMemoryBackend(backend.store) as elsewhere:
        await kernel.start(waiting, run_id="other")
        await until(kernel, "other", "step_waiting")
        await (await kernel.start(broken, run_id="r")).wait()
        await Observer(elsewhere).signal("other", "go", "on")
        with monkeypatch.context() as without:
            without.setattr(Driver, "make", _no_memory)
            with pytest.raises(MemoryError):
                await kernel.resume("r")

        with anyio.fail_after(10):
            assert await kernel.result("other") == "on"
        with pytest.raises(RunFailed, match="no"):
            await (await kernel.resume("r")).result()


def _no_memory(*_: object) -> None:
    raise MemoryError
