"""Runs that move from store to store: whatever state they are in, they go on over there and come to the same end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from anyio import CancelScope

from flujo.backends import InMemoryBackend
from flujo.backends.memory import MemoryStore
from flujo.kernel.backend import Commit, FoundRun, Refused, Request, RunFilter, RunSummary
from flujo.kernel.checking import check
from flujo.kernel.errors import CorruptStoreError, RunExistsError, StoreError
from flujo.kernel.events import Event, EventRow, ProgressReported, encode
from flujo.kernel.store.reading import READ_EVENTS
from flujo.kernel.transfer import (
    Arrival,
    CopyResult,
    Outcome,
    Presence,
    copy_runs,
    export_run,
    from_json,
    import_run,
    missing,
    presence_of,
    to_json,
)
from kernel.harness import Harness, until
from kernel.store.every_state import (
    LARGE,
    RUNS,
    Open,
    Script,
    between_any_two_stores,
    contents,
    ends,
    fill,
    opened,
    place,
    small_world,
    world,
)


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Open, Open]:
    """Two places for stores."""
    source, target = request.param
    return place(source, tmp_path / "source"), place(target, tmp_path / "target")


@between_any_two_stores
async def test_copied_runs_go_on_to_the_same_end(pair: tuple[Open, Open]) -> None:
    """Between any two stores, in every state a run can be in: all events, requests and definitions arrive as they were,
    the copy passes a check, and its runs end as those of the source do, without a completed step run again."""
    source, target = pair
    harness = await world()
    async with opened(source()) as origin:
        await fill(origin, harness)
    told: list[tuple[int, int]] = []

    async with opened(source(), None) as origin, opened(target()) as copy:
        done = await copy_runs(origin, copy, progress=lambda done, total: told.append((done, total)))

        assert done == CopyResult(len(RUNS), 0, 0, 0, [])
        assert told[-1] == (len(RUNS), len(RUNS))
        assert set(await contents(copy)) == set(RUNS)
        assert await contents(copy) == await contents(origin)
        report = await check(copy)
        assert (report.runs, report.findings) == (len(RUNS), [])

    expected = await ends(harness.backend())
    assert await ends(target()) == expected
    assert expected["completed"][1] == ["quick", LARGE]
    assert expected["signalled"][:2] == ("completed", ["listening", ["é", 2]])
    assert expected["to-cancel"][:3:2] == ("cancelled", "no more")
    assert expected["family"][1] == ["parent", ["listening", [3, 6]]]
    assert expected["bodies"] == []  # the first step of each was done before


@between_any_two_stores
async def test_exported_runs_go_on_to_the_same_end(pair: tuple[Open, Open]) -> None:
    """The same through documents, one for each run that no other one has started."""
    source, target = pair
    harness = await world()
    async with opened(source()) as origin:
        await fill(origin, harness)

    async with opened(source(), None) as origin, opened(target()) as copy:
        for run_id in RUNS:
            if run_id != "family.child":
                document = to_json(await export_run(origin, run_id, with_children=True))
                json.loads(document)
                arrivals = await import_run(copy, from_json(document))
                assert arrivals[-1] == Arrival(run_id, Outcome.CREATED)
        assert await contents(copy) == await contents(origin)

    assert await ends(target()) == await ends(harness.backend())


@between_any_two_stores
async def test_a_repeated_copy_changes_nothing_and_adds_what_is_missing(pair: tuple[Open, Open]) -> None:
    """Runs that are there are left as they are; requests that a crash has kept from being posted are posted."""
    source, target = pair
    harness = await world()
    async with opened(source()) as origin:
        await fill(origin, harness)
    async with opened(source(), None) as origin, opened(target()) as copy:
        await copy_runs(origin, copy, RunFilter(workflow="quick"))
        for run in harness.store.runs.values():  # as if the copy had died before it posted anything
            if run.summary.run_id == "signalled":
                summary = run.summary._replace(owner=None)
                await copy.append([Commit("signalled", summary.uid, summary.token, 0, run.events, summary)])

        second = await copy_runs(origin, copy)
        third = await copy_runs(origin, copy)

        assert second == CopyResult(len(RUNS) - 2, 2, 0, 0, [])
        assert third == CopyResult(0, len(RUNS), 0, 0, [])
        assert await contents(copy) == await contents(origin)


async def test_a_copy_that_has_gone_on_is_left_alone() -> None:
    """It was there already, and its own history is longer."""
    harness, script = await small_world("r")
    there = Harness()
    async with harness.backend() as origin, opened(there.backend()) as copy:
        await copy_runs(origin, copy)
    async with there.kernel(*script.workflows) as kernel:
        await kernel.signal("r", "go", 1)
        await until(kernel, "r", "step_completed", step="go")
        before = there.journal("r")

        async with harness.backend() as origin, opened(there.backend()) as copy:
            done = await copy_runs(origin, copy)

    assert done == CopyResult(0, 0, 1, 0, [])
    assert there.journal("r")[: len(before)] == before


async def test_a_run_that_has_gone_on_in_the_source_is_a_conflict() -> None:
    """The copy is older; it is named, with what helps, and the other runs are copied."""
    harness, script = await small_world("r", "s")
    there = Harness()
    async with harness.backend() as origin, opened(there.backend()) as copy:
        await copy_runs(origin, copy, RunFilter(id_prefix="r"))
    async with harness.kernel(*script.workflows) as kernel:
        await kernel.signal("r", "go", 1)
        await until(kernel, "r", "step_completed", step="go")

    async with harness.backend() as origin, opened(there.backend()) as copy:
        done = await copy_runs(origin, copy)

    assert (done.created, done.refused) == (1, 1)
    (refusal,) = done.refusals
    assert refusal.run_id == "r"
    assert "fewer events, 4 of " in refusal.text
    assert any(command.startswith("flujoctl delete r") for command in refusal.commands)


async def test_a_run_that_has_gone_on_in_both_places_is_a_conflict() -> None:
    """Neither history is the continuation of the other."""
    harness, script = await small_world("r")
    there = Harness()
    async with harness.backend() as origin, opened(there.backend()) as copy:
        await copy_runs(origin, copy)
    there.clock.advance(1)
    for place_, payloads in ((harness, [1]), (there, [2, 3])):
        async with place_.kernel(*script.workflows) as kernel:
            for payload in payloads:
                await kernel.signal("r", "go", payload)
            await until(kernel, "r", "step_completed", step="go")

    async with harness.backend() as origin, opened(there.backend()) as copy:
        done = await copy_runs(origin, copy)
        with pytest.raises(RunExistsError, match="both places"):
            await import_run(copy, await export_run(origin, "r"))

    assert "gone on in both places" in done.refusals[0].text


async def test_an_id_that_is_taken_is_a_conflict() -> None:
    """By another run, or by one whose id differs in case only; the run that is there stays as it is."""
    harness, _ = await small_world("r", "S")
    there, _ = await small_world("r", "s")
    before = {run_id: there.journal(run_id) for run_id in ("r", "s")}

    async with harness.backend() as origin, opened(there.backend()) as copy:
        done = await copy_runs(origin, copy)
        for run_id in ("r", "S"):
            with pytest.raises(RunExistsError):
                await import_run(copy, await export_run(origin, run_id))

    told = {refusal.run_id: refusal.text for refusal in done.refusals}
    assert "it is another run" in told["r"]
    assert "differs in case only" in told["S"]
    assert {run_id: there.journal(run_id) for run_id in ("r", "s")} == before


async def test_a_live_run_is_copied_only_if_that_is_asked_for() -> None:
    """A live kernel goes on with it, and so would whoever resumes the copy."""
    harness, script = await small_world()
    there = Harness()
    async with harness.kernel(*script.workflows) as kernel:
        await kernel.start("listening", run_id="r")
        await until(kernel, "r", "step_waiting")
        async with harness.backend() as origin, opened(there.backend()) as copy:
            refused = await copy_runs(origin, copy)
            done = await copy_runs(origin, copy, include_live=True)
            document = await export_run(origin, "r")

    assert (refused.created, refused.refused) == (0, 1)
    assert "live process" in refused.refusals[0].text
    assert done == CopyResult(1, 0, 0, 0, [])
    assert there.summary("r").owner is None
    assert document.run.live


async def test_a_damaged_run_keeps_nobody_from_the_others() -> None:
    """It is refused with what is wrong with it, and so is one of a newer release; neither can be exported."""
    harness, _ = await small_world("bad", "good", "newer")
    rows = harness.store.runs["bad"].events
    rows[1] = rows[1]._replace(body="{")
    rows = harness.store.runs["newer"].events
    rows[1] = rows[1]._replace(type="step_teleported")
    there = Harness()

    async with harness.backend() as origin, opened(there.backend()) as copy:
        done = await copy_runs(origin, copy)
        with pytest.raises(CorruptStoreError, match="event 2"):
            await export_run(origin, "bad")

    assert (done.created, done.refused) == (1, 2)
    assert list(there.store.runs) == ["good"]
    told = {refusal.run_id: refusal for refusal in done.refusals}
    assert "event 2 (step_started) is malformed" in told["bad"].text
    assert told["newer"].commands == ("pip install --upgrade flujoctl",)


async def test_many_runs_are_copied_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as fit a batch share a commit to the disk, and a large one ends its batch."""
    monkeypatch.setattr("flujo.kernel.store.copying._BATCH_RUNS", 100)
    monkeypatch.setattr("flujo.kernel.store.copying._BATCH_BYTES", len(LARGE))
    harness = Harness()
    script = Script()
    async with harness.kernel(*script.workflows) as kernel:
        for number in range(150):
            await kernel.start("sleepy", run_id=f"r{number}")
            await until(kernel, f"r{number}", "step_waiting")
        await kernel.run("quick", run_id="large-1")
        await kernel.run("quick", run_id="large-2")
    batches: list[int] = []

    class Counting(InMemoryBackend):
        async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
            batches.append(len(commits))
            return await super().append(commits)

    async with harness.backend() as origin, opened(Counting()) as copy:
        done = await copy_runs(origin, copy)

    assert done.created == 152
    assert batches == [100, 51, 1]  # equally old ones by id, downwards


@pytest.mark.parametrize("batch", [1, 100])
async def test_what_arrives_is_read_again(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that gives back something else than it was given is found out at once, and is no fault of a run."""
    monkeypatch.setattr("flujo.kernel.store.copying._BATCH_RUNS", batch)

    class Forgetful(InMemoryBackend):
        async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
            rows = await super().read_events(run_id, uid, after_seq, limit)
            return [row._replace(at=row.at + 1) for row in rows]

    harness, _ = await small_world("r")
    async with harness.backend() as origin, opened(Forgetful()) as copy:
        with pytest.raises(CorruptStoreError, match="does not match the source"):
            await copy_runs(origin, copy)


class Counted(InMemoryBackend):
    """Counts the calls that ask for runs; one that asks for many counts once."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        super().__init__(store)
        self.calls: Counter[str] = Counter()

    async def load(self, run_id: str) -> RunSummary:
        self.calls["load"] += 1
        return await super().load(run_id)

    async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
        self.calls["read_events"] += 1
        return await super().read_events(run_id, uid, after_seq, limit)

    async def read_runs(self, run_ids: Sequence[str], events: int) -> Sequence[FoundRun]:
        before = self.calls.copy()
        found = await super().read_runs(run_ids, events)
        self.calls = before
        self.calls["read_runs"] += 1
        return found


async def test_a_copy_asks_for_many_runs_at_once() -> None:
    """However many there are: a page of them takes one look at the source, one at the target, and one at what has
    arrived. A repeat takes the first two."""
    harness, _ = await small_world(*(f"r{number}" for number in range(30)))
    source, target = Counted(harness.store), Counted()
    async with opened(source, None), opened(target):
        assert (await copy_runs(source, target)).created == 30
        assert (source.calls, target.calls) == ({"read_runs": 1}, {"read_runs": 2})

        assert (await copy_runs(source, target)).unchanged == 30
        assert (source.calls, target.calls) == ({"read_runs": 2}, {"read_runs": 3})


@pytest.mark.parametrize("pages", [1, 3])
async def test_a_copy_is_given_up_between_two_pages(pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cancels it waits for the page that is being read, and for no other; what has arrived is whole."""
    monkeypatch.setattr("flujo.kernel.store.copying._PAGE", 4)
    monkeypatch.setattr("flujo.kernel.store.copying._BATCH_RUNS", 4)
    harness, _ = await small_world(*(f"r{number:02}" for number in range(20)))
    read = 0

    class Cancelling(InMemoryBackend):
        async def read_runs(self, run_ids: Sequence[str], events: int) -> Sequence[FoundRun]:
            nonlocal read
            read += 1
            if read == pages:
                scope.cancel()
            return await super().read_runs(run_ids, events)

    async with opened(Cancelling(harness.store), None) as source, opened(InMemoryBackend()) as target:
        with CancelScope() as scope:
            await copy_runs(source, target)

        assert scope.cancelled_caught
        assert read == pages
        assert await target.count(RunFilter()) == 4 * (pages - 1)
        assert (await check(target)).findings == []


async def test_long_journals_are_copied_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of more events than are asked for at once arrives whole, among short ones, and is known on a repeat."""
    harness, _ = await small_world("long", "short")
    last = harness.journal("long")[-1]
    run = harness.store.runs["long"]
    for number in range(READ_EVENTS + 1):
        run.events.append(encode(Event(len(run.events) + 1, last.at, ProgressReported(None, float(number)))))
    run.summary = run.summary._replace(seq=len(run.events))
    async with harness.backend() as origin, opened(InMemoryBackend()) as copy:
        assert (await copy_runs(origin, copy)).created == 2
        assert await contents(copy) == await contents(origin)

        assert (await copy_runs(origin, copy)).unchanged == 2
        assert (await check(copy)).findings == []


async def test_an_interrupted_copy_is_taken_up() -> None:
    """Wherever the target fails, in a commit or before a request is posted, the next copy completes it."""

    class Failing(InMemoryBackend):
        left = 0

        def _spend(self) -> None:
            if self.left == 0:
                raise StoreError(self.url, "the disk is on fire")
            self.left -= 1

        async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
            self._spend()
            refused = await super().append(commits)
            self._spend()  # made, and the caller never hears of it
            return refused

        async def post(self, run_id: str, request: Request) -> RunSummary:
            self._spend()
            posted = await super().post(run_id, request)
            self._spend()
            return posted

    harness = await world()
    async with harness.backend() as origin:
        expected = await contents(origin)
        for writes in range(100):
            store = MemoryStore()
            async with opened(Failing(store)) as copy:
                copy.left = writes
                try:
                    await copy_runs(origin, copy)
                except StoreError:
                    pass
                else:
                    break
                copy.left = -1
                assert (await copy_runs(origin, copy)).refused == 0
                assert await contents(copy) == expected
    assert writes > 10


SUMMARY = RunSummary(
    "r", "u", "w", None, "waiting", 5, None, 1, "{}", 1, None, 1, None, None, None, None, None, None, 0, None, 0, 0,
    None, None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, Presence.MISSING),
        (SUMMARY._replace(uid="v"), Presence.OTHER),
        (SUMMARY._replace(uid="v", seq=9), Presence.OTHER),
        (SUMMARY._replace(seq=4), Presence.BEHIND),
        (SUMMARY, Presence.SAME),
        (SUMMARY._replace(owner="k", token=9), Presence.SAME),
        (SUMMARY._replace(seq=6), Presence.AHEAD),
    ],
)
def test_where_a_run_stands(found: RunSummary | None, expected: Presence) -> None:
    """Its uid says which run it is, and its last event how far it has come."""
    assert presence_of(SUMMARY, found) is expected


A, B, C = (Request("signal", f'{{"name":"{name}"}}', 1) for name in "abc")


@pytest.mark.parametrize(
    ("wanted", "there", "absent"),
    [
        ([], [], []),
        ([A, B], [], [A, B]),
        ([A, B, C], [A], [B, C]),
        ([A, B], [A, B], []),
        ([A, A, B], [A], [A, B]),
        ([A, B], [C], [A, B]),
    ],
)
def test_which_requests_are_missing(wanted: list[Request], there: list[Request], absent: list[Request]) -> None:
    """Those that are not there as often as they should, in their order; what others have left is not counted."""
    assert missing(wanted, there) == absent
