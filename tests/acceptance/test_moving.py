"""Runs move from store to store, through real processes that are stopped and killed on the way."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from acceptance import five_steps
from acceptance.terminal import FILE, SQLITE, Terminal, finish, kill, lines_until
from flujo.backends import open_backend
from flujo.kernel import RunFilter, events
from flujo.kernel.backend import Commit, StateBackend
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import StoreError
from flujo.kernel.events import Event, encode
from flujo.kernel.transitions import replay, summarize

GATED = """\
name: gated
steps:
  - {name: approve, task: wait_signal}
"""

RUNS = 400
OTHER = {SQLITE: "file:other/store", FILE: "sqlite:other/state.db"}

both_ways = pytest.mark.parametrize("terminal", [SQLITE, FILE], ids=["sqlite-to-file", "file-to-sqlite"], indirect=True)


def commit(run_id: str, steps: int, output: str) -> Commit:
    """A run that has completed, as a store takes it."""
    facts: list[events.Fact] = [events.RunCreated("many", "{}")]
    for number in range(steps):
        facts += [events.StepStarted(f"s{number}"), events.StepCompleted(f"s{number}", output)]
    facts.append(events.RunCompleted("1"))
    rows = [encode(Event(seq, 1_767_225_600 * MICROSECONDS + seq, fact)) for seq, fact in enumerate(facts, 1)]
    summary = summarize(replay(run_id, f"uid-{run_id}", rows), None, 1)
    return Commit(run_id, summary.uid, 1, 0, rows, summary)


def in_store(terminal: Terminal, url: str) -> StateBackend:
    """A handle on a store of the place."""
    scheme, _, path = url.partition(":")
    return open_backend(f"{scheme}:{terminal.folder / path}?durability=normal")


def fill(terminal: Terminal, commits: Sequence[Commit]) -> None:
    """Write runs into the store of the place."""

    async def write() -> None:
        backend = in_store(terminal, terminal.store)
        await backend.open("filler")
        assert await backend.append(commits) == {}
        await backend.close()

    anyio.run(write)


def arrived(terminal: Terminal, url: str) -> int:
    """How many runs a store holds at this moment; none if it is not there yet."""

    async def count() -> int:
        async with in_store(terminal, url) as backend:
            return await backend.count(RunFilter())

    try:
        return anyio.run(count)
    except StoreError:
        return 0


def contents(terminal: Terminal, url: str) -> dict[str, Any]:
    """Everything a store holds, but for owners."""

    async def read() -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with in_store(terminal, url) as backend:
            page = None
            while True:
                listed = await backend.list(RunFilter(), limit=500, page=page)
                for run in listed.runs:
                    rows = await backend.read_events(run.run_id, run.uid, 0, 100_000)
                    found[run.run_id] = (run._replace(owner=None), list(rows))
                if (page := listed.next) is None:
                    return found

    return anyio.run(read)


def copy_until_some_have_arrived(terminal: Terminal, target: str) -> subprocess.Popen[str]:
    """A copy that is under way."""
    process = terminal.start("db", "copy", terminal.store, target)
    while not arrived(terminal, target) and process.poll() is None:
        pass
    return process


@both_ways
def test_a_copy_that_is_killed_is_completed_by_the_same_command(terminal: Terminal) -> None:
    """Whatever has arrived is whole, and stays as it is; afterwards both stores hold the same."""
    fill(terminal, [commit(f"r{number}", 2, '"é"') for number in range(RUNS)])
    target = OTHER[terminal.store]

    killed = kill(copy_until_some_have_arrived(terminal, target))
    some = contents(terminal, target)
    checked = terminal.flujoctl("db", "check", "--store", target)
    completed = terminal.flujoctl("db", "copy", terminal.store, target, "-o", "json")

    assert killed.code == -signal.SIGKILL
    assert 0 < len(some) < RUNS
    assert checked.code == 0, checked
    assert json.loads(completed.out) == {
        "created": RUNS - len(some),
        "unchanged": len(some),
        "gone_on": 0,
        "refused": 0,
        "refusals": [],
    }
    assert contents(terminal, target) == contents(terminal, terminal.store)
    assert contents(terminal, target).items() >= some.items()


@both_ways
def test_ctrl_c_ends_a_copy_in_good_order(terminal: Terminal) -> None:
    """With 130; nothing is half there, and the same command completes it."""
    fill(terminal, [commit(f"r{number}", 2, '"é"') for number in range(RUNS)])
    target = OTHER[terminal.store]

    process = copy_until_some_have_arrived(terminal, target)
    process.send_signal(signal.SIGINT)
    stopped = finish(process)

    assert (stopped.code, stopped.out, stopped.err) == (130, "", "interrupted\n")
    assert 0 < arrived(terminal, target) < RUNS
    assert terminal.flujoctl("db", "check", "--store", target).code == 0
    assert terminal.flujoctl("db", "copy", terminal.store, target).code == 0
    assert contents(terminal, target) == contents(terminal, terminal.store)


@both_ways
def test_an_import_that_is_killed_may_be_repeated(terminal: Terminal) -> None:
    """The run is there wholly or not at all, however much of it was on the disk already, and then it is there."""
    fill(terminal, [commit("large", 1000, json.dumps("é" * 2000))])
    target = OTHER[terminal.store]
    assert terminal.flujoctl("export", "large", "--to", "large.json").code == 0

    process = terminal.start("import", "large.json", "--store", target)
    while size_of(terminal.folder / "other") < 300_000 and process.poll() is None:
        pass
    kill(process)

    assert arrived(terminal, target) in (0, 1)
    if arrived(terminal, target):
        assert contents(terminal, target) == contents(terminal, terminal.store)
    again = terminal.flujoctl("import", "large.json", "--store", target)
    assert again.code == 0, again
    assert contents(terminal, target) == contents(terminal, terminal.store)
    assert terminal.flujoctl("db", "check", "--store", target).code == 0


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder, while others write there."""
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size
        except FileNotFoundError:
            pass
    return size


@both_ways
@pytest.mark.parametrize(("kind", "way"), [("yaml", "export"), ("python", "copy")])
def test_a_run_that_was_killed_goes_on_in_another_store(kind: str, way: str, terminal: Terminal) -> None:
    """It completes over there: no completed step runs again, and the interrupted one does."""
    source = five_steps.make(terminal, kind)
    target = OTHER[terminal.store]
    process = terminal.start("run", source, "--id", "r")
    terminal.read("begun")
    kill(process)
    terminal.inspect_interrupted("r")

    if way == "export":
        assert terminal.flujoctl("export", "r", "--to", "r.json").code == 0
        moved = terminal.flujoctl("import", "r.json", "--store", target)
    else:
        moved = terminal.flujoctl("db", "copy", terminal.store, target)
    assert moved.code == 0, moved
    resumed = terminal.flujoctl("resume", "r", "--store", target)

    assert resumed.code == 0, resumed
    assert terminal.lines("log") == ["1", "2", "3", "3", "4", "5"]
    assert terminal.inspect("r", "--store", target)["status"] == "completed"


@both_ways
def test_a_run_that_a_process_runs_is_left_out(terminal: Terminal) -> None:
    """It is named; with --include-live its copy is as it stood, and the process goes on undisturbed."""
    terminal.write("gated.yaml", GATED)
    run = terminal.start("run", "gated.yaml", "--id", "gate")
    lines_until(run, "waiting for the signal")
    target = OTHER[terminal.store]

    refused = terminal.flujoctl("db", "copy", terminal.store, target)
    copied = terminal.flujoctl("db", "copy", terminal.store, target, "--include-live")
    exported = terminal.flujoctl("export", "gate")

    assert refused.code == 4
    assert "is being run by the live process" in refused.out
    assert copied.code == 0, copied
    assert "run gate is running in another process; the document ends at event 3" in exported.err
    assert json.loads(exported.out)["run"]["live"] is True
    assert terminal.flujoctl("signal", "gate", "approve").code == 0
    assert finish(run).code == 0
    assert terminal.inspect("gate", "--store", target)["status"] == "waiting"


@both_ways
def test_a_restore_that_is_killed_leaves_the_store_or_the_backup(terminal: Terminal) -> None:
    """Whenever it is, there is a whole store, and the same command brings the backup."""
    fill(terminal, [commit(f"r{number}", 2, '"é"') for number in range(RUNS)])
    assert terminal.flujoctl("db", "backup", "copy").code == 0
    before = contents(terminal, terminal.store)
    assert terminal.flujoctl("delete", "r1", "r2").code == 0

    process = terminal.start("db", "restore", "copy", "--force")
    while not list((terminal.folder / ".flujo").glob("**/*restor*")) and process.poll() is None:
        pass
    kill(process)

    assert arrived(terminal, terminal.store) in (RUNS - 2, RUNS)
    restored = terminal.flujoctl("db", "restore", "copy", "--force")
    assert restored.code == 0, restored
    assert contents(terminal, terminal.store).keys() == before.keys()
    assert terminal.flujoctl("db", "check").code == 0
