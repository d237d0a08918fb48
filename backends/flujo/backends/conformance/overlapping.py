"""Commits that no other run of their workflow may be in the way of."""

from __future__ import annotations

from flujo.kernel.backend import Refused
from flujo.kernel.state import FINAL, UNFINISHED

from .harness import Harness, behaviour
from .values import create, creation, following, journal, listed


@behaviour
async def an_unfinished_run_is_in_the_way(harness: Harness) -> None:
    """A creation with `alone_from` is refused beside an unfinished run of its workflow, whoever created that."""
    one, two = await harness.open("one"), await harness.open("two")
    for number, status in enumerate(UNFINISHED):
        workflow = f"w{number}"
        await create(one, creation(f"first-{number}", workflow=workflow, status=status))
        late = creation(f"late-{number}", workflow=workflow)._replace(alone_from=0)

        assert await two.append([late]) == {late.uid: Refused.OVERLAPS}
    assert await listed(one) == [f"first-{number}" for number in reversed(range(len(UNFINISHED)))]


@behaviour
async def an_ended_run_is_not_in_the_way(harness: Harness) -> None:
    """Runs that have ended, and runs of other workflows, keep no commit with `alone_from` from being made."""
    one = await harness.open("one")
    await create(one, creation("other", workflow="another"))
    await create(one, *(creation(f"was-{each}", None, status=each, finished_at=1_000) for each in FINAL))

    assert await one.append([creation("now")._replace(alone_from=0)]) == {}


@behaviour
async def only_runs_from_an_instant_on_are_in_the_way(harness: Harness) -> None:
    """With an instant, runs that were created before it are not in the way; one created at it is."""
    one = await harness.open("one")
    await create(one, creation("a", created_at=1_000))
    behind = creation("b", created_at=1_001)._replace(alone_from=1_001)
    beside = creation("c", created_at=1_001)._replace(alone_from=1_001)

    assert await one.append([behind]) == {}
    assert await one.append([beside]) == {beside.uid: Refused.OVERLAPS}


@behaviour
async def the_first_of_a_batch_is_in_the_way_of_the_second(harness: Harness) -> None:
    """Of several creations with `alone_from` in one batch the first one stands, and those of other workflows."""
    one = await harness.open("one")
    names = (("a", "w"), ("b", "w"), ("c", "v"), ("d", "w"))
    batch = [creation(run_id, workflow=workflow)._replace(alone_from=0) for run_id, workflow in names]

    assert await one.append(batch) == {batch[1].uid: Refused.OVERLAPS, batch[3].uid: Refused.OVERLAPS}
    assert sorted(await listed(one)) == ["a", "c"]


@behaviour
async def what_is_refused_is_in_nobodys_way(harness: Harness) -> None:
    """A creation that was refused as overlapping keeps no later one of its batch out, and leaves nothing behind."""
    one = await harness.open("one")
    await create(one, creation("old", created_at=1_000))
    refused = creation("a", created_at=1_001)._replace(alone_from=0)
    behind = creation("b", created_at=1_001)._replace(alone_from=1_001)

    assert await one.append([refused, behind]) == {refused.uid: Refused.OVERLAPS}
    assert sorted(await listed(one)) == ["b", "old"]


@behaviour
async def a_taken_id_is_told_first(harness: Harness) -> None:
    """A creation whose own id is taken, by a run of its workflow that goes on, is refused for the id."""
    one = await harness.open("one")
    await create(one, creation("a"))
    again = creation("A")._replace(alone_from=0)

    assert await one.append([again]) == {again.uid: Refused.EXISTS}


@behaviour
async def a_run_that_goes_on_again_must_be_alone(harness: Harness) -> None:
    """A commit with `alone_from` to a run that has ended is refused beside another unfinished run of its workflow; the
    run itself is never in its own way, and the other commits of the batch stand."""
    one = await harness.open("one")
    (ended,) = await create(one, creation("a", status="failed", finished_at=1_000))
    (other,) = await create(one, creation("b"))
    back = following(ended, status="running", finished_at=None)._replace(alone_from=0)

    assert await one.append([back, following(other)]) == {back.uid: Refused.OVERLAPS}
    assert len(await journal(one, ended)) == 1
    moved = await one.load("b")
    assert (moved.seq, (await one.load("a")).status) == (2, "failed")
    assert await one.append([following(moved, status="completed", finished_at=2_000)]) == {}

    assert await one.append([back]) == {}
    assert await one.append([following(await one.load("a"))._replace(alone_from=0)]) == {}
