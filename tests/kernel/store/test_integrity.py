"""What a check finds: everything that is wrong with a store and nothing in a sound one, on every backend alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from anyio import CancelScope
from hypothesis import given
from hypothesis import strategies as st

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, WorkflowState, events, workflow
from flujo.kernel.backend import Commit, FoundRun, Page, Posted, Problem, Request, RunFilter, RunSummary
from flujo.kernel.checking import (
    MOST_FINDINGS,
    Finding,
    Severity,
    StepHistory,
    Verification,
    check,
    next_history,
    unwakeable_steps,
    verify,
    verify_request,
)
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import CorruptStoreError, UnknownEventError
from flujo.kernel.events import KINDS, Event, EventRow, Fact, encode
from flujo.kernel.state import StepState, StepStatus
from flujo.kernel.transitions import fold, replay, summarize
from kernel.harness import START, Harness, crash, until
from kernel.legal_events import legal

KIND = {kind.type: kind for kind in KINDS}

History = StepHistory

GOLDEN = Path(__file__).parents[1] / "golden"


def rows_of(*facts: Fact) -> list[EventRow]:
    """The journal of these facts, recorded one second apart."""
    return [encode(Event(number, START + number * MICROSECONDS, fact)) for number, fact in enumerate(facts, 1)]


def summary_of(rows: Sequence[EventRow], owner: str | None = None) -> RunSummary:
    """The summary that belongs to a sound journal."""
    return summarize(replay("r", "u", rows), owner, 1)


CREATED = events.RunCreated("flow", "{}")
SOUND = rows_of(CREATED, events.StepStarted("a"), events.StepCompleted("a", "1"), events.RunCompleted("1"))


# -- one run -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["format-1", "format-1-more-kinds"])
def test_the_golden_journals_are_sound(name: str) -> None:
    """Every kind of event, as it was once written, passes."""
    lines = (GOLDEN / f"journal-{name}.jsonl").read_text().splitlines()
    rows = [EventRow(*json.loads(line)) for line in lines]

    assert verify(summary_of(rows), rows) == []


@given(st.lists(st.integers(0, 50), max_size=25))
def test_any_legal_history_is_sound(choices: list[int]) -> None:
    """Whatever the kernel may record passes, wherever the history ends."""
    state = WorkflowState(run_id="r", uid="u")
    rows: list[EventRow] = []
    for number, choice in enumerate(choices, 1):
        possible = list(legal(state))
        if not possible:
            break
        event = Event(number, START + number * MICROSECONDS, possible[choice % len(possible)])
        fold(state, event)
        rows.append(encode(event))
    if rows:
        assert verify(summary_of(rows), rows) == []


Change = Callable[[list[EventRow]], Any]


def _put(index: int, **changes: Any) -> Change:
    def change(rows: list[EventRow]) -> None:
        rows[index] = rows[index]._replace(**changes)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.pop(1), "event 3 follows event 1"),
        (lambda rows: rows.insert(2, rows[1]), "event 2 follows event 2"),
        (lambda rows: rows.pop(0), "event 2 follows event 0"),
        (lambda rows: rows.pop(), "its summary says seq 4, its journal 3"),
        (lambda rows: rows.clear(), "its summary says seq 4, its journal 0"),
        (_put(2, at=START), "event 3 (step_completed): it is older than the event before it"),
        (_put(1, body="{"), "event 2 (step_started) is malformed"),
        (_put(1, body="[]"), "event 2 (step_started) is malformed"),
        (_put(1, body='{"step":"a","colour":1}'), "event 2 (step_started) is malformed"),
        (_put(1, body='{"step":5}'), "event 2 (step_started) is malformed: step: Input should be a valid string"),
        (_put(1, body='{"step":"b"}'), "event 3 (step_completed) is malformed"),
        (_put(2, payload="{"), "event 3 (step_completed) is malformed"),
        (_put(2, payload=None), "event 3 (step_completed) is malformed: output"),
        (_put(2, payload="NaN"), "event 3 (step_completed) is malformed"),
        (_put(0, type="run_paused", body='{"reason":"x"}', payload=None), "a run is created by its first event"),
        (_put(1, type="run_created", body='{"workflow":"f"}', payload="{}"), "a run is created by its first event"),
    ],
)
def test_a_changed_row_is_found(change: Change, told: str) -> None:
    """Missing, repeated, older, unreadable and misplaced events are each named with their number."""
    rows = list(SOUND)
    change(rows)

    problems = verify(summary_of(SOUND), rows)

    assert any(told in problem for problem in problems), problems


@pytest.mark.parametrize("labels", ['{"a":1}', '{"a":null}', '{"a":["b"]}', '["a"]', '"a"', '{"a":"b","c":2}'])
def test_what_was_sound_once_is_no_licence_for_others(labels: str) -> None:
    """Each event is judged by what is in it, however many of its kind were sound before."""
    sound, changed = list(SOUND), list(SOUND)
    sound[0] = sound[0]._replace(body='{"workflow":"f","labels":{"a":"b"}}')
    changed[0] = changed[0]._replace(body=f'{{"workflow":"f","labels":{labels}}}')
    for _ in range(2):
        assert not any("malformed" in problem for problem in verify(summary_of(SOUND), sound))
        assert any("event 1 (run_created) is malformed" in each for each in verify(summary_of(SOUND), changed))


def test_the_output_of_a_step_is_no_business_of_the_check() -> None:
    """It is what it is: only that it can be read."""
    rows = list(SOUND)
    rows[2] = rows[2]._replace(payload='{"another": [1.5, "é"]}')

    assert verify(summary_of(SOUND), rows) == []


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ([events.StepCompleted("a", "1"), events.StepStarted("a", 2)], "step 'a': step_started after step_completed"),
        ([events.StepCompleted("a", "1"), events.StepCompleted("a", "1")], "step_completed after step_completed"),
        ([events.StepCompleted("a", "1"), events.StepFailed("a", 1, "E", "")], "step_failed after step_completed"),
        ([events.StepCompleted("a", "1"), events.StepOutputSet("a", "2")], "step_output_set after step_completed"),
        ([events.StepFailed("a", 1, "E", ""), events.StepStarted("a", 2)], "step_started after step_failed"),
        ([events.StepStarted("a", 3)], "attempt 3 follows attempt 1"),
        ([events.StepStarted("a", 1)], "attempt 1 follows attempt 1"),
        ([events.StepStarted("a", 1, 4)], "generation 4 follows generation 1"),
        ([events.AttemptFailed("a", 2, "E", "", 1)], "attempt_failed of attempt 2, and the last one was 1"),
        ([events.StepInterrupted("a", 7)], "step_interrupted of attempt 7, and the last one was 1"),
        ([events.RunCompleted("1"), events.StepStarted("a", 2)], "it happens in a run that is completed already"),
        ([events.RunCompleted("1"), events.RunFailed("E", "")], "it happens in a run that is completed already"),
        ([events.RunCancelled(), events.RunCancelled()], "it happens in a run that is cancelled already"),
        ([events.RunResumed(reset=["b"])], "is malformed"),
        ([events.StepWaiting("a", "sleep")], "step 'a' waits for nothing"),
    ],
)
def test_a_contradiction_is_found(facts: list[Fact], told: str) -> None:
    """What no kernel records, although every event of it can be read."""
    rows = rows_of(CREATED, events.StepStarted("a"), *facts)
    try:
        summary = summary_of(rows)
    except KeyError:
        summary = summary_of(rows[:2])

    problems = verify(summary, rows)

    assert any(told in problem for problem in problems), problems


UNRECORDED = ("run_id", "uid", "owner", "token")


@pytest.mark.parametrize("field", [name for name in RunSummary._fields if name not in UNRECORDED])
def test_every_field_of_a_summary_is_compared(field: str) -> None:
    """A summary that says anything but what the journal adds up to is found; four things are not in it."""
    summary = summary_of(SOUND)
    other: Any = "x" if not isinstance(getattr(summary, field), int) else 99

    (problem,) = verify(summary._replace(**{field: other}), SOUND)

    assert problem.startswith(f"its summary says {field} {other!r}, its journal ")


def test_a_claim_of_a_run_that_rests_is_no_damage() -> None:
    """Whoever was to resume it may have died before it did."""
    assert verify(summary_of(SOUND)._replace(owner="k-1", token=7), SOUND) == []


def test_a_newer_event_is_an_error_of_its_own() -> None:
    """It is not taken for damage."""
    rows = [*SOUND[:2], SOUND[2]._replace(format=9)]

    with pytest.raises(UnknownEventError):
        verify(summary_of(SOUND), rows)


def test_nothing_is_looked_at_behind_a_malformed_event() -> None:
    """One damaged event is one problem, not as many as events follow it."""
    verification = Verification("r", "u")
    for row in [SOUND[0], SOUND[2], SOUND[3]]:
        verification.follow(row)

    assert verification.conclude(summary_of(SOUND)) == ["event 3 follows event 1"]


@pytest.mark.parametrize(
    ("before", "fact", "after", "problem"),
    [
        (None, events.StepStarted("a"), History(1, 1), None),
        (None, events.StepStarted("a", 1, 3), History(3, 1), None),  # as in a fork of a run that was resumed
        (History(1, 1), events.StepStarted("a", 2), History(1, 2), None),
        (History(1, 1, KIND["step_failed"]), events.StepStarted("a", 1, 2), History(2, 1), None),
        (History(1, 1, KIND["step_completed"]), events.StepStarted("a", 1, 2), History(2, 1), None),
        (None, events.StepWaiting("a", "signal", signal="s"), History(1, 0), None),
        (None, events.StepWaiting("a", "child", child="r.a"), History(1, 1), None),
        (History(1, 1), events.AttemptFailed("a", 1, "E", "", 1), History(1, 1), None),
        (History(1, 1), events.StepCompleted("a", "1"), History(1, 1, KIND["step_completed"]), None),
        (
            History(1, 1, KIND["step_failed"]),
            events.StepOutputSet("a", "1"),
            History(1, 1, KIND["step_output_set"]),
            None,
        ),
        (
            History(1, 1, KIND["step_skipped"]),
            events.StepSkipped("a", ""),
            History(1, 1, KIND["step_skipped"]),
            None,
        ),
        (None, events.ValueRecorded("a", "now", "1"), History(1, 0, KIND["value_recorded"]), None),
        (
            None,
            events.StepCompleted("a", "1"),
            History(1, 0, KIND["step_completed"]),
            "step_completed comes before anything has begun it",
        ),
    ],
)
def test_the_history_of_a_step(before: StepHistory | None, fact: Fact, after: StepHistory, problem: str | None) -> None:
    """How attempts are counted and what settles a generation."""
    assert next_history(before, fact) == (after, problem)


@pytest.mark.parametrize(
    ("step", "in_vain"),
    [
        (StepState("a", status=StepStatus.WAITING), True),
        (StepState("a", status=StepStatus.WAITING, until=1), False),
        (StepState("a", status=StepStatus.WAITING, signal="s"), False),
        (StepState("a", status=StepStatus.WAITING, child="r.a"), False),
        (StepState("a", status=StepStatus.RETRYING), True),
        (StepState("a", status=StepStatus.RETRYING, next_attempt_at=1), False),
        (StepState("a", status=StepStatus.COMPLETED), False),
    ],
)
def test_a_wait_needs_something_to_wait_for(step: StepState, in_vain: bool) -> None:
    """An instant, a signal or a child."""
    state = WorkflowState("r", "u", steps={"a": step}, waiting=1)

    assert unwakeable_steps(state) == (["a"] if in_vain else [])


@pytest.mark.parametrize(
    ("kind", "body", "severity"),
    [
        ("signal", '{"name":"go","payload":"1","by":null}', None),
        ("cancel", '{"reason":null,"by":null}', None),
        ("pause", '{"reason":null,"by":null}', None),
        ("set_variable", '{"name":"a","value":"1","reason":null,"by":null}', None),
        ("signal", '{"name":"go"}', Severity.DAMAGED),
        ("signal", "{", Severity.DAMAGED),
        ("cancel", "[]", Severity.DAMAGED),
        ("signal", "7", Severity.DAMAGED),
        ("teleport", "{}", Severity.NEWER),
    ],
)
def test_requests_are_looked_at(kind: str, body: str, severity: Severity | None) -> None:
    """One that cannot be read is damaged, one of a kind nobody knows is newer."""
    found = verify_request(Posted(1, "u", Request(kind, body, START)))

    assert (None if found is None else found[0]) == severity


# -- a store -------------------------------------------------------------------------------------------------------


@workflow(name="waiting")
async def waiting(ctx: Context) -> None:
    await ctx.wait_signal("go")


@workflow(name="quick")
async def quick(ctx: Context) -> int:
    return 1


async def small_store() -> Harness:
    """A store with a run that has completed and one whose owner has died, with a signal in its inbox."""
    harness = Harness()
    async with harness.kernel(waiting, quick) as kernel:
        await kernel.run(quick, run_id="done")
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        crash(kernel)
    return harness


async def test_a_sound_store_has_no_findings() -> None:
    """Runs, events, and runs that nobody runs are counted; progress is told run by run."""
    harness = await small_store()
    told: list[tuple[int, int]] = []
    async with harness.backend() as backend:
        report = await check(backend, progress=lambda done, total: told.append((done, total)))

    assert report.findings == []
    assert report.is_sound
    assert (report.runs, report.events, report.interrupted, report.orphans) == (2, 4, 1, 0)
    assert told == [(1, 2), (2, 2)]


async def test_a_check_of_some_runs_leaves_the_others_out() -> None:
    """With a filter only what matches is looked at."""
    harness = await small_store()
    harness.store.runs["r"].events.pop()
    async with harness.backend() as backend:
        report = await check(backend, RunFilter(statuses=["completed"]))

    assert (report.runs, report.damaged) == (1, 0)


async def findings(harness: Harness) -> list[tuple[Severity, str | None, str]]:
    async with harness.backend() as backend:
        report = await check(backend)
    assert report.damaged == sum(finding.severity is Severity.DAMAGED for finding in report.findings)
    assert report.newer == sum(finding.severity is Severity.NEWER for finding in report.findings)
    for finding in report.findings:
        assert any(command.startswith(("flujoctl ", "pip ")) for command in finding.commands)
    return [finding[:3] for finding in report.findings]


async def test_a_damaged_run_is_named_and_the_others_are_looked_at() -> None:
    """The finding says which run, which event, and what helps."""
    harness = await small_store()
    events_of_r = harness.store.runs["r"].events
    events_of_r[1] = events_of_r[1]._replace(body="{")
    harness.store.runs["done"].summary = harness.store.runs["done"].summary._replace(retries=5)

    (first, second) = sorted(await findings(harness), key=str)

    assert first == (Severity.DAMAGED, "done", "its summary says retries 5, its journal 0")
    assert second[:2] == (Severity.DAMAGED, "r")
    assert second[2].startswith("event 2 (step_waiting) is malformed")


async def test_events_behind_the_summary_are_found() -> None:
    """A journal that goes on although the summary does not know of it contradicts it."""
    harness = await small_store()
    run = harness.store.runs["r"]
    run.events.append(encode(Event(3, run.events[-1].at, events.CancelRequested())))

    assert await findings(harness) == [
        (Severity.DAMAGED, "r", "its journal goes on behind event 2, the last by its summary")
    ]


async def test_a_run_of_a_newer_release_is_named_and_not_called_damaged() -> None:
    """The store is sound; the hint is to upgrade."""
    harness = await small_store()
    events_of_r = harness.store.runs["r"].events
    events_of_r[1] = events_of_r[1]._replace(type="step_teleported")
    async with harness.backend() as backend:
        report = await check(backend)

    (finding,) = report.findings
    assert (finding.severity, finding.run_id) == (Severity.NEWER, "r")
    assert finding.commands == ("pip install --upgrade flujoctl",)
    assert (report.is_sound, report.newer) == (True, 1)


async def test_requests_in_inboxes_are_looked_at() -> None:
    """A damaged one is named with its run."""
    harness = await small_store()
    async with harness.backend() as backend:
        await backend.post("r", Request("signal", "{}", START))
        await backend.post("r", Request("teleport", "{}", START))

    assert [found[:2] for found in await findings(harness)] == [(Severity.DAMAGED, "r"), (Severity.NEWER, "r")]


async def test_a_definition_that_is_gone_is_found() -> None:
    """A run that names a definition which is not in the store could not be resumed from it."""
    rows = rows_of(CREATED._replace(definition="d1"))
    harness = Harness()
    backend = harness.backend()
    await backend.open("k")
    await backend.append([Commit("r", "u", 1, 0, rows, summary_of(rows))])

    assert await findings(harness) == [(Severity.DAMAGED, "r", "its definition d1 is not in the store")]


async def test_children_without_a_parent_are_counted() -> None:
    """One whose parent has gone is an orphan, one that says it started itself is damaged."""
    harness = Harness()
    backend = harness.backend()
    await backend.open("k")
    for run_id, parent in (("a", "gone"), ("b", "b")):
        rows = rows_of(CREATED._replace(parent_run_id=parent))
        summary = summarize(replay(run_id, f"u-{run_id}", rows), None, 1)
        await backend.append([Commit(run_id, summary.uid, 1, 0, rows, summary)])
    report = await check(backend)

    assert report.orphans == 1
    assert [finding.text for finding in report.findings] == ["it says that it has started itself"]


class Failing(InMemoryBackend):
    """Says of itself that a run is damaged, and does not read another one."""

    async def integrity(self) -> Sequence[Problem]:
        return [Problem(None, "page 7 is torn"), Problem("done", "its file is cut off")]

    async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
        raise CorruptStoreError(run_id, "a record does not match its checksum", ["look at the file"])


async def test_what_the_backend_says_of_itself_is_in_the_report() -> None:
    """Once for each run, however often it is seen; a run that cannot be read keeps nobody from the others."""
    harness = await small_store()
    async with Failing(harness.store) as backend:
        report = await check(backend)

    assert [(finding.run_id, finding.text) for finding in report.findings] == [
        (None, "page 7 is torn"),
        ("done", "its file is cut off"),
        ("r", "a record does not match its checksum"),
    ]
    assert report.findings[2].commands == ("look at the file",)


async def test_a_store_that_cannot_be_listed_is_damaged_and_no_error() -> None:
    """What was found before is in the report as well."""

    class Torn(Failing):
        async def list(self, filter: RunFilter, **options: Any) -> Page:
            raise CorruptStoreError(self.url, "the index is torn")

    harness = await small_store()
    async with Torn(harness.store) as backend:
        report = await check(backend)

    assert [finding.text for finding in report.findings] == [
        "page 7 is torn",
        "its file is cut off",
        "the index is torn",
    ]


class Moving(InMemoryBackend):
    """Its runs go on, or are deleted, between the list and the look."""

    def __init__(self, store: MemoryStore, change: Callable[[], object]) -> None:
        super().__init__(store)
        self._change = change

    async def load(self, run_id: str) -> RunSummary:
        found = await super().load(run_id)
        self._change()
        return found


async def test_a_run_that_goes_on_meanwhile_is_judged_by_one_moment() -> None:
    """Events that are committed between two looks are no damage."""
    harness = await small_store()
    run = harness.store.runs["r"]

    def go_on() -> None:
        run.events.append(encode(Event(len(run.events) + 1, run.events[-1].at, events.ProgressReported(None, 1.0))))
        run.summary = run.summary._replace(seq=len(run.events), updated_at=run.events[-1].at)

    async with Moving(harness.store, go_on) as backend:
        report = await check(backend)

    assert report.findings == []


async def test_a_run_that_is_deleted_meanwhile_is_no_damage() -> None:
    """It was there when the check began, and is not any more."""
    harness = await small_store()
    async with Moving(harness.store, lambda: harness.store.runs.clear()) as backend:
        report = await check(backend)

    assert report.findings == []


async def test_a_check_is_given_up_between_two_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cancels it waits for the page that is being read, and for no other."""
    monkeypatch.setattr("flujo.kernel.store.integrity._PAGE", 1)
    harness = await small_store()
    read: list[Sequence[str]] = []

    class Cancelling(InMemoryBackend):
        async def read_runs(self, run_ids: Sequence[str], events: int) -> Sequence[FoundRun]:
            read.append(run_ids)
            scope.cancel()
            return await super().read_runs(run_ids, events)

    async with Cancelling(harness.store) as backend:
        with CancelScope() as scope:
            await check(backend)

    assert scope.cancelled_caught
    assert len(read) == 1


async def test_a_report_lists_so_many_findings_and_counts_the_rest() -> None:
    """A store that is damaged all over does not fill the memory."""

    class Ruined(InMemoryBackend):
        async def integrity(self) -> Sequence[Problem]:
            return [Problem(None, f"page {number} is torn") for number in range(MOST_FINDINGS + 5)]

    harness = await small_store()
    async with Ruined(harness.store) as backend:
        report = await check(backend)

    assert (len(report.findings), report.damaged) == (MOST_FINDINGS, MOST_FINDINGS + 5)
    shown = report.to_dict()
    assert shown["findings"][0]["severity"] == "damaged"
    json.dumps(shown)


def test_a_finding_shows_as_plain_json() -> None:
    """Names of fields, words and texts only."""
    finding = Finding(Severity.NEWER, "r", "text", ("pip install --upgrade flujoctl",))

    assert json.loads(json.dumps(finding.to_dict())) == {
        "severity": "newer",
        "run_id": "r",
        "text": "text",
        "commands": ["pip install --upgrade flujoctl"],
    }
