"""Commands that act on many runs of a server: told as of a store, and asked for by pages of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Copied, Flujoctl
from flujo.cli import many_runs
from flujo.client.calls import Calls

GATE = "name: gate\nsteps:\n  - {name: approve, task: wait_signal}\n"
RUNS = 12


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each method of a server was called from here."""
    counted: Counter[str] = Counter()
    unary = Calls.unary

    async def counting(self: Calls, method: Any, request: Any, **options: Any) -> Any:
        counted[type(request).__name__.removesuffix("Request")] += 1
        return await unary(self, method, request, **options)

    monkeypatch.setattr(Calls, "unary", counting)
    return counted


@pytest.fixture
def start(copied: Copied) -> list[str]:
    """Runs that wait for a signal in the store of the folder, the newest first."""
    copied(fill)
    return [f"g{number:02}" for number in reversed(range(RUNS))]


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs."""
    Path("gate.yaml").write_text(GATE)
    for number in range(RUNS):
        assert flujoctl("run", "gate.yaml", "--id", f"g{number:02}", "--no-wait").code == 7


@pytest.fixture
def server(folder: Path, start: list[str]) -> Iterator[str]:
    """The address of a server of that store, which has its runs."""
    serve = [sys.executable, "-m", "flujoctl", "serve", "-q", "-o", "json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(serve, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()


def test_runs_of_a_server_are_asked_a_page_at_a_time(
    server: str, start: list[str], flujoctl: Flujoctl, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five at once: three calls for twelve runs and for each verb, beside those that count them. What is printed names
    each run."""
    monkeypatch.setattr(many_runs, "_PAGE", 5)
    chosen = ("--workflow", "gate", "--yes", "--server", server)

    dry = flujoctl("pause", *chosen, "--dry-run", "-o", "name")
    assert (dry.out.split(), dry.code) == (start, 0)
    assert set(calls) == {"ListRuns"}

    calls.clear()
    sent = flujoctl("signal", "later", "1", *chosen, "-o", "json")
    assert sent.code == 0
    assert [(each["run_id"], each["signal"]) for each in json.loads(sent.out)] == [(id, "later") for id in start]
    assert {each["delivery"] for each in json.loads(sent.out)} == {"recorded"}
    assert (calls.pop("SignalRuns"), set(calls)) == (3, {"ListRuns"})

    calls.clear()
    paused = flujoctl("pause", *chosen, "-o", "json")
    assert [each["run_id"] for each in json.loads(paused.out)] == start
    assert {each["outcome"] for each in json.loads(paused.out)} <= {"paused", "requested"}
    assert (calls.pop("PauseRuns"), set(calls)) == (3, {"ListRuns"})

    calls.clear()
    cancelled = flujoctl("cancel", *chosen)
    assert (cancelled.out.splitlines(), cancelled.code) == ([f"run {id} is cancelled" for id in start], 0)
    assert calls.pop("CancelRuns") == 3
    assert calls["CancelRun"] == 0


@pytest.mark.parametrize("verb", [("pause",), ("cancel",), ("signal", "approve")])
def test_a_server_prints_what_a_store_does(
    verb: tuple[str, ...], start: list[str], folder: Path, flujoctl: Flujoctl, request: pytest.FixtureRequest
) -> None:
    """The same ids in the same order; a part of the runs through the store, which nobody runs, the rest of them through
    its server."""
    near = flujoctl(*verb, "--id-prefix", "g0", "--yes", "-o", "json")
    address = request.getfixturevalue("server")
    far = flujoctl(*verb, "--id-prefix", "g1", "--yes", "-o", "json", "--server", address)

    assert (near.code, far.code) == (0, 0)
    told = [*json.loads(far.out), *json.loads(near.out)]
    assert [each["run_id"] for each in told] == start
    assert len({tuple(each) for each in told}) == 1


def test_what_a_server_refuses_is_told_as_of_a_store(
    server: str, start: list[str], flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is refused keeps none of the others from it, and decides the exit code."""
    from flujo.client import Client
    from flujo.kernel.api import BulkResult

    pause_runs = Client.pause_runs

    async def refusing(self: Client, *arguments: Any, **options: Any) -> BulkResult:
        result = await pause_runs(self, *arguments, **options)
        damaged = result.runs[0]._replace(reason="STORE_CORRUPT", message="the store is damaged: g11", outcome=None)
        return BulkResult([damaged, *result.runs[1:]], result.next)

    monkeypatch.setattr(Client, "pause_runs", refusing)
    ended = flujoctl("pause", "--workflow", "gate", "--yes", "--server", server)

    assert ended.code not in (0, 70)
    assert len(ended.out.splitlines()) == RUNS - 1
    assert "the store is damaged: g11" in ended.err
    assert "11 runs paused, 1 refused" in ended.err
