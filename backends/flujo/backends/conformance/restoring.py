"""Restoring: a copy that `backup` has written in the place of its store.

A backend may read the journals of a copy before it trusts them, so the runs here hold events that a kernel could have
recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

from flujo.kernel.backend import Commit, Refused, RunFilter, RunSummary, StateBackend
from flujo.kernel.errors import InvalidNameError, StoreError, StoreExistsError, StoreInUseError, StoreNotFoundError
from flujo.kernel.events import Event, Fact, RunCreated, StepCompleted, StepStarted, encode
from flujo.kernel.transitions import replay, summarize

from .harness import Harness, behaviour, empty_folder, raising
from .values import create, journal, listed


def recorded(run_id: str, owner: str | None, *facts: Fact) -> Commit:
    """Return a commit that creates a run in which these events have happened."""
    happened: Sequence[Fact] = (RunCreated("report", "{}"), *facts)
    rows = [encode(Event(seq, 1_000 + seq, fact)) for seq, fact in enumerate(happened, 1)]
    summary = summarize(replay(run_id, f"uid-of-{run_id}", rows), owner, 1)
    return Commit(run_id, summary.uid, 1, 0, rows, summary)


def continued(summary: RunSummary) -> Commit:
    """Return a commit of a run's owner that adds one event."""
    row = encode(Event(summary.seq + 1, 2_000, StepStarted("next")))
    after = summary._replace(seq=summary.seq + 1, updated_at=2_000, current_step="next")
    return Commit(summary.run_id, summary.uid, summary.token, summary.seq, [row], after)


async def in_use(harness: Harness) -> StateBackend:
    """Return a store with a run of its owner, one that nobody has to advance, and a large output."""
    one = await harness.open("one")
    large = StepCompleted("first", '"' + "größe" * 100_000 + '"')
    await create(one, recorded("held", "one"), recorded("left", None, StepStarted("first"), large))
    return one


@behaviour
async def what_restores_nothing_says_so(harness: Harness) -> None:
    """A backend that puts no copy back refuses to, and says so."""
    one = harness.handle()
    if one.capabilities.restorable:
        return
    with empty_folder() as folder, raising(StoreError):
        await one.restore(folder / "copy")


@behaviour
async def a_copy_comes_back(harness: Harness) -> None:
    """Put into the place of its store, a copy brings back what was there when it was made and nothing of what came
    later. A store that is there is replaced only if that is asked for."""
    one = await in_use(harness)
    if not one.capabilities.restorable:
        return
    left = await one.load("left")
    before = list(await journal(one, left))
    with empty_folder() as folder:
        await one.backup(folder / "copy")
        await create(one, recorded("later", None))
        await one.close()
        with raising(StoreExistsError):
            await harness.handle().restore(folder / "copy")
        size = await harness.handle().restore(folder / "copy", force=True)
        two = await harness.open("two")

        assert sorted(await listed(two)) == ["held", "left"]
        assert (await two.load("left"))._replace(token=left.token) == left
        assert list(await journal(two, left)) == before
        assert list(await two.integrity()) == []
        assert size > 500_000


@behaviour
async def a_store_that_came_back_is_another_one(harness: Harness) -> None:
    """Its identity is new each time, and a page token of before is refused: what it goes on with is not what was to
    follow."""
    one = await in_use(harness)
    if not one.capabilities.restorable:
        return
    identities = [await one.identity()]
    token = (await one.list(RunFilter(), limit=1)).next
    with empty_folder() as folder:
        await one.backup(folder / "copy")
        await one.close()
        for _ in range(2):
            await harness.handle().restore(folder / "copy", force=True)
            two = await harness.open(None)
            identities.append(await two.identity())
            with raising(InvalidNameError):
                await two.list(RunFilter(), limit=1, page=token)
            await two.close()

    assert len(set(identities)) == 3


@behaviour
async def a_copy_that_came_back_stays_as_it_is(harness: Harness) -> None:
    """A copy can be put back again, whatever has become of the store that was made of it."""
    one = await in_use(harness)
    if not one.capabilities.restorable:
        return
    with empty_folder() as folder:
        await one.backup(folder / "copy")
        await one.close()
        await harness.handle().restore(folder / "copy", force=True)
        two = await harness.open("two")
        await two.delete("left", (await two.load("left")).uid)
        await two.close()
        await harness.handle().restore(folder / "copy", force=True)

        assert sorted(await listed(await harness.open(None))) == ["held", "left"]


@behaviour
async def nobody_owns_what_came_back(harness: Harness) -> None:
    """The owner of a run when the copy was made cannot commit to it in the store that came back; any kernel can claim
    it there."""
    one = await in_use(harness)
    if not one.capabilities.restorable:
        return
    held = await one.load("held")
    with empty_folder() as folder:
        await one.backup(folder / "copy")
        await harness.kill(one)
        await harness.handle().restore(folder / "copy", force=True)
    two = await harness.open("two")
    claimed = await two.claim("held")

    assert claimed.token > held.token
    assert await two.append([continued(held)]) == {held.uid: Refused.STALE}
    assert await two.append([continued(claimed)]) == {}


@behaviour
async def a_store_in_use_is_not_replaced(harness: Harness) -> None:
    """While a kernel is alive on a store, and through a handle that is open, no copy takes its place."""
    one = await in_use(harness)
    if not one.capabilities.restorable:
        return
    with empty_folder() as folder:
        await one.backup(folder / "copy")
        await create(one, recorded("later", None))
        with raising(StoreInUseError):
            await harness.handle().restore(folder / "copy", force=True)
        with raising(StoreError):
            await one.restore(folder / "copy", force=True)

    assert sorted(await listed(one)) == ["held", "later", "left"]


@behaviour
async def what_is_no_copy_does_not_come_back(harness: Harness) -> None:
    """Where there is no copy nothing is put back, and the store that is there stays."""
    one = await in_use(harness)
    if not one.capabilities.restorable:
        return
    await one.close()
    with empty_folder() as folder, raising(StoreNotFoundError):
        await harness.handle().restore(folder / "nosuch", force=True)

    assert sorted(await listed(await harness.open(None))) == ["held", "left"]
