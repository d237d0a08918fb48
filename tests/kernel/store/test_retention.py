"""Old runs are forgotten by rules, in virtual time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.backends.conformance import create, settled
from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, Kernel, Observer, Retention, RunFailed, Workflow, step, workflow
from flujo.kernel.backend import Removal, RunFilter, RunSummary
from flujo.kernel.clock import SystemClock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import DeclarationError, InvalidDurationError, StoreError, StoreFullError
from flujo.kernel.state import RunStatus
from flujo.kernel.store.retention import BATCH, INTERVAL, Sweeper, expired
from flujo.kernel.testing import Loop, Stuck, VirtualClock, run_virtually, run_workflow

DAY = 86_400.0
MINUTE = 60.0

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


@step
async def check(fails: bool) -> None:
    if fails:
        raise ValueError("no")


def job(retention: Retention | None = None, name: str = "job") -> Workflow:
    """A workflow whose runs end at once, well or badly."""

    @workflow(name=name, retention=retention)
    async def program(ctx: Context, fails: bool = False) -> None:
        await ctx.step(check, fails)

    return program


@workflow()
async def waiting(ctx: Context) -> None:
    await ctx.wait_signal("go")


async def run(kernel: Kernel, flow: Workflow, *run_ids: str, fails: bool = False) -> None:
    """Take new runs to their end."""
    for run_id in run_ids:
        try:
            await kernel.run(flow, {"fails": fails}, run_id=run_id)
        except RunFailed:
            assert fails


def virtually(loop: Loop, story: Callable[[MemoryStore], Awaitable[None]]) -> None:
    """A story on a new store, in virtual time."""
    run_virtually(lambda: story(MemoryStore()), loop=loop)


def opened(store: MemoryStore, *workflows: Workflow, backend: InMemoryBackend | None = None, **options: Any) -> Kernel:
    """A kernel on virtual time, to be opened. It looks for no workspaces, for which it takes a thread: trio's virtual
    time does not stand still meanwhile."""
    kernel = Kernel(backend or InMemoryBackend(store), workflows, clock=VirtualClock(), **options)
    kernel._files.folder = None
    return kernel


# -- the rule itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "seconds"),
    [
        (Retention(completed="30d"), {"completed": 30 * DAY}),
        (Retention(completed=0, failed="1h", cancelled=2), {"completed": 0.0, "failed": 3600.0, "cancelled": 2.0}),
        (Retention(failed="90d", last=100), {"failed": 90 * DAY}),
        (Retention(last=1), {"completed": 0.0, "failed": 0.0, "cancelled": 0.0}),
    ],
)
def test_a_status_without_a_duration_is_kept(rule: Retention, seconds: dict[str, float]) -> None:
    """Unless the rule only says how many to keep: then it keeps nothing else."""
    assert rule.seconds == seconds


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("completed=30d,failed=90d,last=100", Retention(completed="30d", failed="90d", last=100)),
        (" cancelled = 0 ", Retention(cancelled=0)),
        ("last=1", Retention(last=1)),
    ],
)
def test_a_rule_is_read(text: str, rule: Retention) -> None:
    """As it is written on a command line."""
    assert Retention.parse(text) == rule


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (Retention, DeclarationError, "says nothing"),
        (lambda: Retention(last=0), DeclarationError, "from 1 or None, not 0"),
        (lambda: Retention(last=True), DeclarationError, "from 1 or None, not True"),
        (lambda: Retention(completed="soon"), InvalidDurationError, "'soon'"),
        (lambda: Retention.parse("completed=soon"), InvalidDurationError, "'soon'"),
        (lambda: Retention.parse("paused=1d"), DeclarationError, "'paused=1d' is not one of completed, failed"),
        (lambda: Retention.parse("completed"), DeclarationError, "'completed' is not one of"),
        (lambda: Retention.parse(""), DeclarationError, "'' is not one of"),
        (lambda: Retention.parse("last=1,last=2"), DeclarationError, "'last' is given twice"),
        (lambda: Retention.parse("last=many"), DeclarationError, "not 'many'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(make: Callable[[], Any], error: type[Exception], says: str) -> None:
    """Where it is written, and not when it is applied."""
    with pytest.raises(error, match=says):
        make()


# -- what it lets go -----------------------------------------------------------------------------------------------


@loops
def test_runs_go_once_they_are_as_old_as_their_status_allows(loop: Loop) -> None:
    """Not before, and counted from their end; a status the rule does not name stays."""

    async def story(store: MemoryStore) -> None:
        flow = job(Retention(completed="1h", failed="2h"))
        async with opened(store, flow, waiting) as kernel:
            await run(kernel, flow, "good")
            await run(kernel, flow, "bad", fails=True)
            await kernel.start(waiting, run_id="live")
            await kernel.start(waiting, run_id="cancelled")
            await kernel.cancel("cancelled")
            await kernel.wait("cancelled")
            await anyio.sleep(59 * MINUTE)
            assert set(store.runs) == {"good", "bad", "live", "cancelled"}
            await anyio.sleep(5 * MINUTE)
            assert set(store.runs) == {"bad", "live", "cancelled"}
            await anyio.sleep(5 * DAY)
            assert set(store.runs) == {"live", "cancelled"}

    virtually(loop, story)


@loops
def test_the_last_runs_of_a_workflow_stay(loop: Loop) -> None:
    """The newest by creation of those that have ended, whatever their status and age; live ones do not count."""

    async def story(store: MemoryStore) -> None:
        flow, other = job(Retention(completed="1h", last=2)), job(Retention(last=1), name="other")

        @workflow(name="job", retention=flow.retention)
        async def live(ctx: Context) -> None:
            await ctx.wait_signal("go")

        async with opened(store, flow, other) as kernel:
            for number in range(3):
                await run(kernel, flow, f"job-{number}")
                await run(kernel, other, f"other-{number}")
                await anyio.sleep(1)
            await run(kernel, flow, "failed", fails=True)
        async with opened(store, live) as kernel:
            await anyio.sleep(1)
            await kernel.start(live, run_id="live-1")
            await kernel.start(live, run_id="live-2")
            await anyio.sleep(3 * DAY)
            assert set(store.runs) == {"job-2", "failed", "live-1", "live-2", "other-0", "other-1", "other-2"}
        async with opened(store, other):
            await anyio.sleep(1)
            assert {run_id for run_id in store.runs if run_id.startswith("other")} == {"other-2"}

    virtually(loop, story)


@loops
def test_a_workflows_own_rule_goes_before_that_of_the_store(loop: Loop) -> None:
    """Whole: a status it does not name is not looked up elsewhere. All other workflows go by the store's, each with its
    own last runs, also those the kernel does not know."""

    async def story(store: MemoryStore) -> None:
        own, plain, unknown = job(Retention(failed="1d"), "own"), job(None, "plain"), job(None, "unknown")
        async with opened(store, own, plain, unknown) as kernel:
            for number in range(2):
                for flow in (own, plain, unknown):
                    await run(kernel, flow, f"{flow.name}-{number}")
                await anyio.sleep(1)
            await run(kernel, own, "own-failed", fails=True)
        async with opened(store, own, plain, retention=Retention(completed="2d", last=1)):
            await anyio.sleep(1.5 * DAY)
            assert set(store.runs) == {"own-0", "own-1", "plain-0", "plain-1", "unknown-0", "unknown-1"}
            await anyio.sleep(1 * DAY)
            assert set(store.runs) == {"own-0", "own-1", "plain-1", "unknown-1"}

    virtually(loop, story)


@loops
def test_families_go_whole_and_count_as_one(loop: Loop) -> None:
    """A run that another one has started goes with it, however old, and is none of the last runs."""

    async def story(store: MemoryStore) -> None:
        child = job(Retention(last=1), name="child")

        @workflow(name="parent", retention=Retention(completed="2h"))
        async def parent(ctx: Context) -> None:
            await ctx.run_child(child)

        async with opened(store, parent, child) as kernel:
            await run(kernel, child, "lone-1")
            await anyio.sleep(1)
            await run(kernel, child, "lone-2")
            for number in range(2):
                await kernel.run(parent, run_id=f"p{number}")
            await anyio.sleep(1.5 * 3600)
            families = {run_id for run_id in store.runs if run_id.startswith("p")}
            assert set(store.runs) == families | {"lone-2"}
            assert len(families) == 4
            await anyio.sleep(3600)
            assert set(store.runs) == {"lone-2"}

    virtually(loop, story)


@loops
def test_a_paused_run_is_never_old(loop: Loop) -> None:
    """Somebody has to decide about it first."""

    async def story(store: MemoryStore) -> None:
        async with opened(store, waiting, retention=Retention(last=1)) as kernel:
            await kernel.start(waiting, run_id="paused")
            await kernel.pause("paused")
            await kernel.wait("paused")
            await anyio.sleep(5 * DAY)
            assert store.runs["paused"].summary.status == "paused"

    virtually(loop, story)


def test_workspaces_go_with_their_runs(tmp_path: Path) -> None:
    """The folder and the log that flujo has made."""

    async def story(store: MemoryStore) -> None:
        flow = job(Retention(completed=0))
        async with Kernel(InMemoryBackend(store), [flow], clock=VirtualClock(), workspaces=tmp_path) as kernel:
            await run(kernel, flow, "r")
            (tmp_path / "r").mkdir()
            (tmp_path / "r.log").touch()
            await anyio.sleep(10 * MINUTE)
            assert not store.runs

    virtually("asyncio", story)
    assert list(tmp_path.iterdir()) == []


# -- how it is applied ---------------------------------------------------------------------------------------------


class Prunes(InMemoryBackend):
    """Remembers when how much was removed, and fails while there is a `trouble`."""

    trouble: Exception | None = None

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.removed: list[tuple[int, int]] = []

    async def prune(self, filter: RunFilter, *, limit: int, dry_run: bool) -> Removal:
        if self.trouble is not None:
            raise self.trouble
        removal = await super().prune(filter, limit=limit, dry_run=dry_run)
        if removal.total:
            self.removed.append((VirtualClock().now(), removal.total))
        return removal


@loops
def test_many_old_runs_go_a_batch_at_a_time_from_the_start(loop: Loop) -> None:
    """With a pause in between, and then every few minutes."""

    async def story(store: MemoryStore) -> None:
        flow = job(Retention(completed="1h"))
        async with opened(store, flow) as kernel:
            for number in range(2 * BATCH + 1):
                await run(kernel, flow, f"r{number}")
        await anyio.sleep(2 * 3600)
        backend = Prunes(store)
        begun = VirtualClock().now()
        async with opened(store, flow, backend=backend) as kernel:
            await anyio.sleep(MINUTE)
            assert [number for _, number in backend.removed] == [BATCH, BATCH, 1]
            instants = [round((instant - begun) / MICROSECONDS) for instant, _ in backend.removed]
            assert instants == [0, 1, 2]
            await run(kernel, flow, "late")
            await anyio.sleep(3600 + INTERVAL / MICROSECONDS)
            assert backend.removed[3][1] == 1
        assert not store.runs

    virtually(loop, story)


@loops
def test_a_kernel_that_closes_at_once_forgets_a_batch(loop: Loop) -> None:
    """However short its life: a process that is started for one run now and then is enough."""

    async def story(store: MemoryStore) -> None:
        flow = job()
        async with opened(store, flow) as kernel:
            await run(kernel, flow, "old")
            await anyio.sleep(1)
            await run(kernel, flow, "new")
        async with opened(store, job(Retention(last=1))):
            pass
        assert set(store.runs) == {"new"}

    virtually(loop, story)


@loops
@pytest.mark.parametrize(
    "trouble", [StoreFullError("memory:"), StoreError("memory:", "gone"), ZeroDivisionError("bug")]
)
def test_what_goes_wrong_is_logged_and_tried_again(
    loop: Loop, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel and its runs go on."""

    async def story(store: MemoryStore) -> None:
        flow = job(Retention(completed=0))
        backend = Prunes(store)
        backend.trouble = trouble
        async with opened(store, flow, backend=backend) as kernel:
            await run(kernel, flow, "r")
            await anyio.sleep(10 * MINUTE)
            assert set(store.runs) == {"r"}
            backend.trouble = None
            await anyio.sleep(10 * MINUTE)
            assert not store.runs

    with caplog.at_level(logging.WARNING, "flujo.kernel"):
        virtually(loop, story)
    assert "old runs are not forgotten" in caplog.text


@loops
def test_a_definition_that_is_sent_later_makes_no_run_go(loop: Loop) -> None:
    """Only the workflows a kernel was opened with have a say, or whoever may start a run could delete others."""

    async def story(store: MemoryStore) -> None:
        async with opened(store, job()) as kernel:
            await kernel.run("job", run_id="r")
            greedy = job(Retention(last=1), name="greedy")
            await run(kernel, greedy, "g1", "g2")
            await anyio.sleep(2 * DAY)
            assert set(store.runs) == {"r", "g1", "g2"}

    virtually(loop, story)


@loops
def test_an_owner_that_lives_keeps_its_runs(loop: Loop) -> None:
    """A run that another kernel has taken up again is not old any more, whatever became of it before."""

    async def story(store: MemoryStore) -> None:
        flow = job()

        @workflow(name="job", retention=Retention(failed=0))
        async def patient(ctx: Context, fails: bool = False) -> None:
            await ctx.wait_signal("go")

        async with opened(store, flow) as kernel:
            await run(kernel, flow, "r", fails=True)
        async with opened(store, waiting, patient, recover=False) as sweeping:
            await anyio.sleep(1)
            assert not store.runs
            await sweeping.start(patient, run_id="live")
            await anyio.sleep(2 * DAY)
            assert (await Observer(sweeping.backend).summary("live")).status == RunStatus.WAITING

    virtually(loop, story)


async def test_what_is_expired_is_a_matter_of_status_and_age() -> None:
    """One filter for each status, which the last runs are outside of."""
    store = MemoryStore()
    flow = job()
    async with Kernel(InMemoryBackend(store), [flow]) as kernel:
        await run(kernel, flow, "old")
        await run(kernel, flow, "new")
        rule = Retention(completed=10, failed="1h", last=1)
        now = 10**15
        filters = await expired(kernel.backend, "job", rule, now)
        none = await expired(kernel.backend, "job", Retention(completed=10, last=3), now)

    assert [(each.statuses, each.settled_before) for each in filters] == [
        (("completed",), now - 10 * MICROSECONDS + 1),
        (("failed",), now - 3600 * MICROSECONDS + 1),
    ]
    assert {each.created_before for each in filters} == {store.runs["new"].summary.created_at}
    assert none == []


def test_a_stuck_run_is_found_out_although_its_workflow_has_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools for tests forget no old runs, which would keep virtual time going for ever."""
    monkeypatch.setattr("flujo.kernel.testing.virtual.STUCK_SECONDS", 0.05)

    @workflow(retention=Retention(completed="1d"))
    async def stuck(ctx: Context) -> None:
        await ctx.wait_signal("never")

    with pytest.raises(Stuck):
        run_workflow(stuck)


class SetClock(SystemClock):
    """A machine's clock that somebody sets by so many days, at the end of the sleeps with these numbers."""

    def __init__(self, set_by_days: Mapping[int, int]) -> None:
        self.passed, self.set_by, self.sleeps = 0, 0, 0
        self._days = set_by_days
        super().__init__(lambda: 1_000 * (NOW + self.passed + self.set_by), lambda: 1_000 * self.passed)

    async def sleep_until(self, instant: int) -> None:
        await checkpoint()
        self.passed += INTERVAL
        self.sleeps += 1
        self.set_by += round(self._days.get(self.sleeps, 0) * DAY * MICROSECONDS)


NOW = 1_767_225_600 * MICROSECONDS


@pytest.mark.parametrize(
    ("set_by_days", "gone_at"),
    [
        ({}, None),
        ({2: 400}, 3),  # the look right after it forgets nothing, the next one believes it
        ({2: 400, 3: -400}, None),  # put right in between
        ({2: -400}, None),
        ({2: 400, 3: 400}, 4),  # each jump is waited for
    ],
    ids=["never", "forward", "forward and back", "back", "forward twice"],
)
async def test_retention_waits_for_a_second_look(set_by_days: Mapping[int, int], gone_at: int | None) -> None:
    """A clock that is set forward by a year makes no run go at the next look; if it still says so at the one after,
    they go."""
    store = InMemoryBackend()
    await store.open("one")
    ended = settled("a", NOW - round(DAY * MICROSECONDS))
    await create(store, ended)
    clock = SetClock(set_by_days)
    looks: list[int] = []
    prune = store.prune

    async def pruned(filter: RunFilter, *, limit: int, dry_run: bool) -> Removal:
        removal = await prune(filter, limit=limit, dry_run=dry_run)
        if removal.total:
            looks.append(clock.sleeps)
        return removal

    store.prune = pruned  # type: ignore[method-assign]

    async def forget_files(runs: Sequence[RunSummary]) -> None:
        pass

    sweeper = Sweeper(store, clock, {}, Retention(completed="30d"), forget_files)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sweeper.serve)
        while clock.sleeps < 6:
            await checkpoint()
        tasks.cancel_scope.cancel()

    assert looks == ([] if gone_at is None else [gone_at])
    await store.close()
