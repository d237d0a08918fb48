"""Large payloads: kept whole, whoever shares them and whatever becomes of the others."""

from __future__ import annotations

from itertools import pairwise

from flujo.kernel.backend import Commit, EventRow, Refused, RunFilter, RunSummary, StateBackend
from flujo.kernel.errors import RunNotFoundError

from .harness import Harness, behaviour, raising
from .values import create, creation, event, following, journal, settled

MEBIBYTE = 1 << 20


def text_of(size: int, letter: str = "x") -> str:
    """Return a JSON text of so many characters."""
    return '"' + letter * (size - 2) + '"'


def bringing(summary: RunSummary, *payloads: str | None) -> Commit:
    """Return a commit that adds an event for each payload."""
    rows = tuple(event(seq, "step_completed", payload) for seq, payload in enumerate(payloads, summary.seq + 1))
    return following(summary, len(payloads))._replace(rows=rows)


async def payloads_of(handle: StateBackend, summary: RunSummary) -> list[str | None]:
    """Return what the events of a run after the first one carry."""
    return [row.payload for row in (await journal(handle, summary))[1:]]


async def create_with(handle: StateBackend, commit: Commit, payload: str) -> RunSummary:
    """Return a run that has recorded a payload."""
    (summary,) = await create(handle, commit)
    brought = bringing(summary, payload)
    assert await handle.append([brought]) == {}
    return brought.summary


@behaviour
async def a_creation_may_bring_a_large_payload(harness: Harness) -> None:
    """The first event of a run may carry a mebibyte."""
    one = await harness.open("one")
    large = event(1, "run_created", text_of(MEBIBYTE))
    (summary,) = await create(one, creation("a")._replace(rows=(large,)))

    assert list(await journal(one, summary)) == [large]


@behaviour
async def large_text_of_any_script_is_kept(harness: Harness) -> None:
    """A large payload whose characters take several bytes each, and some of them escapes, comes back unchanged."""
    one = await harness.open("one")
    large = '"' + 'ü走\U0001f680\\n\\"\u2028' * (MEBIBYTE // 8) + '"'
    summary = await create_with(one, creation("a"), large)

    assert await payloads_of(one, summary) == [large]


@behaviour
async def payloads_of_every_size_are_kept(harness: Harness) -> None:
    """Payloads of sizes around every power of two come back unchanged and in order, from one commit and several."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    sizes = sorted({2**power + more for power in range(2, 18) for more in (-1, 0, 1)})
    payloads = [text_of(size) for size in sizes if size > 1]
    for some in (payloads[:20], *([payload] for payload in payloads[20:])):
        commit = bringing(summary, *some)
        assert await one.append([commit]) == {}
        summary = commit.summary

    assert await payloads_of(one, summary) == payloads


@behaviour
async def no_payload_is_no_empty_one(harness: Harness) -> None:
    """An event without a payload, one with the text `null` and one with an empty text stay apart."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    commit = bringing(summary, None, "null", "", '""', "{}", "0")
    await one.append([commit])

    assert await payloads_of(one, commit.summary) == [None, "null", "", '""', "{}", "0"]


@behaviour
async def a_payload_is_never_looked_into(harness: Harness) -> None:
    """Whatever a payload says, be it the words of a backend's own, it comes back as it was."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    words = [
        '{"blob":"00","bytes":4}',
        '["blob","00"]',
        '{"$ref":"x"}',
        "blob:00",
        "'; DROP TABLE runs; --",
        "not JSON",
    ]
    commit = bringing(summary, *words)
    await one.append([commit])

    assert await payloads_of(one, commit.summary) == words


@behaviour
async def large_bodies_are_kept(harness: Harness) -> None:
    """The body of an event may be as large as a payload."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    row = EventRow(2, 5, "attempt_failed", 1, f'{{"message":{text_of(MEBIBYTE)}}}', None)
    await one.append([following(summary)._replace(rows=(row,))])

    assert (await journal(one, summary))[1] == row


@behaviour
async def equal_payloads_of_several_runs_are_kept(harness: Harness) -> None:
    """Runs that bring the same large payload, in one batch and in several, all have it."""
    one = await harness.open("one")
    runs = await create(one, *(creation(f"run{number}") for number in range(4)))
    large = text_of(MEBIBYTE)
    commits = [bringing(run, large) for run in runs]
    await one.append(commits[:2])
    for commit in commits[2:]:
        await one.append([commit])

    for commit in commits:
        assert await payloads_of(one, commit.summary) == [large]


@behaviour
async def equal_payloads_of_one_run_are_kept(harness: Harness) -> None:
    """A run may bring the same large payload again and again, in one commit and in several."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    large = text_of(200_000)
    first = bringing(summary, large, None, large)
    await one.append([first])
    second = bringing(first.summary, large)
    await one.append([second])

    assert await payloads_of(one, second.summary) == [large, None, large, large]


@behaviour
async def a_shared_payload_outlives_one_of_its_runs(harness: Harness) -> None:
    """When one of several runs with the same large payload is deleted, the others still have it."""
    one = await harness.open("one")
    large = text_of(MEBIBYTE)
    runs = [await create_with(one, creation(f"run{number}", None), large) for number in range(3)]
    for gone, left in pairwise(runs):
        await one.delete(gone.run_id, gone.uid)
        with raising(RunNotFoundError):
            await journal(one, gone)
        assert await payloads_of(one, left) == [large]


@behaviour
async def a_shared_payload_outlives_pruning(harness: Harness) -> None:
    """When pruning takes some of the runs with the same large payload, the others still have it."""
    one = await harness.open("one")
    large = text_of(MEBIBYTE)
    await create_with(one, settled("old", 10), large)
    young = await create_with(one, settled("young", 5_000), large)
    gone = await one.prune(RunFilter(id_prefix="old"), limit=10, dry_run=False)

    assert [run.run_id for run in gone.runs] == ["old"]
    assert await payloads_of(one, young) == [large]


@behaviour
async def a_payload_comes_back_after_its_last_run_went(harness: Harness) -> None:
    """A large payload whose last run was deleted can be stored again."""
    one = await harness.open("one")
    large = text_of(MEBIBYTE)
    for _ in range(3):
        summary = await create_with(one, creation("a", None), large)
        assert await payloads_of(one, summary) == [large]
        await one.delete("a", summary.uid)


@behaviour
async def large_payloads_are_read_in_pages(harness: Harness) -> None:
    """Large payloads among small ones are read page by page, each in its place."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    payloads = [text_of(100_000 + number) if number % 3 else f'"{number}"' for number in range(12)]
    commit = bringing(summary, *payloads)
    await one.append([commit])
    seen: list[str | None] = []
    while rows := await one.read_events("a", summary.uid, len(seen) + 1, 5):
        seen += [row.payload for row in rows]

    assert seen == payloads


@behaviour
async def large_payloads_outlive_their_handle(harness: Harness) -> None:
    """After a kill and a takeover the new owner reads the large payloads of the one before, and adds to them."""
    one, two = await harness.open("one"), await harness.open("two")
    large, larger = text_of(MEBIBYTE), text_of(MEBIBYTE + 1)
    await create_with(one, creation("a"), large)
    await harness.kill(one)
    commit = bringing(await two.claim("a"), larger, large)
    assert await two.append([commit]) == {}
    reader = await harness.open(None)

    assert await payloads_of(reader, commit.summary) == [large, larger, large]


@behaviour
async def a_refused_commit_brings_no_payload(harness: Harness) -> None:
    """A refused commit with a large payload leaves nothing of it, and the same payload in its batch is kept."""
    one = await harness.open("one")
    (a, b) = await create(one, creation("a"), creation("b"))
    large = text_of(MEBIBYTE)
    late = bringing(a._replace(token=0), large)
    stands = bringing(b, large)

    assert await one.append([late, stands]) == {a.uid: Refused.STALE}
    assert await payloads_of(one, a) == []
    assert await payloads_of(one, stands.summary) == [large]


@behaviour
async def an_event_after_a_refused_one_may_be_large(harness: Harness) -> None:
    """The commit that stands in the place of a refused one has its own payload, whichever of the two is large."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    large = text_of(MEBIBYTE)
    for refused, stands in ((large, '"small"'), ('"small"', large), (large, text_of(MEBIBYTE, "y"))):
        assert await one.append([bringing(summary._replace(token=0), refused)]) == {summary.uid: Refused.STALE}
        commit = bringing(summary, stands)
        assert await one.append([commit]) == {}
        summary = commit.summary
        assert (await journal(one, summary))[-1].payload == stands
