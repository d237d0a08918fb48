"""Claiming, releasing, and the runs of one owner that wait."""

from __future__ import annotations

from anyio import create_task_group, fail_after, move_on_after
from anyio.lowlevel import checkpoint

from flujo.kernel.backend import (
    ClaimedRun,
    Refused,
    Request,
    RunSummary,
    StateBackend,
)
from flujo.kernel.errors import (
    RunActiveError,
    RunNotFoundError,
)

from .harness import PATIENCE_SECONDS, Harness, behaviour, raising
from .values import create, creation, following, journal


def former_owners(*claimed: RunSummary) -> list[str | None]:
    """Return who has died as the owner of each run, as a claim tells."""
    return [run.former_owner if isinstance(run, ClaimedRun) else "untold" for run in claimed]


@behaviour
async def a_run_of_a_dead_owner_can_be_claimed(harness: Harness) -> None:
    """Claiming a run of a dead owner changes its owner, raises its token by one, and changes nothing else."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a", steps_done=4))
    await harness.kill(one)
    claimed = await two.claim("a")

    assert claimed == summary._replace(owner="two", token=2)
    assert former_owners(claimed) == ["one"]
    assert await two.load("a") == claimed


@behaviour
async def a_run_without_an_owner_can_be_claimed(harness: Harness) -> None:
    """A run that nobody has to advance can be claimed while everybody is alive."""
    one, two = await harness.open("one"), await harness.open("two")
    await create(one, creation("a", owner=None, status="failed", finished_at=5))

    claimed = await two.claim("a")
    assert (claimed.owner, former_owners(claimed)) == ("two", [None])


@behaviour
async def a_run_that_was_given_up_has_no_former_owner(harness: Harness) -> None:
    """Whoever claims it is told of an owner that has died over it, and of nobody who has released it."""
    one, two, three = await harness.open("one"), await harness.open("two"), await harness.open("three")
    freed = await create(one, creation("a"), creation("b"))
    await create(one, creation("c"))
    await one.release([run.uid for run in freed])
    await harness.kill(one)
    claimed = [await two.claim("a"), *await two.claim_idle(["running"], ["report"], 9)]
    await harness.kill(two)
    again = await three.claim_idle(["running"], ["report"], 9)

    assert [run.run_id for run in claimed] == ["a", "b", "c"]
    assert former_owners(*claimed) == [None, None, "one"]
    assert former_owners(*again) == ["two", "two", "two"]


@behaviour
async def a_run_of_a_live_owner_cannot_be_claimed(harness: Harness) -> None:
    """Claiming a run of a live owner raises RunActiveError and changes nothing."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a"))

    with raising(RunActiveError):
        await two.claim("a")
    assert await two.load("a") == summary


@behaviour
async def a_run_of_ones_own_cannot_be_claimed(harness: Harness) -> None:
    """Claiming a run one owns already raises RunActiveError."""
    one = await harness.open("one")
    await create(one, creation("a"))

    with raising(RunActiveError):
        await one.claim("a")
    assert (await one.load("a")).token == 1


@behaviour
async def an_unknown_run_cannot_be_claimed(harness: Harness) -> None:
    """Claiming a run that is not there raises RunNotFoundError; so does an id in other letters."""
    one = await harness.open("one")
    await create(one, creation("a", owner=None))
    for run_id in ("b", "A"):
        with raising(RunNotFoundError):
            await one.claim(run_id)


@behaviour
async def tokens_only_grow(harness: Harness) -> None:
    """Each change of owner raises the token by one; releasing, committing and reopening never lower it."""
    one = await harness.open("one")
    await create(one, creation("a"))
    await harness.kill(one)
    for token in range(2, 6):
        handle = await harness.open(f"owner{token}")
        claimed = await handle.claim("a")
        assert claimed.token == token
        await handle.append([following(claimed)])
        if token % 2:
            await handle.release(None)
        assert (await handle.load("a")).token == token
        await harness.kill(handle)


@behaviour
async def a_new_owner_continues_the_journal(harness: Harness) -> None:
    """After a takeover the new owner's commits stand, and those of anybody with the old token are refused."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a"))
    await one.append([following(summary)])
    await one.release(None)
    claimed = await two.claim("a")

    assert await two.append([following(claimed)]) == {}
    stale = summary._replace(seq=3)
    assert await one.append([following(stale)]) == {summary.uid: Refused.STALE}
    assert [row.seq for row in await journal(two, summary)] == [1, 2, 3]


@behaviour
async def a_run_comes_back_to_its_first_owner(harness: Harness) -> None:
    """An owner that gets a run back after another one changed it writes the whole summary again."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a"))
    await one.append([following(summary)])
    await one.release(None)
    theirs = following(await two.claim("a"), status="waiting", error_message="theirs")
    await two.append([theirs])
    await two.release(None)
    mine = following((await one.claim("a")), status="running", error_message=None)
    await one.append([mine])

    assert await one.load("a") == mine.summary


@behaviour
async def only_one_of_many_claims_wins(harness: Harness) -> None:
    """Of several owners that claim a run at once, one gets it and the others are told that it is active."""
    handles = [await harness.open(f"owner{number}") for number in range(4)]
    await create(handles[0], creation("a", owner=None))
    winners: list[RunSummary] = []

    async def claim(handle: StateBackend) -> None:
        try:
            winners.append(await handle.claim("a"))
        except RunActiveError:
            pass

    async with create_task_group() as tasks:
        for handle in handles:
            tasks.start_soon(claim, handle)
    assert [summary.token for summary in winners] == [2]
    assert await handles[0].load("a") == winners[0]


@behaviour
async def a_cancelled_claim_is_whole(harness: Harness) -> None:
    """A claim cancelled at any moment has changed owner and token together, or neither."""
    one, two = await harness.open("one"), await harness.open("two")
    for ticks in range(12):
        (summary,) = await create(one, creation(f"run{ticks}", owner=None))
        async with create_task_group() as tasks:
            tasks.start_soon(two.claim, summary.run_id)
            for _ in range(ticks):
                await checkpoint()
            tasks.cancel_scope.cancel()
        seen = await one.load(summary.run_id)
        assert seen in (summary, summary._replace(owner="two", token=2))


@behaviour
async def idle_runs_are_claimed_together(harness: Harness) -> None:
    """A new owner claims the runs of dead owners in one go, oldest first and no more than asked for."""
    dead = await harness.open("one")
    await create(dead, *(creation(f"r{number}", created_at=number) for number in (3, 1, 2)))
    await harness.kill(dead)
    heir = await harness.open("two")

    first = await heir.claim_idle(["running"], ["report"], 2)
    rest = await heir.claim_idle(["running"], ["report"], 2)

    assert [run.run_id for run in first] == ["r1", "r2"]
    assert [run.run_id for run in rest] == ["r3"]
    assert {(run.owner, run.token) for run in [*first, *rest]} == {("two", 2)}
    assert former_owners(*first, *rest) == ["one"] * 3
    assert await heir.load("r1") == first[0]
    assert not await heir.claim_idle(["running"], ["report"], 2)


@behaviour
async def the_runs_of_one_dead_owner_are_claimed(harness: Harness) -> None:
    """With an owner only what that one has left is claimed, and nothing while it is alive."""
    one, other, heir = await harness.open("one"), await harness.open("other"), await harness.open("heir")
    await create(one, creation("a", owner="one"))
    await create(other, creation("b", owner="other"))
    assert not await heir.claim_idle(["running"], ["report"], 9, owner="one")
    await harness.kill(one)
    await harness.kill(other)

    claimed = await heir.claim_idle(["running"], ["report"], 9, owner="one")

    assert [run.run_id for run in claimed] == ["a"]
    assert (await heir.load("b")).owner == "other"


@behaviour
async def a_kernel_that_lives_is_told_of_one_that_died(harness: Harness) -> None:
    """Each death is told once to each handle, with the id of the owner."""
    dead, heir = await harness.open("one"), await harness.open("two")
    told: list[str] = []

    async def listen() -> None:
        while "one" not in told:
            told.extend(await heir.wait_for_dead_owners())

    async with create_task_group() as tasks:
        tasks.start_soon(listen)
        await harness.kill(dead)

    assert told.count("one") == 1
    assert "two" not in told


@behaviour
async def only_idle_runs_that_fit_are_claimed(harness: Harness) -> None:
    """Runs of live owners, of other statuses, and of workflows nobody knows, stay; a stored definition is enough."""
    dead, alive = await harness.open("one"), await harness.open("live")
    await create(
        dead,
        creation("mine"),
        creation("waiting", status="waiting"),
        creation("stranger", workflow="strange"),
        creation("told", workflow="strange", definition="d1"),
    )
    await create(alive, creation("theirs", owner="live"))
    await harness.kill(dead)
    heir = await harness.open("two")

    claimed = await heir.claim_idle(["running"], ["report"], 10)

    assert {run.run_id for run in claimed} == {"mine", "told"}
    assert (await heir.load("theirs")).owner == "live"
    assert (await heir.load("waiting")).token == 1


@behaviour
async def due_runs_come_soonest_first(harness: Harness) -> None:
    """Of the runs that wait, those whose time has come, and when the next one's will have."""
    handle, other = await harness.open("one"), await harness.open("two")
    for number, wake_at in enumerate((300, 100, 200, None)):
        await create(handle, creation(f"r{number}", status="waiting", wake_at=wake_at))
    await create(other, creation("theirs", owner="two", status="waiting", wake_at=1))

    none, some, bounded = await handle.due(99, 10), await handle.due(250, 10), await handle.due(1_000, 2)

    assert (list(none.runs), none.next) == ([], 100)
    assert ([run.run_id for run in some.runs], some.next) == (["r1", "r2"], 300)
    assert ([run.run_id for run in bounded.runs], bounded.next) == (["r1", "r2"], 300)
    assert (await handle.due(1_000, 10)).next is None


@behaviour
async def releasing_gives_up_every_run(harness: Harness) -> None:
    """Releasing without names gives up all runs of this owner, with their tokens, and none of another one."""
    one, two = await harness.open("one"), await harness.open("two")
    (a, b) = await create(one, creation("a"), creation("b"))
    (c,) = await create(two, creation("c", "two"))
    await one.release(None)

    assert await two.load("a") == a._replace(owner=None)
    assert await two.load("b") == b._replace(owner=None)
    assert await two.load("c") == c


@behaviour
async def releasing_some_keeps_the_others(harness: Harness) -> None:
    """Releasing by uid gives up those runs only, and never one of another owner."""
    one, two = await harness.open("one"), await harness.open("two")
    (a, b) = await create(one, creation("a"), creation("b"))
    (c,) = await create(two, creation("c", "two"))
    await one.release([a.uid, c.uid])

    assert await one.load("a") == a._replace(owner=None)
    assert await one.load("b") == b
    assert await one.load("c") == c


@behaviour
async def runs_that_nobody_has_are_claimed_together(harness: Harness) -> None:
    """Runs without an owner, and those of owners that have closed, are idle like those of the dead."""
    gone, heir = await harness.open("one"), await harness.open("two")
    await create(gone, creation("free", None, created_at=1), creation("left", created_at=2))
    await gone.close()

    claimed = await heir.claim_idle(["running"], ["report"], 10)

    assert [run.run_id for run in claimed] == ["free", "left"]


@behaviour
async def equally_old_runs_are_claimed_by_id(harness: Harness) -> None:
    """Idle runs of the same instant are claimed in the order of their ids."""
    heir = await harness.open("two")
    await create(heir, *(creation(run_id, None, created_at=5) for run_id in ("c", "a", "B", "d")))

    claimed = [(await heir.claim_idle(["running"], ["report"], 1))[0].run_id for _ in range(4)]

    assert claimed == ["B", "a", "c", "d"]


@behaviour
async def no_idle_run_is_claimed_twice(harness: Harness) -> None:
    """Owners that claim idle runs at once share them: each run goes to one, with one new token."""
    handles = [await harness.open(f"owner{number}") for number in range(3)]
    await create(handles[0], *(creation(f"run{number}", None) for number in range(30)))
    claimed: list[RunSummary] = []

    async def claim(handle: StateBackend) -> None:
        while found := await handle.claim_idle(["running"], ["report"], 4):
            claimed.extend(found)

    async with create_task_group() as tasks:
        for handle in handles:
            tasks.start_soon(claim, handle)
    assert len(claimed) == len({run.run_id for run in claimed}) == 30
    for run in claimed:
        assert await handles[0].load(run.run_id) == run
        assert run.token == 2


@behaviour
async def idle_runs_of_several_statuses_are_claimed(harness: Harness) -> None:
    """All statuses that are named are looked for, and a run of another one stays."""
    heir = await harness.open("two")
    statuses = ("running", "waiting", "paused", "pending", "completed")
    await create(heir, *(creation(status, None, status=status) for status in statuses))

    claimed = await heir.claim_idle(["waiting", "running", "pending"], ["report"], 10)

    assert {run.run_id for run in claimed} == {"running", "waiting", "pending"}
    assert (await heir.load("paused")).owner is None


@behaviour
async def a_claim_of_idle_runs_fences_their_owner(harness: Harness) -> None:
    """A commit with the token from before a run was claimed with others is refused."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a"))
    await one.release(None)
    (claimed,) = await two.claim_idle(["running"], ["report"], 10)

    assert await one.append([following(summary)]) == {summary.uid: Refused.STALE}
    assert await two.append([following(claimed)]) == {}


@behaviour
async def idle_runs_bring_their_posts(harness: Harness) -> None:
    """A wait after idle runs were claimed ends at once if one of them has an open request."""
    heir = await harness.open("two")
    await create(heir, creation("a", None))
    await heir.post("a", Request("signal", "{}", 1))
    await heir.take()
    await heir.claim_idle(["running"], ["report"], 10)
    with fail_after(PATIENCE_SECONDS):
        await heir.wait_for_posts()

    assert len(await heir.take()) == 1


@behaviour
async def releasing_twice_is_harmless(harness: Harness) -> None:
    """Releasing nothing, strangers, or what was released before changes nothing, and the owner stays alive."""
    one = await harness.open("one")
    (a, b) = await create(one, creation("a"), creation("b"))
    await one.release([])
    await one.release(["nobody"])
    assert await one.load("a") == a
    await one.release([a.uid])
    await one.release([a.uid])

    assert await one.load("a") == a._replace(owner=None)
    assert await one.load("b") == b
    assert await one.is_alive("one")


@behaviour
async def a_released_run_is_written_to_until_it_is_claimed(harness: Harness) -> None:
    """Releasing keeps the token, so a commit that was on its way stands; after the next claim it would not."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    await one.release(None)
    late = following(summary, owner=None)

    assert await one.append([late]) == {}
    assert (await one.load("a")).owner is None


@behaviour
async def a_commit_may_give_up_its_run(harness: Harness) -> None:
    """A commit whose summary names no owner ends the ownership, and everybody may claim the run."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a"))
    last = following(summary, owner=None, status="completed", finished_at=5)
    await one.append([last])

    assert await one.load("a") == last.summary
    assert (await two.claim("a")).token == 2


@behaviour
async def a_run_is_due_at_its_instant(harness: Harness) -> None:
    """A run whose instant is the one asked about is due, one whose instant is a microsecond later is the next."""
    one = await harness.open("one")
    await create(one, creation("now", wake_at=100), creation("next", wake_at=101))
    due = await one.due(100, 10)

    assert ([run.run_id for run in due.runs], due.next) == (["now"], 101)


@behaviour
async def nobody_is_due_without_an_instant(harness: Harness) -> None:
    """Without a run that waits for an instant none is due and there is no next one."""
    one = await harness.open("one")
    await create(one, creation("a"), creation("free", None, wake_at=1))
    due = await one.due(1_000, 10)

    assert (list(due.runs), due.next) == ([], None)


@behaviour
async def a_commit_moves_the_instant(harness: Harness) -> None:
    """A commit that names another instant, or none, changes when its run is due."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", wake_at=100))
    for wake_at in (200, 50, None, 300):
        commit = following(summary, wake_at=wake_at)
        await one.append([commit])
        summary = commit.summary
        due = await one.due(1_000, 10)
        assert list(due.runs) == ([] if wake_at is None else [summary])
        assert (await one.due(0, 10)).next == wake_at


@behaviour
async def due_runs_follow_their_owner(harness: Harness) -> None:
    """A run that was claimed is due for its new owner, one that was released or deleted for nobody."""
    one, two = await harness.open("one"), await harness.open("two")
    (_, gone) = await create(one, creation("a", wake_at=1), creation("b", wake_at=1))
    await one.release(None)
    assert list((await one.due(10, 10)).runs) == []
    claimed = await two.claim("a")
    await two.delete("b", gone.uid)

    assert list((await two.due(10, 10)).runs) == [claimed]
    assert list((await one.due(10, 10)).runs) == []


@behaviour
async def many_runs_wait(harness: Harness) -> None:
    """Of hundreds of runs that wait, the soonest are found in their order, and the next behind them."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{n}", wake_at=1_000 + n * 7_919 % 400) for n in range(400)))
    due = await one.due(5_000, 50)

    assert [run.wake_at for run in due.runs] == list(range(1_000, 1_050))
    assert due.next == 1_050


@behaviour
async def a_share_is_claimed_until_none_is_left(harness: Harness) -> None:
    """Whoever asks again and again comes to have every idle run that fits, each with one new token, and never more at
    once than there is room for."""
    dead, heir = await harness.open("one"), await harness.open("two")
    await create(dead, *(creation(f"r{number}", created_at=number) for number in range(7)), creation("s", workflow="x"))
    await create(heir, creation("free", None, created_at=50), creation("mine", "two"))
    await harness.kill(dead)
    claimed: list[RunSummary] = []
    while found := await heir.claim_share(["running"], ["report"], 3, {}):
        assert len(found) <= 3
        claimed += found

    assert [run.run_id for run in claimed] == [*(f"r{number}" for number in range(7)), "free"]
    assert {(run.owner, run.token) for run in claimed} == {("two", 2)}
    assert former_owners(*claimed) == [*["one"] * 7, None]
    assert (await heir.load("s")).owner == "one"


@behaviour
async def what_is_unfit_is_left(harness: Harness) -> None:
    """A run that could not go on here is no part of a share, until it has moved."""
    heir = await harness.open("two")
    (fit, unfit) = await create(heir, creation("fit", None), creation("unfit", None))
    claimed = await heir.claim_share(["running"], ["report"], 10, {unfit.uid: unfit.seq})
    assert [run.run_id for run in claimed] == ["fit"]
    assert (await heir.load("unfit")).owner is None

    claimed = await heir.claim_share(["running"], ["report"], 10, {unfit.uid: unfit.seq - 1, fit.uid: 9})
    assert [run.run_id for run in claimed] == ["unfit"]


@behaviour
async def a_live_owner_is_certain(harness: Harness) -> None:
    """An owner that reaches its store has no doubt that it counts as alive."""
    one = await harness.open("one")
    with move_on_after(0) as moment:
        await one.wait_for_doubt()

    assert moment.cancelled_caught
    assert await one.wait_for_certainty()


@behaviour
async def a_lease_is_renewed_in_time(harness: Harness) -> None:
    """An owner with a lease knows for how long it surely counts as alive, less than the lease, and that grows in time;
    without a lease there is no such time."""
    one = await harness.open("one")
    lease, seconds = one.capabilities.lease_seconds, one.certain_seconds()
    if lease is None or seconds is None:
        assert (lease, seconds) == (None, None)
        return
    await one.wait_for_renewal()
    renewed = one.certain_seconds()

    assert 0 < seconds < lease
    assert renewed is not None
    assert 0 < renewed < lease
