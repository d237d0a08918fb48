"""What episodes have found in the kernel, each as small as it gets."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, Kernel, StoreError, current_attempt, events, step, workflow
from flujo.kernel.backend import Refused, RunSummary
from flujo.kernel.errors import RunCancelled
from flujo.kernel.events import Event, Fact
from flujo.kernel.execution.replay import Replay
from flujo.kernel.ownership import recovery
from flujo.kernel.state import WorkflowState
from flujo.kernel.testing import Loop, VirtualClock, run_virtually
from flujo.kernel.transitions import add_up
from kernel.harness import GatedBackend
from simulation.client import adopt
from simulation.episode import live_through
from simulation.plans import draw_episode, draw_first_edition

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


@step
async def note(text: str) -> str:
    return text


def _kernel(*workflows: Any, backend: InMemoryBackend | None = None, **options: Any) -> Kernel:
    return Kernel(backend or InMemoryBackend(), workflows, clock=VirtualClock(), **options)


def _state(*facts: Fact) -> WorkflowState:
    created = events.RunCreated(workflow="w", inputs="{}")
    return add_up("r", "u", [Event(seq, seq, fact) for seq, fact in enumerate([created, *facts], 1)])


@loops
def test_one_signal_does_not_end_two_waits(loop: Loop) -> None:
    """Of two branches that wait for the same signal one takes it, and the other goes on waiting."""

    @workflow(name="two")
    async def two(ctx: Context) -> list[Any]:
        return await ctx.gather(ctx.wait_signal("go"), ctx.wait_signal("go"))

    async def scenario() -> Any:
        async with _kernel(two) as kernel:
            run = await kernel.start(two)
            await anyio.sleep(1)
            await run.signal("go", 1)
            await anyio.sleep(1)
            await run.signal("go", 2)
            return await run.result()

    assert sorted(run_virtually(scenario, loop=loop)) == [1, 2]


def test_a_signal_that_has_come_wakes_its_run() -> None:
    """A run that died between a signal and the wait that takes it is due at once; another name wakes nobody."""
    waiting = events.StepWaiting("go", "signal", signal="go")

    assert _state(waiting).wake_at is None
    assert _state(waiting, events.SignalReceived("stop", "1")).wake_at is None
    assert _state(waiting, events.SignalReceived("go", "1")).wake_at == 3


@loops
def test_a_parent_leaves_its_turn_to_its_child(loop: Loop) -> None:
    """With room for one run at a time, one that waits for a child does not keep it from beginning."""

    @workflow(name="child")
    async def child(ctx: Context) -> str:
        return await ctx.step(note, "done")

    @workflow(name="parent")
    async def parent(ctx: Context) -> list[Any]:
        return [await ctx.run_child(child, name="plain"), *await ctx.gather(ctx.run_child(child, name="branch"))]

    async def scenario() -> Any:
        async with _kernel(parent, child, max_runs=1) as kernel:
            return await kernel.run(parent)

    assert run_virtually(scenario, loop=loop) == ["done", "done"]


@loops
def test_no_child_begins_once_a_pause_is_recorded(loop: Loop) -> None:
    """A pause that comes while a parent still looks for its child keeps that from beginning, also while a body in
    another branch has to end first."""

    @step
    async def work() -> None:
        await anyio.sleep(60)

    @workflow(name="child")
    async def child(ctx: Context) -> None:
        await ctx.step(note, "done")

    @workflow(name="parent")
    async def parent(ctx: Context) -> None:
        await ctx.gather(ctx.step(work), ctx.run_child(child))

    class Slow(InMemoryBackend):
        async def load(self, run_id: str) -> RunSummary:
            await anyio.sleep(1)
            return await super().load(run_id)

    async def scenario() -> list[str]:
        backend = Slow()
        async with _kernel(parent, child, backend=backend) as kernel:
            run = await kernel.start(parent)
            await anyio.sleep(0.5)
            await kernel.pause(run.run_id)
            await run.wait()
        return [row.type for row in backend.store.runs[run.run_id].events]

    types = run_virtually(scenario, loop=loop)
    assert types[types.index("pause_requested") :] == ["pause_requested", "step_completed", "run_paused"]


@loops
@pytest.mark.parametrize("later", [0.5, 1.5])
def test_a_run_is_cancelled_while_it_lines_up(loop: Loop, later: float) -> None:
    """A run that is cancelled in the instant in which it gets in line for its turn is cancelled, and not lost."""

    @step
    async def work() -> None:
        await anyio.sleep(60)

    @workflow(name="busy")
    async def busy(ctx: Context) -> None:
        await ctx.step(work)

    class Slow(InMemoryBackend):
        async def append(self, commits: Any) -> dict[str, Refused]:
            await anyio.sleep(1)
            return await super().append(commits)

    async def scenario() -> None:
        async with _kernel(busy, backend=Slow(), max_runs=1) as kernel:
            await kernel.start(busy, run_id="first")
            async with anyio.create_task_group() as group:
                group.start_soon(_call(kernel.start, busy, run_id="second"))
                await anyio.sleep(later)  # in the same commit as its creation, or in the next
                group.start_soon(_call(kernel.cancel, "second"))
            with pytest.raises(RunCancelled):
                await kernel.result("second")

    run_virtually(scenario, loop=loop)


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], Coroutine[Any, Any, None]]:
    async def call() -> None:
        await function(*args, **kwargs)

    return call


@loops
def test_what_is_passed_over_keeps_its_order(loop: Loop) -> None:
    """A step in the midst of a history runs anew, and what follows on it is still handed out as it was recorded."""

    async def scenario() -> list[int]:
        state = _state(
            events.StepStarted("late"),
            *(events.StepStarted(name) for name in "xy"),
            *(events.StepCompleted(name, "1") for name in "yx"),
        )
        order: list[int] = []

        async def ask(seq: int) -> None:
            await replay.until_due(seq)
            order.append(seq)

        async with anyio.create_task_group() as group:

            def spawn(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
                group.start_soon(function)

            replay = Replay(state, spawn)
            await replay.until_due()  # `late`, which has no outcome
            group.start_soon(ask, 6)
            await anyio.sleep(0.0)
            group.start_soon(ask, 5)
        return order

    assert run_virtually(scenario, loop=loop) == [5, 6]


class _Failing(InMemoryBackend):
    """Refuses every commit from a certain instant on."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.is_broken = False

    async def append(self, commits: Any) -> dict[str, Refused]:
        if self.is_broken:
            raise StoreError(self.url, "the disk is on fire")
        return await super().append(commits)


@loops
def test_whoever_waits_for_a_run_that_is_away_hears_of_a_failed_store(loop: Loop) -> None:
    """When the store has failed its kernel, nobody waits on for a run that is not in memory."""

    @workflow(name="sleeper")
    async def sleeper(ctx: Context) -> None:
        await ctx.sleep("1h")

    @workflow(name="short")
    async def short(ctx: Context) -> None:
        await ctx.step(note, "soon")

    async def scenario() -> None:
        backend = _Failing(MemoryStore())
        async with _kernel(sleeper, short, backend=backend, max_resident=0) as kernel:
            away = await kernel.start(sleeper)
            await anyio.sleep(1)
            async with anyio.create_task_group() as group:

                async def break_it() -> None:
                    await anyio.sleep(1)
                    backend.is_broken = True
                    with pytest.raises(StoreError):
                        await kernel.start(short)

                group.start_soon(break_it)
                with pytest.raises(StoreError, match="on fire"):
                    await away.result()

    run_virtually(scenario, loop=loop)


@loops
def test_a_kernel_that_gets_a_lost_run_back_begins_it_anew(loop: Loop) -> None:
    """A kernel that was taken for dead, and takes up the run that it has lost meanwhile, runs it once and not twice."""
    bodies: list[int] = []

    @step
    async def work() -> int:
        bodies.append(current_attempt().attempt)
        await anyio.sleep(60)
        return current_attempt().attempt

    @workflow(name="long")
    async def long(ctx: Context) -> int:
        return await ctx.step(work)

    async def scenario() -> Any:
        store = MemoryStore()
        async with _kernel(long, backend=InMemoryBackend(store)) as first:
            run = await first.start(long)
            await anyio.sleep(1)
            store.alive.discard(first.id)
            async with _kernel(long, backend=InMemoryBackend(store)):
                store.alive.add(first.id)
                await anyio.sleep(1)
            await adopt(first, run.run_id)
            return await run.result()

    assert run_virtually(scenario, loop=loop) == 3
    assert bodies == [1, 2, 3]


@loops
def test_a_step_that_is_given_up_before_its_turn_is_recorded_so(loop: Loop) -> None:
    """A recovered program may give a step up while what was recorded earlier has not been asked for. That is recorded,
    or the step would seem to run for ever."""
    patience = [60.0, 0.0]
    pauses = [0.0, 1.0]

    @step
    async def work() -> None:
        await anyio.sleep(600)

    @workflow(name="impatient")
    async def impatient(ctx: Context) -> None:
        seconds, pause = patience.pop(0), pauses.pop(0)

        async def give_up() -> None:
            with anyio.move_on_after(seconds):
                await ctx.step(work)

        async def ask_later() -> None:
            await anyio.sleep(pause)
            await ctx.step(note, "asked")

        await ctx.gather(give_up(), ask_later())

    async def scenario() -> list[str]:
        store = MemoryStore()
        async with _kernel(impatient, backend=InMemoryBackend(store)) as kernel:
            run = await kernel.start(impatient)
            await anyio.sleep(1)
        async with _kernel(impatient, backend=InMemoryBackend(store)) as kernel:
            await kernel.result(run.run_id)
        return [row.type for row in store.runs[run.run_id].events]

    assert "step_cancelled" in run_virtually(scenario, loop=loop)


@loops
def test_a_run_is_brought_up_once_by_whoever_is_first(loop: Loop) -> None:
    """A run that is taken up, and asked for in the same instant, goes on once in the kernel that now owns it."""
    bodies: list[int] = []

    @step
    async def work() -> None:
        bodies.append(current_attempt().attempt)

    @workflow(name="once")
    async def once(ctx: Context) -> None:
        await ctx.wait_signal("go")
        await ctx.step(work)

    class Slow(InMemoryBackend):
        async def read_events(self, *args: Any) -> Any:
            await anyio.sleep(1)
            return await super().read_events(*args)

    async def scenario() -> None:
        store = MemoryStore()
        async with _kernel(once, backend=InMemoryBackend(store)) as kernel:
            run = await kernel.start(once)
        async with _kernel(once, backend=Slow(store), recover=False) as kernel, anyio.create_task_group() as group:
            group.start_soon(adopt, kernel, run.run_id)
            await anyio.sleep(2.5)  # it is claimed, and is being read
            group.start_soon(kernel._takeover.bring_back, run.run_id)
            await anyio.sleep(10)
            await kernel.signal(run.run_id, "go")
            await kernel.result(run.run_id)

    run_virtually(scenario, loop=loop)

    assert bodies == [1]


@loops
def test_a_run_that_has_ended_is_not_taken_up(loop: Loop) -> None:
    """Whoever looks at an interrupted run, and comes to claim it when somebody has just cancelled it, lets it be."""

    @workflow(name="idle")
    async def idle(ctx: Context) -> None:
        await ctx.wait_signal("never")

    class Late(InMemoryBackend):
        async def claim(self, run_id: str) -> RunSummary:
            await anyio.sleep(1)
            return await super().claim(run_id)

    async def scenario() -> list[str]:
        store = MemoryStore()
        async with _kernel(idle, backend=InMemoryBackend(store)) as kernel:
            run = await kernel.start(idle)
        async with (
            _kernel(idle, backend=InMemoryBackend(store), recover=False) as other,
            _kernel(idle, backend=Late(store), recover=False) as late,
            anyio.create_task_group() as group,
        ):
            group.start_soon(adopt, late, run.run_id)
            await anyio.sleep(0.5)
            await other.cancel(run.run_id)
        return [row.type for row in store.runs[run.run_id].events]

    assert run_virtually(scenario, loop=loop)[-2:] == ["cancel_requested", "run_cancelled"]


@loops
def test_a_signal_that_was_not_written_with_a_lost_run_comes_when_it_is_ours_again(loop: Loop) -> None:
    """A request that was on its way into the journal when the run was lost is still in the inbox, and is taken anew."""

    @workflow(name="gated")
    async def gated(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    async def scenario() -> Any:
        store = MemoryStore()
        backend = GatedBackend(store)
        async with _kernel(gated, backend=backend) as kernel, _kernel(gated, backend=InMemoryBackend(store)) as other:
            run = await kernel.start(gated)
            await anyio.sleep(1)
            backend.close_gate()
            await other.signal(run.run_id, "go", "came")
            await backend.waiting.wait()
            store.alive.discard(kernel.id)
            taken_over = await other.backend.claim(run.run_id)
            await other.backend.release([taken_over.uid])
            store.alive.add(kernel.id)
            backend.gate.set()
            await anyio.sleep(1)
            await adopt(kernel, run.run_id)
            with anyio.fail_after(60):
                return await run.result()

    assert run_virtually(scenario, loop=loop) == "came"


class _Patient(InMemoryBackend):
    """Takes a second for each claim of what is idle, and stands it so many times."""

    def __init__(self, store: MemoryStore, times: int) -> None:
        super().__init__(store)
        self.times = times

    async def claim_idle(
        self, statuses: Sequence[str], workflows: Sequence[str], limit: int, *, owner: str | None = None
    ) -> Sequence[RunSummary]:
        assert self.times, "the kernel claims the same runs over and over"
        self.times -= 1
        await anyio.sleep(1)
        return await super().claim_idle(statuses, workflows, limit, owner=owner)


@loops
@pytest.mark.parametrize("waits", [False, True], ids=["at work", "waiting"])
def test_runs_that_cannot_go_on_here_keep_nobody_from_those_behind_them(
    loop: Loop, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel claims what is idle by the page, oldest first. Runs of a newer release are given up at once, and are
    idle again; it comes to an end with them, also when they fill a page, and goes on with the run behind them."""
    monkeypatch.setattr(recovery, "CLAIM_AT_ONCE", 2)

    @step
    async def work() -> None:
        await anyio.sleep(60)

    @workflow(name="long")
    async def long(ctx: Context) -> str:
        await (ctx.sleep("1m") if waits else ctx.step(work))
        return "done"

    async def scenario() -> Any:
        store = MemoryStore()
        async with _kernel(long, backend=InMemoryBackend(store)) as kernel:
            for name in ("a", "b", "c", "good"):
                await kernel.start(long, run_id=name)
            await anyio.sleep(1)
        for name in ("a", "b", "c"):
            rows = store.runs[name].events
            rows[1] = rows[1]._replace(type="step_dreamt")
        await anyio.sleep(120)
        async with _kernel(long, backend=_Patient(store, times=10)) as kernel:
            await anyio.sleep(30)  # what waits is claimed in the background
            return await kernel.result("good")

    assert run_virtually(scenario, loop=loop) == "done"


@loops
def test_a_failed_store_keeps_nothing_of_those_it_has_refused(loop: Loop) -> None:
    """However many are told that the store has failed, the error does not grow by what their frames hold."""

    @workflow(name="listener")
    async def listener(ctx: Context) -> None:
        await ctx.wait_signal("go")

    async def scenario() -> list[int]:
        backend = _Failing(MemoryStore())
        async with _kernel(listener, backend=backend, max_resident=0) as kernel:
            await kernel.start(listener, run_id="away")
            await anyio.sleep(1)
            backend.is_broken = True
            depths: list[int] = []
            for _ in range(5):
                for call in (_call(kernel.start, listener), _call(kernel.result, "away")):
                    with pytest.raises(StoreError, match="on fire") as refused:
                        await call()
                    depths.append(len(list(traceback.walk_tb(refused.tb))))
        return depths

    depths = run_virtually(scenario, loop=loop)

    assert depths[-2:] == depths[2:4]


def test_a_kernel_that_closes_gives_up_no_run_before_what_it_has_recorded_is_written() -> None:
    """Closing kept it from bringing a run back, so it released it; what it had recorded for it just before was written
    behind that, and made it the owner again."""
    assert live_through(draw_first_edition(323790)).crashes > 0


def test_a_client_that_resumes_what_another_has_left_cancelled_and_dies() -> None:
    """The run fails after that, and no client is left to see to it. The kernel did as it was told; the model asked for
    a completed run (seed 8814932)."""
    assert live_through(draw_first_edition(8814932)).crashes > 0


@loops
def test_what_a_task_of_the_programs_own_asks_for_later_is_no_contradiction(loop: Loop) -> None:
    """A task that waits by itself before its step is slower than the program's own task, which was the slower one when
    that step was recorded. The run was paused as if its program had changed."""
    gate = anyio.Event()

    @workflow(name="unchanged")
    async def unchanged(ctx: Context) -> list[str]:
        late: list[str] = []

        async def later() -> None:
            await anyio.sleep(2)
            late.append(await ctx.step(note, "late", name="late"))

        async with anyio.create_task_group() as group:
            group.start_soon(later)
            first = await ctx.step(note, "first")
            await gate.wait()
            second = await ctx.step(note, "second")
        return [first, second, *late]

    async def scenario() -> Any:
        backend = InMemoryBackend()
        with suppress(StoreError):
            async with _kernel(unchanged, backend=backend) as kernel:
                await kernel.start(unchanged, run_id="r")
                await anyio.sleep(3)
                backend.kill()
        gate.set()
        async with _kernel(unchanged, backend=InMemoryBackend(backend.store)) as kernel:
            return await kernel.result("r")

    assert run_virtually(scenario, loop=loop) == ["first", "second", "late"]


class _Unsure(InMemoryBackend):
    """Its next claim of idle runs is durable and says that it has failed."""

    is_unsure = False

    async def claim_idle(
        self, statuses: Sequence[str], workflows: Sequence[str], limit: int, *, owner: str | None = None
    ) -> Sequence[RunSummary]:
        claimed = await super().claim_idle(statuses, workflows, limit, owner=owner)
        if self.is_unsure and claimed:
            self.is_unsure = False
            raise StoreError(self.url, "the answer was lost")
        return claimed


@loops
def test_a_forced_delete_gives_others_the_time_to_act(loop: Loop) -> None:
    """The kernel that has just claimed the run looks for it again in a second. Until then the delete asked the store
    over and over, and left a request in the inbox each time."""

    @step
    async def work() -> None:
        await anyio.sleep(600)

    @workflow(name="long")
    async def long(ctx: Context) -> None:
        await ctx.step(work)

    async def scenario() -> tuple[list[str], int]:
        store = MemoryStore()
        backend, dying = _Unsure(store), InMemoryBackend(store)
        async with _kernel(long, backend=backend) as heir:
            async with _kernel(long, backend=dying) as other:
                await other.start(long, run_id="r")
                await anyio.sleep(1)
                backend.is_unsure = True
                dying.kill()
                await anyio.wait_all_tasks_blocked()
            await heir.delete("r", force=True)
        return list(store.runs), store.posts

    left, posts = run_virtually(scenario, loop=loop)

    assert left == []
    assert posts < 50


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(9410, id="children that are to be cancelled when the kernel closes"),
        pytest.param(5107, id="a claim behind the last release of a kernel that closes"),
        pytest.param(15366, id="a child that begins after the cancel of its parent"),
        pytest.param(17959401710915, id="a variable that is set on a run that has run out of time"),
        pytest.param(17959410680505, id="a parent that asks without a pause for a child that could not be released"),
        pytest.param(17959412461549, id="the same of a single branch"),
        pytest.param(17959408131326, id="a child that was given up before its parent was paused and resumed"),
        pytest.param(17959391930810, id="an unchanged program that is paused as a changed one"),
        pytest.param(32430129, id="a task whose cancel asyncio.wait_for has swallowed, and that sleeps on"),
        pytest.param(32930264, id="a clock that is put right before a failed child is tried again"),
        pytest.param(420001421, id="a signal of another run, taken with a resume"),
        pytest.param(420006584, id="a parent that was taken over, and its child that was cancelled since"),
        pytest.param(9944, id="a child whose parent has ended in another kernel that closed before it could say so"),
    ],
)
def test_episodes_of_programs_that_use_the_event_loop_themselves(seed: int) -> None:
    """Each once broke a promise; tests/kernel has it as small as it gets."""
    outcome = live_through(draw_episode(seed))

    assert outcome.crashes + outcome.failed_writes > 0
