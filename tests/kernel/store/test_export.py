"""Runs as documents: written, read back, refused, imported."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flujo.backends import InMemoryBackend
from flujo.backends.memory import MemoryStore
from flujo.kernel import Context, Kernel, Workflow, WorkflowState, workflow
from flujo.kernel.backend import Commit, Request, RunFilter, StateBackend, StoredDefinition
from flujo.kernel.checking import check
from flujo.kernel.errors import CorruptStoreError, InvalidExportError, RunExistsError, RunNotFoundError
from flujo.kernel.events import Event, EventRow, RunCreated, SignalReceived, encode
from flujo.kernel.transfer import (
    Arrival,
    Export,
    ExportedRun,
    Outcome,
    copy_runs,
    examine_export,
    export_run,
    from_json,
    import_run,
    snapshot,
    to_json,
)
from flujo.kernel.transitions import fold, summarize
from flujo.kernel.values import encode as encode_value
from kernel.harness import Harness
from kernel.legal_events import legal
from kernel.store.every_state import DEFINITION, contents, opened, small_world, world


async def exported() -> Export:
    """A family of two, as a document holds it."""
    harness = await world()
    async with harness.backend() as backend:
        return await export_run(backend, "family", with_children=True, clock=harness.clock)


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
    requests = [Request("signal", encode_value({"name": "go", "payload": encode_value(text), "by": text}), 1)]
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
        (_put("run", "summary", "token", value=2**63 - 1), "leaves no room for later owners"),
        (_put("run", "summary", "token", value=0), "its token is 0, and the first owner of a run has 1"),
        (_put("run", "summary", "uid", value="../x"), "its uid '../x' is malformed"),
        (_put("children", 0, "requests", 0, "at", value=2**63), "larger than any store can hold"),
        (_put("children", 0, "requests", 0, "body", value="{"), "request 1 in its inbox is malformed"),
        (_put("run", "events", 1, "seq", value=7), "event 7 follows event 1"),
        (_put("run", "events", 1, "body", value='{"step":5}'), "is malformed"),
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

    harness = Harness()
    written = Workflow(name="written", version="3", program=program, definition=DEFINITION)
    async with harness.kernel(written) as kernel:
        await kernel.run("written", run_id="r")
    async with harness.backend() as origin, opened(InMemoryBackend()) as copy:
        export = await export_run(origin, "r")
        await import_run(copy, export)
        assert await copy.get_definition("d1") == DEFINITION

        forged = export.run._replace(definition=DEFINITION._replace(text="another"))
        with pytest.raises(InvalidExportError, match="another text"):
            await import_run(copy, export._replace(run=forged))


async def test_a_run_that_is_not_there_cannot_be_exported() -> None:
    """The error says so."""
    harness, _ = await small_world("r")
    async with harness.backend() as origin:
        with pytest.raises(RunNotFoundError):
            await export_run(origin, "other")


async def test_a_snapshot_is_of_one_moment() -> None:
    """A request that is taken while the journal is read is in the journal, or else in the inbox, and never in both."""
    harness, _ = await small_world("r")

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

    async with opened(harness.backend(), "owner") as owner, Busy(harness.store) as origin:
        await owner.claim("r")
        await post(origin, "4")
        run = await snapshot(origin, "r")

    received = [row.payload for row in run.events if row.type == "signal_received"]
    waiting = [json.loads(request.body)["payload"] for request in run.requests]
    assert run.live
    assert (received, waiting) == (["4", "3", "2", "1"], ["0"])


# -- definitions that their digest contradicts -----------------------------------------------------------------------


@workflow(name="written")
async def written(ctx: Context) -> None:
    await ctx.wait_signal("go")


TEXT = "name: written"
GENUINE = StoredDefinition(sha256(TEXT.encode()).hexdigest(), "written", None, TEXT)
FORGED = GENUINE._replace(text="name: evil")


async def stored(definition: StoredDefinition) -> MemoryStore:
    """A store with the unfinished run `r` of a definition, which is stored as it is given."""
    store = MemoryStore()
    flow = replace(written, definition=definition)
    async with Kernel(InMemoryBackend(store), load_definition=lambda text: flow) as kernel:
        await kernel.start(flow, run_id="r")
    return store


def test_a_text_is_genuine_unless_its_digest_contradicts_it() -> None:
    """A digest that is no SHA-256 says nothing of the text."""
    assert GENUINE.is_genuine
    assert not FORGED.is_genuine
    assert StoredDefinition("d1", "written", None, "anything").is_genuine


async def test_a_forged_definition_is_not_imported() -> None:
    """Later runs of its digest would execute it."""
    async with opened(InMemoryBackend(await stored(GENUINE))) as backend:
        document = json.loads(to_json(await export_run(backend, "r")))
    document["run"]["definition"]["text"] = FORGED.text

    async with opened(InMemoryBackend()) as backend:
        with pytest.raises(InvalidExportError, match="another one than its digest says"):
            await import_run(backend, from_json(json.dumps(document)))
        assert await backend.count(RunFilter()) == 0


async def test_a_forged_definition_is_named_and_goes_nowhere() -> None:
    """A check names it, and neither an export, nor a copy, nor a kernel takes it for what it was."""
    store = await stored(FORGED)
    async with opened(InMemoryBackend(store)) as backend, opened(InMemoryBackend()) as target:
        report = await check(backend)
        with pytest.raises(CorruptStoreError, match="another one than its digest says"):
            await export_run(backend, "r")
        copied = await copy_runs(backend, target)
    async with Kernel(InMemoryBackend(store), load_definition=lambda text: written) as kernel:
        with pytest.raises(CorruptStoreError, match="another one than its digest says"):
            await kernel.resume("r")

    assert [finding.text for finding in report.findings] == [
        f"its definition {GENUINE.digest} has another text than its digest says"
    ]
    assert (copied.created, copied.refused) == (0, 1)
