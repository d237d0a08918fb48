"""Pruning takes a run with all that came of it, or leaves them all."""

from __future__ import annotations

from anyio import create_task_group

from flujo.kernel.backend import Request, RunFilter, StateBackend
from flujo.kernel.errors import RunNotFoundError

from .harness import Harness, behaviour, raising
from .values import create, creation, event, following, listed, settled


async def prune(
    handle: StateBackend, filter: RunFilter | None = None, *, limit: int = 100, dry_run: bool = False
) -> list[str]:
    """Prune, and the ids of what went."""
    removal = await handle.prune(filter or RunFilter(), limit=limit, dry_run=dry_run)
    assert removal.total == len(removal.runs) or dry_run
    return [run.run_id for run in removal.runs]


@behaviour
async def children_go_with_their_parent(harness: Harness) -> None:
    """A run takes the runs it has started along, whatever they are, and those of others stay."""
    one = await harness.open("one")
    await create(
        one,
        settled("root", 10),
        settled("child", 900, parent_run_id="root", workflow="other", status="failed", labels='{"keep":"yes"}'),
        settled("other", 900),
        settled("others-child", 900, parent_run_id="other"),
    )

    assert await prune(one, RunFilter(settled_before=20)) == ["root", "child"]
    assert set(await listed(one)) == {"other", "others-child"}


@behaviour
async def a_child_is_not_pruned_by_itself(harness: Harness) -> None:
    """A run whose parent is in the store stays, though it matches and its parent does not."""
    one = await harness.open("one")
    await create(one, settled("root", 900), settled("child", 10, parent_run_id="root", created_at=900))
    for filter in (RunFilter(settled_before=20), RunFilter(id_prefix="child"), RunFilter(parent="root")):
        assert await prune(one, filter, dry_run=True) == []
        assert await prune(one, filter) == []

    assert set(await listed(one)) == {"root", "child"}


@behaviour
async def a_child_whose_parent_is_gone_stands_for_itself(harness: Harness) -> None:
    """A run whose parent is not in the store is pruned like one that never had any."""
    one = await harness.open("one")
    (root, _, _) = await create(
        one, settled("root", 10), settled("child", 20, parent_run_id="root"), settled("orphan", 30, parent_run_id="x")
    )
    await one.delete("root", root.uid)

    assert await prune(one) == ["child", "orphan"]


@behaviour
async def a_delete_leaves_the_children(harness: Harness) -> None:
    """Deleting a run by name removes that one only."""
    one = await harness.open("one")
    (root, _) = await create(one, settled("root", 10), settled("child", 20, parent_run_id="root"))
    await one.delete("root", root.uid)

    assert await listed(one) == ["child"]


@behaviour
async def grandchildren_go_too(harness: Harness) -> None:
    """All generations go with the first, and each run is named before those it has started."""
    one = await harness.open("one")
    lines = {"a": None, "b": "a", "c": "b", "d": "c", "e": "a", "f": "e", "g": "c"}
    await create(one, *(settled(run_id, 10, parent_run_id=parent) for run_id, parent in reversed(lines.items())))
    foretold = await prune(one, dry_run=True)
    gone = await prune(one)

    assert gone == foretold
    assert set(gone) == set(lines)
    for run_id, parent in lines.items():
        assert parent is None or gone.index(parent) < gone.index(run_id)
    assert await listed(one) == []


@behaviour
async def a_long_line_goes_at_once(harness: Harness) -> None:
    """Forty generations go together, the first one first."""
    one = await harness.open("one")
    await create(one, *(settled(f"g{n}", 10, parent_run_id=f"g{n - 1}" if n else None) for n in range(40)))

    assert await prune(one, RunFilter(id_prefix="g0"), limit=1) == [f"g{n}" for n in range(40)]
    assert await listed(one) == []


@behaviour
async def a_live_owner_keeps_the_whole_family(harness: Harness) -> None:
    """A family of which a live owner has any member stays whole, and the others go."""
    one = await harness.open("one")
    for number, member in enumerate(("root", "child", "grandchild")):
        parents = {f"root{number}": None, f"child{number}": f"root{number}", f"grandchild{number}": f"child{number}"}
        await create(
            one,
            *(
                creation(run_id, "one" if run_id == f"{member}{number}" else None, parent_run_id=parent)
                for run_id, parent in parents.items()
            ),
        )
    await create(one, settled("free", 10), settled("frees-child", 10, parent_run_id="free"))
    before = set(await listed(one))
    assert await prune(one, dry_run=True) == ["free", "frees-child"]
    assert await prune(one) == ["free", "frees-child"]

    assert set(await listed(one)) == before - {"free", "frees-child"}


@behaviour
async def a_dead_owner_keeps_nothing(harness: Harness) -> None:
    """A family goes although a member has an owner, once that one is dead."""
    one, two = await harness.open("one"), await harness.open("two")
    await create(two, settled("root", 10), creation("child", "two", parent_run_id="root"))
    assert await prune(one) == []
    await harness.kill(two)

    assert await prune(one) == ["root", "child"]


@behaviour
async def an_older_run_is_no_child(harness: Harness) -> None:
    """A run that is older than the one that now has its parent's id was started by an earlier life of that id: it
    neither goes with it nor is kept by it."""
    one = await harness.open("one")
    old = settled("old", 10, parent_run_id="reused", created_at=10)
    young = settled("young", 300, parent_run_id="reused", created_at=300)
    reused = settled("reused", 500, created_at=200)
    await create(one, old, young, reused)
    assert await prune(one, RunFilter(id_prefix="old"), dry_run=True) == ["old"]
    assert await prune(one, RunFilter(id_prefix="young"), dry_run=True) == []

    assert await prune(one, RunFilter(id_prefix="reused")) == ["reused", "young"]
    assert await listed(one) == ["old"]


@behaviour
async def a_child_may_be_as_old_as_its_parent(harness: Harness) -> None:
    """A run of the same instant as its parent belongs to it, one of a microsecond before does not."""
    one = await harness.open("one")
    await create(
        one,
        settled("root", 500, created_at=100),
        settled("same", 500, parent_run_id="root", created_at=100),
        settled("before", 500, parent_run_id="root", created_at=99),
    )

    assert await prune(one, RunFilter(id_prefix="root")) == ["root", "same"]
    assert await listed(one) == ["before"]


@behaviour
async def a_parent_is_known_by_its_exact_id(harness: Harness) -> None:
    """A run whose parent's id is in the store in other letters only has no parent there."""
    one = await harness.open("one")
    await create(one, settled("Root", 10), settled("child", 20, parent_run_id="root"))

    assert await prune(one, RunFilter(id_prefix="Root")) == ["Root"]
    assert await listed(one) == ["child"]


@behaviour
async def the_last_family_may_exceed_the_limit(harness: Harness) -> None:
    """A family is never parted for the limit, and the one that reaches it is the last."""
    one = await harness.open("one")
    for number in range(3):
        root = f"root{number}"
        await create(one, settled(root, 10 + number))
        await create(one, *(settled(f"child{number}-{n}", 50, parent_run_id=root) for n in range(4)))

    assert len(await prune(one, limit=1)) == 5
    assert len(await prune(one, limit=6)) == 10
    assert await listed(one) == []


@behaviour
async def a_wide_family_goes_whole(harness: Harness) -> None:
    """A run with a hundred children goes with all of them at a limit of one."""
    one = await harness.open("one")
    await create(one, settled("root", 10), *(settled(f"child{n}", 50, parent_run_id="root") for n in range(100)))
    await create(one, settled("next", 20))

    assert len(await prune(one, limit=1)) == 101
    assert await listed(one) == ["next"]


@behaviour
async def families_go_by_the_age_of_their_first(harness: Harness) -> None:
    """Families go in the order in which their first runs settled, whatever the instants of the others."""
    one = await harness.open("one")
    await create(
        one,
        settled("late", 30),
        settled("lates-child", 1, parent_run_id="late", created_at=30),
        settled("early", 10),
        settled("earlys-child", 99, parent_run_id="early"),
        settled("middle", 20),
    )

    assert await prune(one, dry_run=True) == ["early", "earlys-child", "middle", "late", "lates-child"]
    assert await prune(one) == ["early", "earlys-child", "middle", "late", "lates-child"]


@behaviour
async def runs_that_have_not_ended_stand_where_they_last_moved(harness: Harness) -> None:
    """The order of pruning is by the instant of the end, or else of the last move, and then by id."""
    one = await harness.open("one")
    await create(
        one,
        creation("d", None, status="paused", updated_at=20),
        creation("c", None, status="completed", finished_at=10, updated_at=90),
        creation("b", None, status="running", updated_at=20),
        creation("a", None, status="failed", finished_at=30, updated_at=5),
        creation("E", None, status="failed", finished_at=20, updated_at=5),
    )

    assert await prune(one) == ["c", "E", "b", "d", "a"]


@behaviour
async def a_dry_run_counts_beyond_its_limit(harness: Harness) -> None:
    """A dry run names no more runs than its limit, and counts all that would go, with their bytes."""
    one = await harness.open("one")
    await create(one, *(settled(f"run{n}", 10 + n) for n in range(9)))
    some = await one.prune(RunFilter(), limit=4, dry_run=True)
    every = await one.prune(RunFilter(), limit=100, dry_run=True)

    assert [run.run_id for run in some.runs] == [f"run{n}" for n in range(4)]
    assert (some.total, some.bytes, some.more) == (9, every.bytes, True)
    assert (every.total, len(every.runs), every.more) == (9, 9, False)


@behaviour
async def a_dry_run_equals_the_prune(harness: Harness) -> None:
    """Where the limit is no bound, a dry run and the prune after it give the same answer: runs, count, bytes, more."""
    one = await harness.open("one")
    for number in range(12):
        large = event(1, "run_created", '"' + "x" * (number * 20_000) + '"')
        await create(one, settled(f"root{number}", 10 + number)._replace(rows=(large,)))
        await create(
            one, *(settled(f"child{number}-{n}", 50, parent_run_id=f"root{number}") for n in range(number % 4))
        )
    for filter in (RunFilter(settled_before=15), RunFilter(id_prefix="root1"), RunFilter()):
        foretold = await one.prune(filter, limit=1_000, dry_run=True)
        assert foretold.total > 0
        assert await one.prune(filter, limit=1_000, dry_run=False) == foretold


@behaviour
async def bytes_are_those_of_the_journals(harness: Harness) -> None:
    """A run that has recorded more takes more bytes, and a family takes what its members do."""
    one = await harness.open("one")
    large = event(1, "run_created", '"' + "x" * (1 << 20) + '"')
    await create(one, settled("small", 10), settled("large", 20)._replace(rows=(large,)))
    await create(one, settled("child", 20, parent_run_id="small"))
    small = await one.prune(RunFilter(id_prefix="small"), limit=9, dry_run=True)
    both = await one.prune(RunFilter(), limit=9, dry_run=True)
    larger = await one.prune(RunFilter(id_prefix="large"), limit=9, dry_run=False)

    assert 0 < small.bytes < larger.bytes
    assert small.bytes + larger.bytes == both.bytes


@behaviour
async def pruning_goes_on_until_nothing_is_left(harness: Harness) -> None:
    """Pruning again as long as there may be more removes every run once, and then there is nothing more."""
    one = await harness.open("one")
    await create(one, *(settled(f"root{n}", 10 + n) for n in range(50)))
    await create(one, *(settled(f"child{n}", 90, parent_run_id=f"root{n % 50}") for n in range(60)))
    gone: list[str] = []
    more = True
    while more:
        removal = await one.prune(RunFilter(), limit=7, dry_run=False)
        gone += [run.run_id for run in removal.runs]
        more = removal.more

    assert len(gone) == len(set(gone)) == 110
    assert await listed(one) == []


@behaviour
async def pruning_nothing_says_so(harness: Harness) -> None:
    """Where nothing matches, nothing went, took no bytes, and there is no more."""
    one = await harness.open("one")
    await create(one, settled("a", 10))
    for dry_run in (True, False):
        removal = await one.prune(RunFilter(workflow="none"), limit=10, dry_run=dry_run)
        assert (list(removal.runs), removal.total, removal.bytes, removal.more) == ([], 0, 0, False)


@behaviour
async def requests_and_ids_of_pruned_runs_are_free(harness: Harness) -> None:
    """A pruned run leaves its id and no request, and a late post or commit is refused."""
    one = await harness.open("one")
    (old,) = await create(one, creation("a", None, status="paused"))
    await one.post("a", Request("signal", "{}", 1))
    assert await prune(one) == ["a"]
    with raising(RunNotFoundError):
        await one.post("a", Request("signal", "{}", 2))
    (new,) = await create(one, creation("a"))

    assert list(await one.take()) == []
    assert list(await one.requests("a", new.uid)) == []
    with raising(RunNotFoundError):
        await one.delete("a", old.uid)


@behaviour
async def others_see_a_prune_at_once(harness: Harness) -> None:
    """What was pruned through one handle is gone for every other one."""
    one, two = await harness.open("one"), await harness.open("two")
    reader = await harness.open(None)
    await create(one, *(settled(f"run{n}", 10 + n) for n in range(30)), settled("kept", 900))
    await reader.prune(RunFilter(settled_before=500), limit=100, dry_run=False)

    for handle in (one, two, reader):
        assert await listed(handle) == ["kept"]
        with raising(RunNotFoundError):
            await handle.load("run3")


@behaviour
async def two_pruners_share_the_work(harness: Harness) -> None:
    """Pruners at work at once remove each run once, whole families each, and nothing they were not asked for."""
    one, two = await harness.open("one"), await harness.open("two")
    await create(one, *(settled(f"root{n}", 10 + n) for n in range(40)), settled("kept", 900))
    await create(one, *(settled(f"child{n}", 90, parent_run_id=f"root{n}") for n in range(40)))
    gone: list[str] = []

    async def work(handle: StateBackend) -> None:
        while found := await prune(handle, RunFilter(settled_before=500), limit=9):
            gone.extend(found)

    async with create_task_group() as tasks:
        tasks.start_soon(work, one)
        tasks.start_soon(work, two)
    assert sorted(gone) == sorted(f"{kind}{n}" for kind in ("root", "child") for n in range(40))
    assert await listed(one) == ["kept"]


@behaviour
async def runs_go_on_while_others_are_pruned(harness: Harness) -> None:
    """While a pruner is at work, owners begin and advance runs, and none of them is refused or lost."""
    one, pruner = await harness.open("one"), await harness.open(None)
    await create(one, *(settled(f"old{n}", 10 + n) for n in range(80)))

    async def advance() -> None:
        (summary,) = await create(one, creation("live"))
        for steps in range(10):
            commit = following(summary, steps_done=steps)
            assert await one.append([commit]) == {}
            summary = commit.summary

    async with create_task_group() as tasks:
        tasks.start_soon(advance)
        removal = await pruner.prune(RunFilter(id_prefix="old"), limit=1_000, dry_run=False)
    assert removal.total == 80
    assert await listed(one) == ["live"]
    assert (await one.load("live")).steps_done == 9
