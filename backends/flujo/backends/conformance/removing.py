"""Deleting and pruning."""

from __future__ import annotations

from flujo.kernel.backend import (
    Request,
    RunFilter,
)
from flujo.kernel.errors import (
    RunActiveError,
    RunNotFoundError,
    RunReplacedError,
)

from .harness import Harness, behaviour, raising
from .values import create, creation, journal, listed


@behaviour
async def a_deleted_run_is_gone(harness: Harness) -> None:
    """A deleted run cannot be loaded, read, listed, counted, claimed or posted to; others stay."""
    one = await harness.open("one")
    (a, b) = await create(one, creation("a", owner=None), creation("b", owner=None))
    await one.delete("a", a.uid)

    attempts = (
        lambda: one.load("a"),
        lambda: journal(one, a),
        lambda: one.claim("a"),
        lambda: one.post("a", Request("cancel", "{}", 1)),
        lambda: one.delete("a", a.uid),
    )
    for attempt in attempts:
        with raising(RunNotFoundError):
            await attempt()
    assert await listed(one) == ["b"]
    assert await one.count(RunFilter()) == 1
    assert len(await journal(one, b)) == 1


@behaviour
async def a_run_of_a_live_owner_cannot_be_deleted(harness: Harness) -> None:
    """Deleting a run of a live owner raises RunActiveError; once the owner is dead it goes."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    reader = await harness.open(None)
    with raising(RunActiveError):
        await reader.delete("a", summary.uid)
    assert await listed(reader) == ["a"]
    await harness.kill(one)
    await reader.delete("a", summary.uid)

    assert await listed(reader) == []


@behaviour
async def only_the_named_life_is_deleted(harness: Harness) -> None:
    """Deleting with the uid of an earlier run of that id raises RunNotFoundError and leaves the present one."""
    one = await harness.open("one")
    await create(one, creation("a", owner=None))

    with raising(RunNotFoundError):
        await one.delete("a", "another-uid")
    assert await listed(one) == ["a"]


@behaviour
async def an_id_can_be_used_again(harness: Harness) -> None:
    """After a delete the id makes another run, with its own journal; whoever asks by the old uid is told."""
    one = await harness.open("one")
    (old,) = await create(one, creation("a", owner=None, token=3))
    await one.delete("a", old.uid)
    (new,) = await create(one, creation("A"))

    assert await one.load("A") == new
    assert [row.seq for row in await journal(one, new)] == [1]
    with raising(RunReplacedError):
        await one.read_events("A", old.uid, 0, 10)


@behaviour
async def a_dry_run_foretells_the_pruning(harness: Harness) -> None:
    """A dry run of pruning changes nothing and names exactly the runs that pruning then takes."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{number}", owner=None, created_at=number % 7) for number in range(50)))
    for filter in (RunFilter(created_before=3), RunFilter(id_prefix="run4"), RunFilter()):
        before = await listed(one)
        foretold = await one.prune(filter, limit=30, dry_run=True)
        assert await listed(one) == before
        gone = await one.prune(filter, limit=30, dry_run=False)

        assert list(gone.runs) == list(foretold.runs)
        assert gone.total == len(gone.runs) <= foretold.total
        assert gone.more == foretold.more == (foretold.total > 30)
        assert gone.bytes > 0
        assert set(await listed(one)) == set(before) - {summary.run_id for summary in gone.runs}


@behaviour
async def pruning_takes_the_longest_settled_first(harness: Harness) -> None:
    """Pruning takes matching runs from the longest settled on, no more than its limit, and their journals with them."""
    one = await harness.open("one")
    runs = await create(one, *(creation(f"run{n}", owner=None, finished_at=100 - n) for n in range(60)))
    gone = await one.prune(RunFilter(), limit=45, dry_run=False)

    assert [summary.run_id for summary in gone.runs] == [f"run{n}" for n in range(59, 14, -1)]
    assert set(await listed(one)) == {f"run{n}" for n in range(15)}
    with raising(RunNotFoundError):
        await journal(one, runs[59])


@behaviour
async def pruning_spares_live_owners(harness: Harness) -> None:
    """Pruning never takes a run that a live owner has, be it the pruner itself, but takes those of the dead."""
    one, two = await harness.open("one"), await harness.open("two")
    dead = await harness.open("dead")
    await create(dead, creation("c", "dead"), creation("d", None))
    await create(one, creation("a"))
    await create(two, creation("b", "two"))
    await harness.kill(dead)
    foretold = await one.prune(RunFilter(), limit=10, dry_run=True)
    gone = await one.prune(RunFilter(), limit=10, dry_run=False)

    assert [summary.run_id for summary in gone.runs] == ["c", "d"]
    assert foretold == gone
    assert await listed(one) == ["b", "a"]


@behaviour
async def a_reader_may_prune(harness: Harness) -> None:
    """A handle without an owner may post, delete and prune."""
    one = await harness.open("one")
    (a, _, _) = await create(one, creation("a", None), creation("b", None, workflow="old"), creation("c", None))
    reader = await harness.open(None)
    await reader.delete("a", a.uid)
    await reader.post("c", Request("cancel", "{}", 1))
    await reader.prune(RunFilter(workflow="old"), limit=10, dry_run=False)

    assert await listed(reader) == ["c"]
