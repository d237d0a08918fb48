"""The answers of a kernel and of a client of its server, word for word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.backends import open_backend
from flujo.kernel import Context, Event, Kernel, RetryPolicy, RunFailed, Runs, RunStatus, workflow
from flujo.kernel.api import LogLine, LogOptions
from flujo.kernel.backend import RunSummary
from flujo.kernel.errors import InvalidNameError, RunReplacedError
from flujo.kernel.events import to_json_object
from flujo.kernel.store.filters import RunQuery
from flujo.server.listening import load_stored
from flujo.workflows import load_workflow_text
from server.flows import FAILS, Flaky, doubling, letters, mapping, stuck, waiting, writing
from server.harness import both


@workflow(version="2", timeout="8.601s")
async def everything(ctx: Context, day: str, rate: float = 1.5) -> dict[str, Any]:
    """A run with something of each kind in its journal."""
    tries: list[int] = []

    async def shaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("no route to café")
        return day

    async def branch() -> str:
        return await ctx.step(shaky, name="shaky", retry=RetryPolicy(max_attempts=3, delay=0.001))

    both = await ctx.gather(a=branch(), b=branch())
    await ctx.sleep(0.001)
    signal = await ctx.wait_signal("go")
    return {"both": both, "signal": signal, "rate": rate}


def shown(run_id: str, events: Sequence[Event]) -> list[Any]:
    """Events as `flujoctl events -o jsonl` prints them; the order of labels is no part of that."""
    return [json.loads(json.dumps(to_json_object(run_id, event))) for event in events]


def told(summary: RunSummary) -> RunSummary:
    """A summary with its labels in one order: a map of protobuf has none."""
    return summary._replace(labels=json.dumps(json.loads(summary.labels), sort_keys=True))


async def watched(runs: Runs, run_id: str) -> list[Event]:
    """Every event of a watch."""
    async with aclosing(runs.watch(run_id)) as events:
        return [event async for event in events]


async def put_runs(kernel: Kernel, flaky: Flaky) -> None:
    """A run in every status, and of every shape."""
    labels = {"Stadt": "Zürich", "b": "1", "a": "2"}
    await kernel.start("everything", {"day": "2026-11-24"}, run_id="everything", labels=labels)
    await kernel.signal("everything", "go", {"ok": [1, None]}, by="ann")
    await kernel.wait("everything")
    await kernel.run("doubling", {"number": 4}, run_id="completed")
    await kernel.run("writing", {"size": 200_000}, run_id="large")
    await kernel.run("mapping", {"count": 1100}, run_id="long")
    for workflow_, run_id in (("flaky", "failed"), ("flaky", "resumed"), (letters(FAILS), "letters")):
        with pytest.raises(RunFailed):
            await kernel.run(workflow_, run_id=run_id)
    flaky.broken = False
    await (await kernel.resume("resumed", inputs={"extra": 3}, by="ann")).result()
    await kernel.start("stuck", run_id="cancelled")
    await kernel.cancel("cancelled", "enough", by="ann")
    await kernel.wait("cancelled")
    await kernel.start("waiting", run_id="paused")
    await kernel.pause("paused", "lunch", by="ann")
    await kernel.wait("paused")
    await kernel.start("waiting", run_id="waiting")
    await kernel.start("stuck", run_id="running")
    for run_id, status in (("waiting", "waiting"), ("running", "running")):
        while (await kernel.summary(run_id)).status != status:
            await checkpoint()


@pytest.mark.parametrize("store", ["memory:", "sqlite:{folder}/state.db"])
async def test_every_answer_is_the_same(store: str, folder: Path, address: str) -> None:
    """States, summaries, events, pages, watches, results, explanations: whatever a run has been through."""
    flaky = Flaky()
    flows = (everything, doubling, writing, mapping, stuck, waiting, flaky.workflow)
    kernel = Kernel(
        open_backend(store.format(folder=folder)), flows, workspaces=folder / "w", load_definition=load_stored
    )
    async with both(kernel, address) as (near, far):
        await put_runs(near, flaky)
        page = await near.list(limit=100)
        statuses = {run.status for run in page.runs}
        assert statuses == {each.value for each in RunStatus} - {"pending"}

        for run in page.runs:
            run_id = run.run_id
            assert (await far.inspect(run_id)).to_dict() == (await near.inspect(run_id)).to_dict()
            assert told(await far.summary(run_id)) == told(await near.summary(run_id))
            events = await near.events(run_id, limit=5000)
            assert shown(run_id, await far.events(run_id, limit=5000)) == shown(run_id, events)
            assert await far.explain(run_id) == await near.explain(run_id)
            if run.status in ("completed", "failed", "cancelled"):
                assert shown(run_id, await watched(far, run_id)) == shown(run_id, events)
                assert (await far.wait(run_id)).to_dict() == (await near.wait(run_id)).to_dict()

        near_page = far_page = None
        while True:
            one, other = await near.list(limit=4, page=near_page), await far.list(limit=4, page=far_page)
            assert list(map(told, other.runs)) == list(map(told, one.runs))
            assert other.next == one.next
            near_page, far_page = one.next, other.next
            if near_page is None:
                break
        choices: list[dict[str, Any]] = [
            {"older_than_seconds": 0},
            {"keep_last": 1},
            {"id_prefix": "le", "labels": {}},
            {"statuses": ["paused"]},
        ]
        for choice in choices:
            one_, other_ = await near.prune(**choice, dry_run=True), await far.prune(**choice, dry_run=True)
            assert other_._replace(runs=()) == one_._replace(runs=())
            assert list(map(told, other_.runs)) == list(map(told, one_.runs))
        moment = page.runs[2].updated_at
        wanted: list[RunQuery] = [
            {"statuses": ["failed", "running"], "created_from": page.runs[-1].created_at},
            {"updated_before": moment, "labels": {"Stadt": "Zürich"}},
            {"updated_from": moment, "workflow": "flaky", "failed_step": "middle"},
            {"finished_from": moment, "finished_before": page.runs[0].updated_at + 1},
            {"parent_run_id": "everything"},
        ]
        for each in wanted:
            one, other = await near.list(order="updated", **each), await far.list(order="updated", **each)
            assert list(map(told, other.runs)) == list(map(told, one.runs))
            assert await far.count(**each) == await near.count(**each) == len(one.runs)
        one_told, other_told = await near.stats(), await far.stats()
        assert other_told.workflows == one_told.workflows
        assert (await far.stats(workflow="flaky")).workflows == (await near.stats(workflow="flaky")).workflows


def append(log: Path, data: bytes) -> None:
    """Write what a step prints."""
    with log.open("ab") as file:
        file.write(data)


LOGS: list[LogOptions] = [
    {},
    {"step": "first"},
    {"attempt": 2},
    {"tail": 3},
    {"tail": 0},
    {"step": "first", "attempt": 1, "tail": 2000},
]


async def test_a_log_is_the_same_however_long_it_is(folder: Path, address: str) -> None:
    """Thousands of lines, a line of megabytes, bytes that are no text, and one whose end was not written yet: in as
    many messages as it takes, and later only what has been added."""
    definition = "name: letters\nsteps: [{name: first, task: noop}]"
    kernel = Kernel(open_backend("memory:"), workspaces=folder / "w", load_definition=load_stored)
    async with both(kernel, address) as (near, far):
        await near.run(load_workflow_text(definition, "letters.yaml"), run_id="r")
        uid = (await near.inspect("r")).uid
        assert await far.read_log("r") == await near.read_log("r") == ((), 0, uid)
        log = Path((await near.inspect("r")).environment["log_file"])
        lines = [b"first.%d| %d" % (1 + number % 2, number) for number in range(2499)]
        lines += [b"first.1 2026-11-22T02:15:00.000001Z| when"]
        lines += [b"first.1| " + "ä".encode() * 2**20, b"second.2| \xff\x1b[2J", b"the log is full", b"first.1| " * 2]
        append(log, b"\n".join(lines))

        for wanted in LOGS:
            read = await far.read_log("r", **wanted)
            assert read == await near.read_log("r", **wanted)
        whole = await far.read_log("r")
        assert len(whole.lines) == len(lines) - 1
        assert whole.lines[2499] == LogLine("first", 1, "when", 1_795_313_700_000_001)
        assert len(whole.lines[2500].text.encode()) <= 2**16
        assert whole.lines[2500].text.endswith("ä…")
        assert whole.lines[2501:] == (LogLine("second", 2, "\ufffd\x1b[2J"), LogLine(None, None, "the log is full"))

        append(log, b"x\n")
        added = await far.read_log("r", offset=whole.next_offset)
        assert added.lines == (LogLine("first", 1, "first.1| x"),)
        assert await far.read_log("r", offset=added.next_offset) == ((), added.next_offset, uid)
        with pytest.raises(RunReplacedError):
            await far.read_log("r", offset=added.next_offset, uid="0" * 32)
        with pytest.raises(InvalidNameError, match="next_offset"):
            await far.read_log("r", offset=whole.next_offset + 1)


async def test_a_run_can_be_read_whole_while_it_goes_on(address: str) -> None:
    """However fast it records: an answer is of one moment, and does not wait for a quiet one."""
    from kernel.harness import Harness

    @workflow()
    async def endless(ctx: Context) -> None:
        async def tick() -> None:
            await checkpoint()

        while True:
            await ctx.step(tick, name="tick")

    async with both(Harness().kernel(endless), address) as (kernel, client):
        await kernel.start("endless", run_id="r")
        with anyio.fail_after(30):
            seqs = [(await client.inspect("r")).seq for _ in range(5)]
        await kernel.cancel("r")

    assert seqs == sorted(set(seqs))
