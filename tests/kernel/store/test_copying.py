"""Runs that move from store to store: whatever state they are in, they go on over there and come to the same end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flujo.backends import FileBackend, InMemoryBackend, SQLiteBackend
from flujo.backends.memory import MemoryStore
from flujo.kernel import Context, Kernel, Observer, RetryPolicy, StoredDefinition, Workflow, WorkflowState, workflow
from flujo.kernel.backend import Commit, Refused, Request, RunFilter, RunSummary, StateBackend
from flujo.kernel.checking import check
from flujo.kernel.errors import (
    CorruptStoreError,
    InvalidExportError,
    RunCancelled,
    RunExistsError,
    RunFailed,
    RunNotFoundError,
    StoreError,
)
from flujo.kernel.events import Event, EventRow, RunCreated, SignalReceived, encode
from flujo.kernel.transfer import (
    Arrival,
    Copied,
    Export,
    ExportedRun,
    Outcome,
    Standing,
    copy_runs,
    examine_export,
    export_run,
    from_json,
    import_run,
    missing,
    snapshot,
    standing,
    to_json,
)
from flujo.kernel.transitions import fold, summarize
from flujo.kernel.values import encode as encode_value
from kernel.harness import JumpingClock, ManualClock, Stage, crash, recorded, until
from kernel.legal_events import legal

# -- a store with runs in every state ------------------------------------------------------------------------------

LARGE = "naïve 東京 🙂 " * 60_000
DEFINITION = StoredDefinition("d1", "written", "3", "the text: é")


class Script:
    """The workflows of these tests. `bodies` are the steps whose body has run; `mended` lets what fails succeed."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.mended = False
        self.hanging = anyio.Event()
        self.workflows = [self._program(name) for name in PROGRAMS]

    def body(self, ctx: Context, name: str, value: Any = None) -> Callable[[], Awaitable[Any]]:
        async def body() -> Any:
            self.bodies.append(f"{ctx.run_id}/{name}")
            return value

        return body

    def _program(self, name: str) -> Workflow:
        @workflow(name=name)
        async def program(ctx: Context) -> Any:
            first = await ctx.step(self.body(ctx, "first", name), name="first")
            return [first, await PROGRAMS[name](self, ctx)]

        return program


async def _quick(script: Script, ctx: Context) -> Any:
    return await ctx.step(script.body(ctx, "large", LARGE), name="large")


async def _flaky(script: Script, ctx: Context) -> Any:
    async def body() -> str:
        if not script.mended:
            raise ValueError("not yet")
        return "mended"

    return await ctx.step(body, name="second")


async def _retried(script: Script, ctx: Context) -> Any:
    async def body() -> str:
        if not script.mended:
            raise ConnectionError("not yet")
        return "mended"

    return await ctx.step(body, name="second", retry=RetryPolicy(max_attempts=5, delay=60))


async def _hanging(script: Script, ctx: Context) -> Any:
    async def body() -> str:
        if not script.mended:
            script.hanging.set()
            await anyio.sleep_forever()
        return "through"

    return await ctx.step(body, name="second")


async def _sleepy(script: Script, ctx: Context) -> Any:
    await ctx.sleep("30d")
    return (await ctx.now()).isoformat()[:4]


async def _listening(script: Script, ctx: Context) -> Any:
    return [await ctx.wait_signal("go"), await ctx.wait_signal("go")]


async def _parent(script: Script, ctx: Context) -> Any:
    return await ctx.run_child("listening", name="child")


PROGRAMS: dict[str, Callable[[Script, Context], Awaitable[Any]]] = {
    "quick": _quick,
    "flaky": _flaky,
    "retried": _retried,
    "hanging": _hanging,
    "sleepy": _sleepy,
    "listening": _listening,
    "parent": _parent,
}


async def world() -> Stage:
    """A store in memory, left by a kernel that died, with a run in every state there is."""
    stage = Stage(ManualClock())
    script = Script()
    async with stage.kernel(*script.workflows) as kernel:
        await kernel.run("quick", run_id="completed", labels={"team": "a", "é": "ü"})
        for run_id in ("failed", "forked"):
            with pytest.raises(RunFailed):
                await kernel.run("flaky", run_id=run_id)
        await kernel.start("listening", run_id="cancelled")
        await until(kernel, "cancelled", "step_waiting")
        await kernel.cancel("cancelled", "enough")
        with pytest.raises(RunCancelled):
            await kernel.result("cancelled")
        for run_id, name in (
            ("paused", "listening"),
            ("waiting", "listening"),
            ("signalled", "listening"),
            ("to-cancel", "listening"),
            ("sleeping", "sleepy"),
            ("family", "parent"),
        ):
            await kernel.start(name, run_id=run_id, labels={"team": "b"})
            await until(kernel, run_id, "step_waiting")
        await recorded(stage, "family.child", "step_waiting")
        await kernel.signal("waiting", "go", 1)
        await until(kernel, "waiting", "step_waiting", count=2)
        await kernel.pause("paused")
        await until(kernel, "paused", "run_paused")
        await kernel.start("retried", run_id="retrying")
        await until(kernel, "retrying", "attempt_failed")
        await kernel.start("hanging", run_id="interrupted")
        await script.hanging.wait()
        await until(kernel, "interrupted", "step_started", step="second")
        crash(kernel)
    async with stage.backend() as backend:
        observer = Observer(backend, clock=stage.clock)
        for run_id, payload in (("signalled", "é"), ("signalled", 2), ("family.child", 3), ("paused", 4)):
            await observer.signal(run_id, "go", payload)
        await backend.post("to-cancel", Request("cancel", '{"reason":"no more","by":"ann"}', stage.clock.now()))
    return stage


RUNS = [
    *("completed", "failed", "forked", "cancelled", "paused", "waiting", "signalled", "to-cancel", "sleeping"),
    *("family", "family.child", "retrying", "interrupted"),
]


async def ends(backend: StateBackend) -> dict[str, Any]:
    """How every run of `world` ends in a store: a kernel recovers it, and people resume and signal what needs it."""
    script = Script()
    script.mended = True
    async with Kernel(backend, script.workflows, clock=JumpingClock()) as kernel:
        await kernel.signal("waiting", "go", 5)
        await kernel.signal("family.child", "go", 6)
        for run_id in ("failed", "cancelled", "paused"):
            await kernel.resume(run_id)
        for run_id in ("cancelled", "cancelled", "paused"):
            await kernel.signal(run_id, "go", 7)
        await kernel.fork("forked", new_run_id="fork")
        found: dict[str, Any] = {}
        for run_id in sorted({*RUNS, "fork"} - {"forked"}):
            state = await kernel.wait(run_id)
            found[run_id] = (state.status.value, state.output, state.cancel_reason, dict(state.labels))
        found["bodies"] = sorted(script.bodies)
        found["forked"] = (await kernel.inspect("forked")).status
        return found


# -- stores --------------------------------------------------------------------------------------------------------

Open = Callable[[], StateBackend]


def place(kind: str, folder: Path) -> Open:
    """A place for a store, and how to get a handle on it."""
    if kind == "memory":
        store = MemoryStore()
        return lambda: InMemoryBackend(store)
    if kind == "file":
        return lambda: FileBackend(folder / "store", "normal")
    return lambda: SQLiteBackend(folder / "state.db", "normal")


Handle = TypeVar("Handle", bound=StateBackend)


@asynccontextmanager
async def opened(handle: Handle, owner: str | None = "mover") -> AsyncIterator[Handle]:
    """A handle while it is open, as an owner unless it is told otherwise."""
    await handle.open(owner)
    try:
        yield handle
    finally:
        await handle.close()


async def fill(backend: StateBackend, stage: Stage) -> None:
    """Write the runs of a store in memory into another one as the port allows it, with nothing but the port."""
    for run in stage.store.runs.values():
        summary = run.summary._replace(owner=None)
        definition = stage.store.definitions.get(summary.definition or "")
        commit = Commit(summary.run_id, summary.uid, summary.token, 0, run.events, summary, definition=definition)
        assert await backend.append([commit]) == {}
    for posted in stage.store.inbox.values():
        (run_id,) = (run.summary.run_id for run in stage.store.runs.values() if run.summary.uid == posted.uid)
        await backend.post(run_id, posted.request)


async def contents(backend: StateBackend) -> dict[str, Any]:
    """Everything a store holds, but for owners."""
    found: dict[str, Any] = {}
    for listed in (await backend.list(RunFilter(), limit=1000)).runs:
        summary = (await backend.load(listed.run_id))._replace(owner=None)
        rows = list(await backend.read_events(summary.run_id, summary.uid, 0, 10_000))
        waiting = [posted.request for posted in await backend.requests(summary.run_id, summary.uid)]
        found[summary.run_id] = (summary, rows, waiting)
    return found


LOOPS = {
    "memory": InMemoryBackend.capabilities.event_loops,
    "file": FileBackend.capabilities.event_loops,
    "sqlite": SQLiteBackend.capabilities.event_loops,
}

between_any_two_stores = pytest.mark.parametrize(
    ("pair", "anyio_backend"),
    [
        pytest.param((source, target), loop, id=f"{source}-to-{target}-{loop}")
        for source in LOOPS
        for target in LOOPS
        for loop in LOOPS[source]
        if loop in LOOPS[target]
    ],
    indirect=["pair"],
)


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Open, Open]:
    """Two places for stores."""
    source, target = request.param
    return place(source, tmp_path / "source"), place(target, tmp_path / "target")


# -- copying -------------------------------------------------------------------------------------------------------


@between_any_two_stores
async def test_copied_runs_go_on_to_the_same_end(pair: tuple[Open, Open]) -> None:
    """Between any two stores, in every state a run can be in: all events, requests and definitions arrive as they were,
    the copy passes a check, and its runs end as those of the source do, without a completed step run again."""
    source, target = pair
    stage = await world()
    async with opened(source()) as origin:
        await fill(origin, stage)
    told: list[tuple[int, int]] = []

    async with opened(source(), None) as origin, opened(target()) as copy:
        done = await copy_runs(origin, copy, progress=lambda done, total: told.append((done, total)))

        assert done == Copied(len(RUNS), 0, 0, 0, [])
        assert told[-1] == (len(RUNS), len(RUNS))
        assert set(await contents(copy)) == set(RUNS)
        assert await contents(copy) == await contents(origin)
        report = await check(copy)
        assert (report.runs, report.findings) == (len(RUNS), [])

    expected = await ends(stage.backend())
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
    stage = await world()
    async with opened(source()) as origin:
        await fill(origin, stage)

    async with opened(source(), None) as origin, opened(target()) as copy:
        for run_id in RUNS:
            if run_id != "family.child":
                document = to_json(await export_run(origin, run_id, with_children=True))
                json.loads(document)
                arrivals = await import_run(copy, from_json(document))
                assert arrivals[-1] == Arrival(run_id, Outcome.CREATED)
        assert await contents(copy) == await contents(origin)

    assert await ends(target()) == await ends(stage.backend())


@between_any_two_stores
async def test_a_repeated_copy_changes_nothing_and_adds_what_is_missing(pair: tuple[Open, Open]) -> None:
    """Runs that are there are left as they are; requests that a crash has kept from being posted are posted."""
    source, target = pair
    stage = await world()
    async with opened(source()) as origin:
        await fill(origin, stage)
    async with opened(source(), None) as origin, opened(target()) as copy:
        await copy_runs(origin, copy, RunFilter(workflow="quick"))
        for run in stage.store.runs.values():  # as if the copy had died before it posted anything
            if run.summary.run_id == "signalled":
                summary = run.summary._replace(owner=None)
                await copy.append([Commit("signalled", summary.uid, summary.token, 0, run.events, summary)])

        second = await copy_runs(origin, copy)
        third = await copy_runs(origin, copy)

        assert second == Copied(len(RUNS) - 2, 2, 0, 0, [])
        assert third == Copied(0, len(RUNS), 0, 0, [])
        assert await contents(copy) == await contents(origin)


async def small_world(*run_ids: str) -> tuple[Stage, Script]:
    """A store in memory with runs that wait for signals, and whose owner is dead."""
    stage = Stage()
    script = Script()
    async with stage.kernel(*script.workflows) as kernel:
        for run_id in run_ids:
            await kernel.start("listening", run_id=run_id)
            await until(kernel, run_id, "step_waiting")
        crash(kernel)
    return stage, script


async def test_a_copy_that_has_gone_on_is_left_alone() -> None:
    """It was there already, and its own history is longer."""
    stage, script = await small_world("r")
    there = Stage()
    async with stage.backend() as origin, opened(there.backend()) as copy:
        await copy_runs(origin, copy)
    async with there.kernel(*script.workflows) as kernel:
        await kernel.signal("r", "go", 1)
        await until(kernel, "r", "step_completed", step="go")
        before = there.journal("r")

        async with stage.backend() as origin, opened(there.backend()) as copy:
            done = await copy_runs(origin, copy)

    assert done == Copied(0, 0, 1, 0, [])
    assert there.journal("r")[: len(before)] == before


async def test_a_run_that_has_gone_on_in_the_source_is_a_conflict() -> None:
    """The copy is older; it is named, with what helps, and the other runs are copied."""
    stage, script = await small_world("r", "s")
    there = Stage()
    async with stage.backend() as origin, opened(there.backend()) as copy:
        await copy_runs(origin, copy, RunFilter(id_prefix="r"))
    async with stage.kernel(*script.workflows) as kernel:
        await kernel.signal("r", "go", 1)
        await until(kernel, "r", "step_completed", step="go")

    async with stage.backend() as origin, opened(there.backend()) as copy:
        done = await copy_runs(origin, copy)

    assert (done.created, done.refused) == (1, 1)
    (refusal,) = done.refusals
    assert refusal.run_id == "r"
    assert "fewer events, 4 of " in refusal.text
    assert any(command.startswith("flujoctl delete r") for command in refusal.commands)


async def test_a_run_that_has_gone_on_in_both_places_is_a_conflict() -> None:
    """Neither history is the continuation of the other."""
    stage, script = await small_world("r")
    there = Stage()
    async with stage.backend() as origin, opened(there.backend()) as copy:
        await copy_runs(origin, copy)
    there.clock.advance(1)
    for place_, payloads in ((stage, [1]), (there, [2, 3])):
        async with place_.kernel(*script.workflows) as kernel:
            for payload in payloads:
                await kernel.signal("r", "go", payload)
            await until(kernel, "r", "step_completed", step="go")

    async with stage.backend() as origin, opened(there.backend()) as copy:
        done = await copy_runs(origin, copy)
        with pytest.raises(RunExistsError, match="both places"):
            await import_run(copy, await export_run(origin, "r"))

    assert "gone on in both places" in done.refusals[0].text


async def test_an_id_that_is_taken_is_a_conflict() -> None:
    """By another run, or by one whose id differs in case only; the run that is there stays as it is."""
    stage, _ = await small_world("r", "S")
    there, _ = await small_world("r", "s")
    before = {run_id: there.journal(run_id) for run_id in ("r", "s")}

    async with stage.backend() as origin, opened(there.backend()) as copy:
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
    stage, script = await small_world()
    there = Stage()
    async with stage.kernel(*script.workflows) as kernel:
        await kernel.start("listening", run_id="r")
        await until(kernel, "r", "step_waiting")
        async with stage.backend() as origin, opened(there.backend()) as copy:
            refused = await copy_runs(origin, copy)
            done = await copy_runs(origin, copy, include_live=True)
            document = await export_run(origin, "r")

    assert (refused.created, refused.refused) == (0, 1)
    assert "live process" in refused.refusals[0].text
    assert done == Copied(1, 0, 0, 0, [])
    assert there.summary("r").owner is None
    assert document.run.live


async def test_a_damaged_run_keeps_nobody_from_the_others() -> None:
    """It is refused with what is wrong with it, and so is one of a newer release; neither can be exported."""
    stage, _ = await small_world("bad", "good", "newer")
    rows = stage.store.runs["bad"].events
    rows[1] = rows[1]._replace(body="{")
    rows = stage.store.runs["newer"].events
    rows[1] = rows[1]._replace(type="step_teleported")
    there = Stage()

    async with stage.backend() as origin, opened(there.backend()) as copy:
        done = await copy_runs(origin, copy)
        with pytest.raises(CorruptStoreError, match="event 2"):
            await export_run(origin, "bad")

    assert (done.created, done.refused) == (1, 2)
    assert list(there.store.runs) == ["good"]
    told = {refusal.run_id: refusal for refusal in done.refusals}
    assert "event 2 (step_started) makes no sense" in told["bad"].text
    assert told["newer"].commands == ("pip install --upgrade flujoctl",)


async def test_many_runs_are_copied_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as fit a batch share a commit to the disk, and a large one ends its batch."""
    monkeypatch.setattr("flujo.kernel.store.copying._BATCH_BYTES", len(LARGE))
    stage = Stage()
    script = Script()
    async with stage.kernel(*script.workflows) as kernel:
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

    async with stage.backend() as origin, opened(Counting()) as copy:
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

    stage, _ = await small_world("r")
    async with stage.backend() as origin, opened(Forgetful()) as copy:
        with pytest.raises(CorruptStoreError, match="does not read as it was written"):
            await copy_runs(origin, copy)


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

    stage = await world()
    async with stage.backend() as origin:
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


# -- documents -----------------------------------------------------------------------------------------------------


async def exported() -> Export:
    """A family of two, as a document holds it."""
    stage = await world()
    async with stage.backend() as backend:
        return await export_run(backend, "family", with_children=True, clock=stage.clock)


async def test_a_document_reads_back_as_it_was_written() -> None:
    """All texts are in it as they were recorded."""
    export = await exported()

    read = from_json(to_json(export))

    assert read == export
    shown = json.loads(to_json(export))
    assert (shown["format"], shown["exported_at"]) == (1, "2026-01-01T00:00:00.000000Z")
    assert shown["run"]["summary"]["run_id"] == "family"
    assert [event["seq"] for event in shown["run"]["events"]] == list(range(1, export.run.summary.seq + 1))
    assert [child["summary"]["run_id"] for child in shown["children"]] == ["family.child"]
    assert shown["children"][0]["requests"][0]["kind"] == "signal"


@given(st.lists(st.integers(0, 50), max_size=20), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_legal_history_travels(choices: list[int], text: str) -> None:
    """Whatever a run can have recorded, and whatever its texts hold, the document reads back as it was written."""
    created = RunCreated("flow", encode_value({"text": text}), labels={"text": text})
    state = WorkflowState(run_id="r", uid="u")
    rows: list[EventRow] = []
    for number, choice in enumerate([0, *choices], 1):
        possible = list(legal(state)) if rows else [created]
        if not possible:
            break
        event = Event(number, number, possible[choice % len(possible)])
        fold(state, event)
        rows.append(encode(event))
    requests = [Request("signal", encode_value({"name": "go", "payload": text, "by": text}), 1)]
    run = ExportedRun(summarize(state, None, 1), rows, None, requests, True)
    export = Export(1, text, text, run, [])

    read = from_json(to_json(export))

    assert read == export
    examine_export(read)


def _cut(document: dict[str, Any]) -> None:
    del document["run"]["events"][-1]


def _rename(document: dict[str, Any]) -> None:
    document["run"]["summary"]["run_id"] = "../../etc"


def _adopt(document: dict[str, Any]) -> None:
    document["children"][0], document["run"] = document["run"], document["children"][0]


def _repeat(document: dict[str, Any]) -> None:
    document["children"].append(document["children"][0])


def _put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_cut, "its summary says"),
        (_rename, "not a valid run id"),
        (_adopt, "was started by none of the runs before it"),
        (_repeat, "is in it twice"),
        (_put("format", value=2), "it has format 2, this release knows up to 1"),
        (_put("format", value="1"), "format"),
        (_put("colour", value=1), "colour: "),
        (_put("run", "summary", "status", value="completed"), "its summary says status 'completed'"),
        (_put("run", "summary", "seq", value="3"), "run.summary.seq"),
        (_put("run", "summary", "owner", value="k-1"), "it is owned by 'k-1'"),
        (_put("run", "summary", "token", value=2**63), "larger than any store can hold"),
        (_put("run", "events", 1, "seq", value=7), "event 7 follows event 1"),
        (_put("run", "events", 1, "body", value='{"step":5}'), "makes no sense"),
        (_put("run", "events", 1, "type", value="step_teleported"), "newer release"),
        (_put("run", "events", 1, "body", value={"step": "first"}), "run.events.1.body"),
        (_put("run", "definition", value=DEFINITION._asdict()), "goes by the definition None, and this is d1"),
        (_put("children", 0, "requests", 0, "at", value=None), "children.0.requests.0.at"),
    ],
)
async def test_a_document_that_makes_no_sense_is_refused(change: Callable[[Any], None], told: str) -> None:
    """Whatever was changed in it is found before anything is written, and the message says where."""
    document = json.loads(to_json(await exported()))
    change(document)
    async with opened(InMemoryBackend()) as backend:
        with pytest.raises(InvalidExportError) as refused:
            await import_run(backend, from_json(json.dumps(document)))

        assert told in str(refused.value)
        assert await backend.count(RunFilter()) == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "{}", b"\xff\xfe", '{"format": 1}', '"\\ud800"'])
def test_what_is_no_document_is_refused(text: str | bytes) -> None:
    """With the command that writes one."""
    with pytest.raises(InvalidExportError) as refused:
        from_json(text)

    assert refused.value.hints == ("flujoctl export ID --to FILE  # writes one",)


async def test_an_import_is_whole_or_not_at_all() -> None:
    """If the id of one run of a family is taken, none of them arrives."""
    export = await exported()
    there, _ = await small_world("family")
    async with opened(there.backend()) as backend:
        with pytest.raises(RunExistsError, match="another run"):
            await import_run(backend, export)

        assert await backend.count(RunFilter()) == 1


async def test_a_repeated_import_changes_nothing() -> None:
    """And says so."""
    export = await exported()
    async with opened(InMemoryBackend()) as backend:
        first = await import_run(backend, export)
        before = await contents(backend)
        second = await import_run(backend, export)

        assert first == [Arrival("family.child", Outcome.CREATED), Arrival("family", Outcome.CREATED)]
        assert [arrival.outcome for arrival in second] == [Outcome.UNCHANGED] * 2
        assert await contents(backend) == before


async def test_the_definition_travels_with_its_run() -> None:
    """It is stored with it; a document that has another text under its digest than the store is refused."""

    async def program(ctx: Context, inputs: dict[str, Any]) -> int:
        return 1

    stage = Stage()
    written = Workflow(name="written", version="3", program=program, definition=DEFINITION)
    async with stage.kernel(written) as kernel:
        await kernel.run("written", run_id="r")
    async with stage.backend() as origin, opened(InMemoryBackend()) as copy:
        export = await export_run(origin, "r")
        await import_run(copy, export)
        assert await copy.get_definition("d1") == DEFINITION

        forged = export.run._replace(definition=DEFINITION._replace(text="another"))
        with pytest.raises(InvalidExportError, match="another text"):
            await import_run(copy, export._replace(run=forged))


async def test_a_run_that_is_not_there_cannot_be_exported() -> None:
    """The error says so."""
    stage, _ = await small_world("r")
    async with stage.backend() as origin:
        with pytest.raises(RunNotFoundError):
            await export_run(origin, "other")


async def test_a_snapshot_is_of_one_moment() -> None:
    """A request that is taken while the journal is read is in the journal, or else in the inbox, and never in both."""
    stage, _ = await small_world("r")

    class Busy(InMemoryBackend):
        """Whenever somebody reads, the owner takes one request, and another one is posted."""

        left = 4

        async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
            rows = await super().read_events(run_id, uid, after_seq, limit)
            if self.left:
                self.left -= 1
                (posted,) = await owner.take()
                summary = await self.load("r")
                body = json.loads(posted.request.body)
                row = encode(Event(summary.seq + 1, summary.updated_at, SignalReceived("other", body["payload"])))
                after = summary._replace(seq=summary.seq + 1)
                commit = Commit("r", summary.uid, summary.token, summary.seq, [row], after, [posted.id])
                assert await owner.append([commit]) == {}
                await post(self, str(self.left))
            return rows

    async def post(backend: StateBackend, payload: str) -> None:
        await backend.post("r", Request("signal", json.dumps({"name": "other", "payload": payload, "by": None}), 1))

    async with opened(stage.backend(), "owner") as owner, Busy(stage.store) as origin:
        await owner.claim("r")
        await post(origin, "4")
        run = await snapshot(origin, "r")

    received = [row.payload for row in run.events if row.type == "signal_received"]
    waiting = [json.loads(request.body)["payload"] for request in run.requests]
    assert run.live
    assert (received, waiting) == (["4", "3", "2", "1"], ["0"])


# -- decisions -----------------------------------------------------------------------------------------------------

SUMMARY = RunSummary(
    "r", "u", "w", None, "waiting", 5, None, 1, "{}", 1, None, 1, None, None, None, None, None, None, 0, None, 0, 0,
    None, None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, Standing.MISSING),
        (SUMMARY._replace(uid="v"), Standing.OTHER),
        (SUMMARY._replace(uid="v", seq=9), Standing.OTHER),
        (SUMMARY._replace(seq=4), Standing.BEHIND),
        (SUMMARY, Standing.SAME),
        (SUMMARY._replace(owner="k", token=9), Standing.SAME),
        (SUMMARY._replace(seq=6), Standing.AHEAD),
    ],
)
def test_where_a_run_stands(found: RunSummary | None, expected: Standing) -> None:
    """Its uid says which run it is, and its last event how far it has come."""
    assert standing(SUMMARY, found) is expected


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
