"""Commits: whole, in order, fenced."""

from __future__ import annotations

from typing import Any

from anyio import create_task_group
from anyio.lowlevel import checkpoint

from flujo.kernel.backend import (
    EventRow,
    Refused,
    RunFilter,
)
from flujo.kernel.errors import (
    StoreError,
)

from .harness import Harness, behaviour, raising
from .values import create, creation, event, following, journal, listed


@behaviour
async def a_creation_can_be_loaded(harness: Harness) -> None:
    """A run that was created is loaded as it was given, by every handle at once."""
    one = await harness.open("one")
    reader = await harness.open(None)
    (summary,) = await create(one, creation("a"))

    assert await one.load("a") == summary
    assert await reader.load("a") == summary


@behaviour
async def every_field_is_kept(harness: Harness) -> None:
    """Every field of a summary comes back as it was stored, at a creation and after a later commit."""
    one = await harness.open("one")
    fields: dict[str, Any] = {
        "version": "2",
        "labels": '{"team":"a"}',
        "started_at": 2_000,
        "wake_at": 2**62,
        "current_step": "fetch",
        "failed_step": "fetch#2",
        "error_type": "ConnectionError",
        "error_message": "no\x00route\nto host",
        "steps_done": 3,
        "steps_total": 9,
        "retries": 2,
        "resume_count": 1,
        "parent_run_id": "parent",
        "definition": "digest",
    }
    (summary,) = await create(one, creation("a", **fields))
    assert await one.load("a") == summary
    changes: dict[str, Any] = {
        "version": "3",
        "status": "failed",
        "owner": None,
        "started_at": 2_001,
        "finished_at": 9_000,
        "wake_at": None,
        "current_step": None,
        "failed_step": "load",
        "error_type": "ValueError",
        "error_message": "bad",
        "steps_done": 4,
        "steps_total": None,
        "retries": 5,
        "resume_count": 2,
        "definition": "other",
    }
    commit = following(summary, **changes)
    await one.append([commit])

    assert await one.load("a") == commit.summary


@behaviour
async def fields_change_one_by_one(harness: Harness) -> None:
    """A commit that changes a single field of the summary changes that one, however ordinary the commits before it."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    changes: list[dict[str, Any]] = [
        {"steps_done": 1},
        {"current_step": "b"},
        {"status": "waiting"},
        {"wake_at": 7_000},
        {"steps_done": 2},
        {"status": "running", "wake_at": None},
        {"error_message": "x"},
        {"retries": 1},
        {"steps_done": 3},
        {"version": "2"},
    ]
    for change in changes:
        commit = following(summary, **change)
        assert await one.append([commit]) == {}
        assert await one.load("a") == commit.summary, change
        summary = commit.summary


@behaviour
async def events_come_back_as_written(harness: Harness) -> None:
    """Events come back in order, each with every field it was written with."""
    one = await harness.open("one")
    first = creation("a")
    await create(one, first)
    second = following(first.summary, 5)
    await one.append([second])

    assert list(await journal(one, first.summary)) == [*first.rows, *second.rows]


@behaviour
async def text_of_any_script_is_kept(harness: Harness) -> None:
    """Text outside ASCII comes back unchanged, in payloads, bodies, labels and messages."""
    one = await harness.open("one")
    text = "Größe 走る \U0001f680 \u2028 \x7f"
    (summary,) = await create(one, creation("a", labels=f'{{"größe":"{text}"}}', error_message=text))
    row = EventRow(2, 5, "step_completed", 1, f'{{"step":"{text}"}}', f'"{text}"')
    commit = following(summary)._replace(rows=(row,))
    await one.append([commit])

    assert (await one.load("a")).error_message == text
    assert (await journal(one, summary))[1] == row
    assert await listed(one, RunFilter(labels=[("größe", text)])) == ["a"]


@behaviour
async def the_json_of_a_payload_is_kept_to_the_letter(harness: Harness) -> None:
    """Numbers as they are spelled, keys in their order and characters as escapes come back as they are."""
    one = await harness.open("one")
    texts = ["1e+16", "-0.0", "1.50", "1" + "0" * 4_000, '{"b": 1,"a":[1e22 ,-0]}', '"\\u0000\\ud83d\\ude80\\/"']
    (summary,) = await create(one, creation("a"))
    rows = tuple(event(seq, "step_completed", text) for seq, text in enumerate(texts, 2))
    await one.append([following(summary, len(rows))._replace(rows=rows)])

    assert [row.payload for row in (await journal(one, summary))[1:]] == texts


@behaviour
async def large_payloads_are_kept(harness: Harness) -> None:
    """A payload of a mebibyte comes back unchanged, beside small ones in the same batch."""
    one = await harness.open("one")
    large = '"' + "x" * (1 << 20) + '"'
    (a, b) = await create(one, creation("a"), creation("b"))
    commit = following(a)._replace(rows=(event(2, payload=large),))
    await one.append([commit, following(b)])

    assert (await journal(one, a))[1].payload == large
    assert (await journal(one, b))[1].payload is None


@behaviour
async def one_commit_may_hold_many_events(harness: Harness) -> None:
    """A commit of hundreds of events is stored whole and in order."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    await one.append([following(summary, 500)])

    assert [row.seq for row in await journal(one, summary)] == list(range(1, 502))


@behaviour
async def an_empty_batch_is_nothing(harness: Harness) -> None:
    """Appending no commits refuses none."""
    one = await harness.open("one")

    assert await one.append([]) == {}


@behaviour
async def a_taken_id_is_refused(harness: Harness) -> None:
    """Creating a run under an id that is taken is refused, and the run that has it does not change."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    late = creation("a", workflow="other")

    assert await one.append([late]) == {late.uid: Refused.EXISTS}
    assert await one.load("a") == summary
    assert len(await journal(one, summary)) == 1


@behaviour
async def ids_differ_by_more_than_case(harness: Harness) -> None:
    """An id that differs from a taken one only in the case of letters is taken too."""
    one = await harness.open("one")
    await create(one, creation("Report-A"))
    late = creation("rEPORT-a")

    assert await one.append([late]) == {late.uid: Refused.EXISTS}
    assert await listed(one) == ["Report-A"]


@behaviour
async def the_first_of_two_equal_ids_stands(harness: Harness) -> None:
    """Of two creations of one id in a batch the first one stands, and both answers name their uid."""
    one = await harness.open("one")
    first, second = creation("a"), creation("A")

    assert await one.append([first, second]) == {second.uid: Refused.EXISTS}
    assert (await one.load("a")).uid == first.uid


@behaviour
async def a_commit_moves_the_run_on(harness: Harness) -> None:
    """A commit adds its events and replaces the summary."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    commit = following(summary, 2, steps_done=1, current_step="next")

    assert await one.append([commit]) == {}
    assert await one.load("a") == commit.summary
    assert [row.seq for row in await journal(one, summary)] == [1, 2, 3]


@behaviour
async def another_token_is_refused(harness: Harness) -> None:
    """A commit with a lower or a higher token than the run's is refused, and leaves no trace."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", token=5))
    for token, reason in ((4, Refused.STALE), (6, Refused.REWOUND)):
        commit = following(summary._replace(token=token))
        assert await one.append([commit]) == {summary.uid: reason}

    assert await one.load("a") == summary
    assert len(await journal(one, summary)) == 1


@behaviour
async def another_last_event_is_refused(harness: Harness) -> None:
    """A commit after an event that is not the last one, or not there yet, is refused, so numbers have no gaps."""
    one = await harness.open("one")
    (first,) = await create(one, creation("a"))
    second = following(first)
    await one.append([second])

    for summary, reason in ((first, Refused.STALE), (second.summary._replace(seq=5), Refused.REWOUND)):
        assert await one.append([following(summary, steps_done=9)]) == {first.uid: reason}
    assert await one.load("a") == second.summary
    assert [row.seq for row in await journal(one, first)] == [1, 2]


@behaviour
async def a_store_that_has_forgotten_says_so(harness: Harness) -> None:
    """A commit that follows what the store has forgotten is refused as rewound, and one under an earlier token that
    somebody else has moved on is stale, whatever its number."""
    one, two = await harness.open("one"), await harness.open("two")
    (summary,) = await create(one, creation("a"))
    forgotten = following(summary, 3).summary

    assert await one.append([following(forgotten)]) == {summary.uid: Refused.REWOUND}
    await one.release(None)
    await two.claim("a")
    assert await one.append([following(forgotten)]) == {summary.uid: Refused.STALE}
    assert (await two.load("a")).seq == 1


@behaviour
async def a_commit_to_no_run_is_refused(harness: Harness) -> None:
    """A commit to a run that was never created is refused, and creates nothing."""
    one = await harness.open("one")
    commit = following(creation("a").summary)

    assert await one.append([commit]) == {commit.uid: Refused.STALE}
    assert await listed(one) == []


@behaviour
async def a_commit_to_a_deleted_run_is_refused(harness: Harness) -> None:
    """A commit that arrives after its run was deleted is refused, also by the handle that wrote the run all along."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    last = following(summary, owner=None, status="paused").summary
    await one.append([following(summary, owner=None, status="paused")])
    await (await harness.open(None)).delete("a", summary.uid)

    assert await one.append([following(last)]) == {summary.uid: Refused.STALE}
    assert await listed(one) == []


@behaviour
async def a_commit_to_another_uid_is_refused(harness: Harness) -> None:
    """A commit to an earlier run of the same id is refused even when token and last event agree."""
    one = await harness.open("one")
    (old,) = await create(one, creation("a", owner=None))
    await one.delete("a", old.uid)
    (new,) = await create(one, creation("a"))

    assert await one.append([following(old)]) == {old.uid: Refused.STALE}
    assert await one.load("a") == new


@behaviour
async def one_refused_commit_leaves_the_others(harness: Harness) -> None:
    """In a large batch of every kind of commit only the refused ones are missing, with all they would have brought."""
    one = await harness.open("one")
    summaries = await create(one, *(creation(f"run{number}") for number in range(150)))
    await create(one, creation("taken"))
    updates = [following(summary, 2, steps_done=1) for summary in summaries]
    updates[70] = updates[70]._replace(token=0, summary=updates[70].summary._replace(token=0))
    updates[71] = following(summaries[71]._replace(seq=3), 2)
    fresh, late = creation("fresh"), creation("taken")
    batch = [*updates[:75], fresh, late, *updates[75:]]

    refused = await one.append(batch)

    assert refused == {
        summaries[70].uid: Refused.STALE,
        summaries[71].uid: Refused.REWOUND,
        late.uid: Refused.EXISTS,
    }
    for number, summary in enumerate(summaries):
        length = 1 if number in (70, 71) else 3
        assert (await one.load(summary.run_id)).seq == length
        assert len(await journal(one, summary)) == length
    assert (await one.load("fresh")).uid == fresh.uid


@behaviour
async def a_reader_advances_nothing(harness: Harness) -> None:
    """A handle without an owner cannot append, claim, release or take."""
    one = await harness.open("one")
    await create(one, creation("a", owner=None))
    reader = await harness.open(None)
    attempts = (
        lambda: reader.append([creation("b")]),
        lambda: reader.claim("a"),
        lambda: reader.release(None),
        lambda: reader.take(),
    )
    for attempt in attempts:
        with raising(StoreError):
            await attempt()
    assert await listed(reader) == ["a"]


@behaviour
async def concurrent_appends_all_land(harness: Harness) -> None:
    """Batches that several tasks append at once are all stored."""
    one = await harness.open("one")

    async def append(number: int) -> None:
        (summary,) = await create(one, creation(f"run{number}"))
        assert await one.append([following(summary)]) == {}

    async with create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(append, number)
    assert await one.count(RunFilter()) == 20


@behaviour
async def several_owners_write_at_once(harness: Harness) -> None:
    """Handles of several owners write to one store at once, and each sees what all of them wrote."""
    handles = [await harness.open(f"owner{number}") for number in range(3)]

    async def write(number: int) -> None:
        for step in range(5):
            (summary,) = await create(handles[number], creation(f"run{number}-{step}", f"owner{number}"))
            await handles[number].append([following(summary)])

    async with create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(write, number)
    for handle in handles:
        assert await handle.count(RunFilter()) == 15


@behaviour
async def a_cancelled_append_is_whole(harness: Harness) -> None:
    """An append cancelled at any moment has made each of its commits wholly or not at all, and the handle works on."""
    one = await harness.open("one")
    (a, b) = await create(one, creation("a"), creation("b"))
    for ticks in range(25):
        commits = [following(a, 2), following(b, 3)]
        async with create_task_group() as tasks:
            tasks.start_soon(one.append, commits)
            for _ in range(ticks):
                await checkpoint()
            tasks.cancel_scope.cancel()
        seen = [await one.load("a"), await one.load("b")]
        for before, commit, after in zip((a, b), commits, seen, strict=True):
            assert after in (before, commit.summary)
            assert len(await journal(one, after)) == after.seq
        a, b = seen


@behaviour
async def what_the_creation_sets_never_changes(harness: Harness) -> None:
    """A commit whose summary has another workflow, parent or instant of creation leaves those the run was created
    with."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    other = following(summary, workflow="other", created_at=summary.created_at + 1, parent_run_id="p")
    assert await one.append([other]) == {}

    stored = await one.load("a")
    assert stored.seq == other.summary.seq
    assert (stored.workflow, stored.created_at, stored.parent_run_id) == (
        summary.workflow,
        summary.created_at,
        summary.parent_run_id,
    )
    assert await listed(one, RunFilter(parent="p")) == []
    assert await listed(one, RunFilter(workflow=summary.workflow)) == ["a"]


@behaviour
async def labels_never_change(harness: Harness) -> None:
    """A commit whose summary has other labels leaves those the run was created with, and filters go on to find them."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", labels='{"team":"a"}'))
    assert await one.append([following(summary, labels='{"team":"b"}')]) == {}

    assert (await one.load("a")).labels == '{"team":"a"}'
    assert await listed(one, RunFilter(labels=[("team", "a")])) == ["a"]
    assert await listed(one, RunFilter(labels=[("team", "b")])) == []


@behaviour
async def what_a_run_is_never_changes(harness: Harness) -> None:
    """A commit whose summary has another workflow, parent or instant of creation leaves those of the run."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", parent_run_id="parent"))
    for change in ({"workflow": "other"}, {"parent_run_id": "other"}, {"created_at": 5}):
        commit = following(summary, **change)
        assert await one.append([commit]) == {}
        summary = summary._replace(seq=commit.summary.seq, updated_at=commit.summary.updated_at)
        assert await one.load("a") == summary


@behaviour
async def a_creation_may_have_many_events(harness: Harness) -> None:
    """A run may begin with several events, and go on after the last of them."""
    one = await harness.open("one")
    commit = creation("a", seq=3)
    commit = commit._replace(rows=(*commit.rows, event(2), event(3)))
    await create(one, commit)
    await one.append([following(commit.summary)])

    assert [row.seq for row in await journal(one, commit.summary)] == [1, 2, 3, 4]


@behaviour
async def a_repeated_commit_is_refused(harness: Harness) -> None:
    """The same commit a second time is refused, so one that was made without an answer is not made twice."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    commit = following(summary)

    assert await one.append([commit]) == {}
    assert await one.append([commit]) == {summary.uid: Refused.STALE}
    assert [row.seq for row in await journal(one, summary)] == [1, 2]


@behaviour
async def a_repeated_creation_is_refused(harness: Harness) -> None:
    """The same creation a second time is refused, and the run goes on as it was."""
    one = await harness.open("one")
    commit = creation("a")
    await create(one, commit)
    await one.append([following(commit.summary)])

    assert await one.append([commit]) == {commit.uid: Refused.EXISTS}
    assert (await one.load("a")).seq == 2


@behaviour
async def one_of_two_equal_commits_stands(harness: Harness) -> None:
    """Of several tasks that go on from the same event of a run, one is let through and the others are refused."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    answers: list[dict[str, Refused]] = []

    async def append(steps: int) -> None:
        answers.append(await one.append([following(summary, steps_done=steps)]))

    async with create_task_group() as tasks:
        for steps in range(1, 6):
            tasks.start_soon(append, steps)
    assert sorted(map(len, answers)) == [0, 1, 1, 1, 1]
    assert len(await journal(one, summary)) == 2


@behaviour
async def many_runs_begin_in_one_batch(harness: Harness) -> None:
    """A batch may create hundreds of runs."""
    one = await harness.open("one")
    runs = await create(one, *(creation(f"run{number}") for number in range(300)))

    assert await one.count(RunFilter()) == 300
    assert await one.load("run299") == runs[299]


@behaviour
async def a_run_begins_with_any_token(harness: Harness) -> None:
    """A creation says which token the run begins with, and whether anybody owns it."""
    one = await harness.open("one")
    (owned, free) = await create(one, creation("a", token=7), creation("b", None, token=3))

    assert await one.append([following(owned)]) == {}
    assert (await one.claim("b")).token == free.token + 1


@behaviour
async def instants_of_any_size_are_kept(harness: Harness) -> None:
    """Instants from the epoch to the year 292,000 are kept to the microsecond, and sort as numbers do."""
    one = await harness.open("one")
    instants = [0, 1, 9, 10, 2**31, 2**32 + 1, 2**53 + 1, 2**62]
    await create(one, *(creation(f"run{number}", created_at=at) for number, at in enumerate(instants)))

    assert [(await one.load(f"run{number}")).created_at for number in range(len(instants))] == instants
    assert await listed(one) == [f"run{number}" for number in reversed(range(len(instants)))]


@behaviour
async def ids_of_any_form_are_kept_apart(harness: Harness) -> None:
    """Ids of a hundred characters, of dots, dashes and underscores, and one inside another, are different runs."""
    one = await harness.open("one")
    ids = ["a", "a.", "a-", "a_", "a.b", "ab", "x" * 100, "x" * 99, "0", "00", "con", "nul.txt", "a..b"]
    runs = await create(one, *(creation(run_id, created_at=number) for number, run_id in enumerate(ids)))

    assert await listed(one) == ids[::-1]
    for run in runs:
        assert await one.load(run.run_id) == run
