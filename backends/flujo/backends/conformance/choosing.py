"""Filters: which runs are listed, counted and pruned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flujo.kernel.backend import (
    Commit,
    Order,
    RunFilter,
    StateBackend,
)

from .harness import Harness, behaviour
from .values import create, creation, following, listed


async def _filtered(harness: Harness) -> StateBackend:
    """Return a store of runs that differ in everything a filter looks at."""
    one = await harness.open("one")
    await create(
        one,
        creation("alpha-1", status="running", created_at=1, labels='{"team":"a","n":"1"}'),
        creation("alpha-2", None, status="completed", created_at=2, finished_at=20, workflow="nightly"),
        creation("Alpha-3", None, status="failed", created_at=3, finished_at=30, labels='{"team":"b"}'),
        creation("beta_1", None, status="paused", created_at=4, updated_at=25, workflow="nightly"),
        creation("beta%2", "two", status="waiting", created_at=5, updated_at=5, labels='{"team":"a"}'),
        creation("gamma", None, status="cancelled", created_at=6, finished_at=40, labels='{"odd \\"key\\"":"%"}'),
    )
    return one


FILTERS: tuple[tuple[RunFilter, list[str]], ...] = (
    (RunFilter(), ["gamma", "beta%2", "beta_1", "Alpha-3", "alpha-2", "alpha-1"]),
    (RunFilter(statuses=["running"]), ["alpha-1"]),
    (RunFilter(statuses=["failed", "running", "waiting"]), ["beta%2", "Alpha-3", "alpha-1"]),
    (RunFilter(statuses=["pending"]), []),
    (RunFilter(workflow="nightly"), ["beta_1", "alpha-2"]),
    (RunFilter(workflow="night"), []),
    (RunFilter(id_prefix="alpha"), ["alpha-2", "alpha-1"]),
    (RunFilter(id_prefix="beta_"), ["beta_1"]),
    (RunFilter(id_prefix="beta%"), ["beta%2"]),
    (RunFilter(id_prefix="gamma"), ["gamma"]),
    (RunFilter(id_prefix=""), ["gamma", "beta%2", "beta_1", "Alpha-3", "alpha-2", "alpha-1"]),
    (RunFilter(labels=[("team", "a")]), ["beta%2", "alpha-1"]),
    (RunFilter(labels=[("team", "a"), ("n", "1")]), ["alpha-1"]),
    (RunFilter(labels=[('odd "key"', "%")]), ["gamma"]),
    (RunFilter(labels=[("team", "A")]), []),
    (RunFilter(created_before=3), ["alpha-2", "alpha-1"]),
    (RunFilter(settled_before=30), ["beta_1", "alpha-2"]),
    (RunFilter(settled_before=31), ["beta_1", "Alpha-3", "alpha-2"]),
    (RunFilter(owner="one"), ["alpha-1"]),
    (RunFilter(owner="two"), ["beta%2"]),
    (RunFilter(owner="nobody"), []),
    (RunFilter(statuses=["waiting", "running"], labels=[("team", "a")], created_before=5), ["alpha-1"]),
    (RunFilter(statuses=["paused"], workflow="nightly", id_prefix="b", settled_before=26), ["beta_1"]),
)


@behaviour
async def filters_choose_runs(harness: Harness) -> None:
    """Each part of a filter chooses exactly the runs that match it, and parts given together must all match."""
    one = await _filtered(harness)
    for filter, expected in FILTERS:
        assert await listed(one, filter) == expected, filter


@behaviour
async def counting_agrees_with_listing(harness: Harness) -> None:
    """Counting gives the number of runs that listing finds, for every filter."""
    one = await _filtered(harness)
    for filter, expected in FILTERS:
        assert await one.count(filter) == len(expected), filter


@behaviour
async def pruning_uses_the_same_filters(harness: Harness) -> None:
    """Pruning chooses by filters as listing does, less the runs of live owners."""
    one = await _filtered(harness)
    for filter, expected in FILTERS:
        chosen = await one.prune(filter, limit=100, dry_run=True)
        assert {run.run_id for run in chosen.runs} == {run for run in expected if run != "alpha-1"}, filter


def _free(run_id: str, **fields: Any) -> Commit:
    return creation(run_id, None, **fields)


async def _one_by_one(handle: StateBackend, filters: Sequence[tuple[RunFilter, Sequence[str]]]) -> None:
    """Require that each filter chooses these runs, in listing as in counting."""
    for filter, expected in filters:
        assert sorted(await listed(handle, filter)) == sorted(expected), filter
        assert await handle.count(filter) == len(expected), filter


@behaviour
async def runs_are_chosen_by_status(harness: Harness) -> None:
    """A status chooses the runs that have it, several choose those that have one of them, none chooses all."""
    one = await harness.open("one")
    statuses = ["pending", "running", "waiting", "paused", "completed", "failed", "cancelled"]
    await create(one, *(creation(f"is-{status}", None, status=status) for status in statuses))

    await _one_by_one(one, [(RunFilter(statuses=[status]), [f"is-{status}"]) for status in statuses])
    await _one_by_one(
        one,
        [
            (RunFilter(statuses=("failed", "completed")), ["is-completed", "is-failed"]),
            (RunFilter(statuses=statuses), [f"is-{status}" for status in statuses]),
            (RunFilter(statuses=()), [f"is-{status}" for status in statuses]),
            (RunFilter(statuses=["failed", "failed"]), ["is-failed"]),
            (RunFilter(statuses=["Failed"]), []),
        ],
    )


@behaviour
async def runs_are_chosen_by_workflow(harness: Harness) -> None:
    """A workflow chooses its runs by its whole name, in the same letters."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{n}", workflow=name) for n, name in enumerate(["a", "A", "ab", "a%", "größe"])))

    names = {"a": "run0", "A": "run1", "ab": "run2", "a%": "run3", "größe": "run4"}
    await _one_by_one(one, [(RunFilter(workflow=name), [run]) for name, run in names.items()])
    await _one_by_one(one, [(RunFilter(workflow="_"), []), (RunFilter(workflow=""), [])])


@behaviour
async def runs_are_chosen_by_the_beginning_of_their_ids(harness: Harness) -> None:
    """A prefix chooses the ids that begin with it letter by letter; no character of it stands for others."""
    one = await harness.open("one")
    ids = ["a", "a-1", "a-10", "a-2", "A-1", "a.1", "a_1", "b", "a~", "a*1", "a[1]"]
    await create(one, *map(creation, ("A-3", *(run_id for run_id in ids if run_id not in ("A-1",)))))

    await _one_by_one(
        one,
        [
            (RunFilter(id_prefix=""), ["A-3", "a", "a-1", "a-10", "a-2", "a.1", "a_1", "b", "a~", "a*1", "a[1]"]),
            (RunFilter(id_prefix="a-1"), ["a-1", "a-10"]),
            (RunFilter(id_prefix="a-10"), ["a-10"]),
            (RunFilter(id_prefix="a-100"), []),
            (RunFilter(id_prefix="A"), ["A-3"]),
            (RunFilter(id_prefix="a_"), ["a_1"]),
            (RunFilter(id_prefix="a*"), ["a*1"]),
            (RunFilter(id_prefix="a?"), []),
            (RunFilter(id_prefix="a["), ["a[1]"]),
            (RunFilter(id_prefix="a~"), ["a~"]),
            (RunFilter(id_prefix="-"), []),
        ],
    )


@behaviour
async def runs_are_chosen_by_labels(harness: Harness) -> None:
    """Every label that is named must be there with that value; a run may have more."""
    one = await harness.open("one")
    texts = ["{}", '{"a":"1"}', '{"a":"1","b":"2"}', '{"b":"1"}', '{"a":"2","b":"2"}', '{"a":""}', '{"a.b":"\'x"}']
    await create(one, *(creation(f"run{n}", labels=text) for n, text in enumerate(texts)))

    await _one_by_one(
        one,
        [
            (RunFilter(labels=[("a", "1")]), ["run1", "run2"]),
            (RunFilter(labels=[("b", "2")]), ["run2", "run4"]),
            (RunFilter(labels=[("a", "1"), ("b", "2")]), ["run2"]),
            (RunFilter(labels=[("b", "2"), ("a", "1")]), ["run2"]),
            (RunFilter(labels=[("a", "1"), ("a", "1")]), ["run1", "run2"]),
            (RunFilter(labels=[("a", "")]), ["run5"]),
            (RunFilter(labels=[("a.b", "'x")]), ["run6"]),
            (RunFilter(labels=[("c", "1")]), []),
            (RunFilter(labels=[("1", "a")]), []),
        ],
    )


@behaviour
async def no_run_has_a_label_twice(harness: Harness) -> None:
    """Two values of one label choose nothing, since a run has but one."""
    one = await harness.open("one")
    await create(one, creation("a", labels='{"team":"a"}'), creation("b", labels='{"team":"b"}'))

    await _one_by_one(
        one,
        [
            (RunFilter(labels=[("team", "a"), ("team", "b")]), []),
            (RunFilter(labels=[("team", "b"), ("team", "a")]), []),
        ],
    )


@behaviour
async def runs_are_chosen_by_creation(harness: Harness) -> None:
    """A range of creation holds its first instant and not its last."""
    one = await harness.open("one")
    await create(one, *(_free(f"at{at}", created_at=at) for at in (10, 20, 30)))

    await _one_by_one(
        one,
        [
            (RunFilter(created_from=20), ["at20", "at30"]),
            (RunFilter(created_from=21), ["at30"]),
            (RunFilter(created_before=20), ["at10"]),
            (RunFilter(created_before=21), ["at10", "at20"]),
            (RunFilter(created_from=10, created_before=30), ["at10", "at20"]),
            (RunFilter(created_from=20, created_before=20), []),
            (RunFilter(created_from=30, created_before=10), []),
            (RunFilter(created_from=0), ["at10", "at20", "at30"]),
            (RunFilter(created_before=0), []),
        ],
    )


@behaviour
async def runs_are_chosen_by_their_last_move(harness: Harness) -> None:
    """A range of updates holds its first instant and not its last."""
    one = await harness.open("one")
    await create(one, *(_free(f"at{at}", created_at=1, updated_at=at) for at in (10, 20, 30)))

    await _one_by_one(
        one,
        [
            (RunFilter(updated_from=20), ["at20", "at30"]),
            (RunFilter(updated_from=31), []),
            (RunFilter(updated_before=20), ["at10"]),
            (RunFilter(updated_before=31), ["at10", "at20", "at30"]),
            (RunFilter(updated_from=20, updated_before=30), ["at20"]),
            (RunFilter(updated_from=30, updated_before=20), []),
        ],
    )


@behaviour
async def runs_are_chosen_by_their_end(harness: Harness) -> None:
    """A range of ends holds its first instant and not its last, and a run that has not ended is in none."""
    one = await harness.open("one")
    await create(one, *(_free(f"at{at}", finished_at=at) for at in (10, 20, 30)), _free("open", updated_at=20))

    await _one_by_one(
        one,
        [
            (RunFilter(finished_from=20), ["at20", "at30"]),
            (RunFilter(finished_before=20), ["at10"]),
            (RunFilter(finished_before=2**62), ["at10", "at20", "at30"]),
            (RunFilter(finished_from=0), ["at10", "at20", "at30"]),
            (RunFilter(finished_from=10, finished_before=11), ["at10"]),
            (RunFilter(finished_from=20, finished_before=20), []),
        ],
    )


@behaviour
async def runs_are_chosen_by_the_instant_they_settled(harness: Harness) -> None:
    """A run has settled when it ended, a paused one when it was last moved, and one that goes on has not."""
    one = await harness.open("one")
    await create(
        one,
        _free("ended", status="completed", finished_at=20, updated_at=99),
        _free("paused", status="paused", updated_at=20),
        _free("going", status="running", updated_at=20),
        _free("again", status="paused", finished_at=10, updated_at=30),
    )

    await _one_by_one(
        one,
        [
            (RunFilter(settled_before=20), []),
            (RunFilter(settled_before=21), ["ended", "paused"]),
            (RunFilter(settled_before=30), ["ended", "paused"]),
            (RunFilter(settled_before=2**62), ["ended", "paused", "again"]),
        ],
    )


@behaviour
async def runs_are_chosen_by_the_step_that_failed(harness: Harness) -> None:
    """A failed step chooses the runs that name it, whole and in the same letters."""
    one = await harness.open("one")
    steps = {"a": "fetch", "b": "fetch#2", "c": "Fetch", "d": None, "e": "resize[17]"}
    await create(one, *(creation(run_id, failed_step=step) for run_id, step in steps.items()))

    await _one_by_one(one, [(RunFilter(failed_step=step), [run]) for run, step in steps.items() if step is not None])
    await _one_by_one(one, [(RunFilter(failed_step="fet"), []), (RunFilter(failed_step=""), [])])


@behaviour
async def runs_are_chosen_by_parent(harness: Harness) -> None:
    """A parent chooses the runs that name it, be it in the store or not, and not their own children."""
    one = await harness.open("one")
    parents = {"root": None, "child": "root", "second": "root", "grandchild": "child", "orphan": "gone"}
    await create(one, *(creation(run_id, parent_run_id=parent) for run_id, parent in parents.items()))

    await _one_by_one(
        one,
        [
            (RunFilter(parent="root"), ["child", "second"]),
            (RunFilter(parent="child"), ["grandchild"]),
            (RunFilter(parent="gone"), ["orphan"]),
            (RunFilter(parent="Root"), []),
            (RunFilter(parent="grandchild"), []),
        ],
    )


@behaviour
async def runs_are_chosen_by_owner(harness: Harness) -> None:
    """An owner chooses the runs it has, alive or not, and follows every change of owner."""
    one, two = await harness.open("one"), await harness.open("two")
    (a, _) = await create(one, creation("a"), creation("b"))
    await create(two, creation("c", "two"), creation("d", None))
    await one.release([a.uid])
    await two.claim("a")
    await harness.kill(one)

    await _one_by_one(two, [(RunFilter(owner="one"), ["b"]), (RunFilter(owner="two"), ["a", "c"])])
    await _one_by_one(two, [(RunFilter(owner="three"), []), (RunFilter(owner=""), [])])


@behaviour
async def filters_follow_every_commit(harness: Harness) -> None:
    """A commit that changes what a filter looks at takes its run out of one listing and into another."""
    one = await harness.open("one")
    reader = await harness.open(None)
    (summary,) = await create(one, creation("a"))
    changes: list[tuple[dict[str, Any], RunFilter, RunFilter]] = [
        ({"status": "waiting"}, RunFilter(statuses=["waiting"]), RunFilter(statuses=["running"])),
        ({"failed_step": "x"}, RunFilter(failed_step="x"), RunFilter(failed_step="y")),
        ({"failed_step": "y"}, RunFilter(failed_step="y"), RunFilter(failed_step="x")),
        ({"finished_at": 70}, RunFilter(finished_from=70), RunFilter(finished_before=70)),
        ({"finished_at": 60}, RunFilter(finished_before=70), RunFilter(finished_from=70)),
        ({"owner": None}, RunFilter(updated_from=1_000), RunFilter(owner="one")),
    ]
    for change, matching, other in changes:
        commit = following(summary, **change)
        assert await one.append([commit]) == {}
        summary = commit.summary
        for handle in (one, reader):
            assert await listed(handle, matching) == ["a"], change
            assert await listed(handle, other) == [], change


PARTS: tuple[RunFilter, ...] = (
    RunFilter(statuses=["completed", "failed"]),
    RunFilter(statuses=["paused"]),
    RunFilter(workflow="nightly"),
    RunFilter(id_prefix="b-"),
    RunFilter(labels=[("team", "a")]),
    RunFilter(labels=[("team", "b"), ("size", "l")]),
    RunFilter(created_from=10),
    RunFilter(created_before=25),
    RunFilter(updated_from=40),
    RunFilter(updated_before=45),
    RunFilter(finished_from=40),
    RunFilter(finished_before=48),
    RunFilter(settled_before=46),
    RunFilter(failed_step="fetch"),
    RunFilter(parent="a-0"),
    RunFilter(owner="one"),
)
"""Each part of a filter at least once, so that every two of them can be put together."""


async def _various(harness: Harness) -> StateBackend:
    """Return a store of sixty runs in which every two parts of a filter choose something else."""
    one = await harness.open("one")
    statuses = ("running", "waiting", "paused", "completed", "failed", "cancelled", "completed")
    commits = []
    for n in range(60):
        status = statuses[n % 7]
        is_final = status in ("completed", "failed", "cancelled")
        team, size = "abc"[n % 3], "sml"[n % 5 % 3]
        commits.append(
            creation(
                f"{'ab'[n % 2]}-{n}",
                "one" if n % 4 == 0 and not is_final else None,
                status=status,
                workflow=("report", "nightly", "hourly")[n % 11 % 3],
                labels=f'{{"team":"{team}","size":"{size}"}}',
                created_at=n // 2,
                updated_at=30 + n % 23,
                finished_at=30 + n % 23 if is_final else None,
                failed_step=("fetch", "load")[n % 2] if status == "failed" else None,
                parent_run_id="a-0" if n % 5 == 3 else None,
            )
        )
    await create(one, *commits)
    return one


def _together(first: RunFilter, second: RunFilter) -> RunFilter:
    given = {name: value for name, value in second._asdict().items() if value not in ((), None)}
    return first._replace(**given)


@behaviour
async def every_two_parts_must_both_match(harness: Harness) -> None:
    """Any two parts of a filter together choose exactly the runs that each of them chooses, in the order of all."""
    one = await _various(harness)
    everything = await listed(one)
    chosen = [await listed(one, part) for part in PARTS]
    assert all(0 < len(each) < 60 for each in chosen)
    for n, first in enumerate(PARTS):
        for m, second in enumerate(PARTS):
            filter = _together(first, second)
            if filter != _together(second, first):
                continue  # two values of one part
            both = set(chosen[n]) & set(chosen[m])
            expected = [run_id for run_id in everything if run_id in both]
            assert await listed(one, filter) == expected, filter


@behaviour
async def all_parts_together_choose_one_run(harness: Harness) -> None:
    """A filter that gives every part chooses the run that fits all of them, and none if any one part is another."""
    one = await harness.open("one")
    fields: dict[str, Any] = {
        "status": "failed",
        "workflow": "nightly",
        "labels": '{"team":"a"}',
        "created_at": 10,
        "updated_at": 20,
        "finished_at": 30,
        "failed_step": "fetch",
        "parent_run_id": "p",
    }
    await create(one, creation("run-1", **fields))
    fitting: dict[str, Any] = {
        "statuses": ["failed"],
        "workflow": "nightly",
        "id_prefix": "run",
        "labels": [("team", "a")],
        "created_from": 10,
        "created_before": 11,
        "updated_from": 20,
        "updated_before": 21,
        "finished_from": 30,
        "finished_before": 31,
        "settled_before": 31,
        "failed_step": "fetch",
        "parent": "p",
        "owner": "one",
    }
    assert set(fitting) == set(RunFilter._fields)
    others: dict[str, Any] = {
        name: ["paused"] if name == "statuses" else [("team", "b")] if name == "labels" else "x" for name in fitting
    }
    others |= {name: fitting[name] + 1 for name in fitting if name.endswith("_from")}
    others |= {name: fitting[name] - 1 for name in fitting if name.endswith("_before")}
    await _one_by_one(one, [(RunFilter(**fitting), ["run-1"])])
    await _one_by_one(one, [(RunFilter(**fitting | {name: value}), []) for name, value in others.items()])


@behaviour
async def every_filter_counts_what_it_lists(harness: Harness) -> None:
    """Counting agrees with listing for every two parts of a filter, and in both orders of listing."""
    one = await _various(harness)
    for first in PARTS:
        for second in PARTS:
            filter = _together(first, second)
            found = await listed(one, filter)
            assert await one.count(filter) == len(found), filter
            assert set(await listed(one, filter, Order.UPDATED)) == set(found), filter
