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
from acceptance.terminal import FILE, SQLITE, Place, finish, kill, lines_until
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

both_ways = pytest.mark.parametrize("place", [SQLITE, FILE], ids=["sqlite-to-file", "file-to-sqlite"], indirect=True)


def commit(run_id: str, steps: int, output: str) -> Commit:
    """A run that has completed, as a store takes it."""
    facts: list[events.Fact] = [events.RunCreated("many", "{}")]
    for number in range(steps):
        facts += [events.StepStarted(f"s{number}"), events.StepCompleted(f"s{number}", output)]
    facts.append(events.RunCompleted("1"))
    rows = [encode(Event(seq, 1_767_225_600 * MICROSECONDS + seq, fact)) for seq, fact in enumerate(facts, 1)]
    summary = summarize(replay(run_id, f"uid-{run_id}", rows), None, 1)
    return Commit(run_id, summary.uid, 1, 0, rows, summary)


def in_store(place: Place, url: str) -> StateBackend:
    """A handle on a store of the place."""
    scheme, _, path = url.partition(":")
    return open_backend(f"{scheme}:{place.folder / path}?durability=normal")


def fill(place: Place, commits: Sequence[Commit]) -> None:
    """Write runs into the store of the place."""

    async def write() -> None:
        backend = in_store(place, place.store)
        await backend.open("filler")
        assert await backend.append(commits) == {}
        await backend.close()

    anyio.run(write)


def arrived(place: Place, url: str) -> int:
    """How many runs a store holds at this moment; none if it is not there yet."""

    async def count() -> int:
        async with in_store(place, url) as backend:
            return await backend.count(RunFilter())

    try:
        return anyio.run(count)
    except StoreError:
        return 0


def contents(place: Place, url: str) -> dict[str, Any]:
    """Everything a store holds, but for owners."""

    async def read() -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with in_store(place, url) as backend:
            page = None
            while True:
                listed = await backend.list(RunFilter(), limit=500, page=page)
                for run in listed.runs:
                    rows = await backend.read_events(run.run_id, run.uid, 0, 100_000)
                    found[run.run_id] = (run._replace(owner=None), list(rows))
                if (page := listed.next) is None:
                    return found

    return anyio.run(read)


def copy_until_some_have_arrived(place: Place, target: str) -> subprocess.Popen[str]:
    """A copy that is under way."""
    process = place.start("db", "copy", place.store, target)
    while not arrived(place, target) and process.poll() is None:
        pass
    return process


@both_ways
def test_a_copy_that_is_killed_is_completed_by_the_same_command(place: Place) -> None:
    """Whatever has arrived is whole, and stays as it is; afterwards both stores hold the same."""
    fill(place, [commit(f"r{number}", 2, '"é"') for number in range(RUNS)])
    target = OTHER[place.store]

    killed = kill(copy_until_some_have_arrived(place, target))
    some = contents(place, target)
    checked = place.flujoctl("db", "check", "--store", target)
    completed = place.flujoctl("db", "copy", place.store, target, "-o", "json")

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
    assert contents(place, target) == contents(place, place.store)
    assert contents(place, target).items() >= some.items()


@both_ways
def test_ctrl_c_ends_a_copy_in_good_order(place: Place) -> None:
    """With 130; nothing is half there, and the same command completes it."""
    fill(place, [commit(f"r{number}", 2, '"é"') for number in range(RUNS)])
    target = OTHER[place.store]

    process = copy_until_some_have_arrived(place, target)
    process.send_signal(signal.SIGINT)
    stopped = finish(process)

    assert (stopped.code, stopped.out, stopped.err) == (130, "", "interrupted\n")
    assert 0 < arrived(place, target) < RUNS
    assert place.flujoctl("db", "check", "--store", target).code == 0
    assert place.flujoctl("db", "copy", place.store, target).code == 0
    assert contents(place, target) == contents(place, place.store)


@both_ways
def test_an_import_that_is_killed_may_be_repeated(place: Place) -> None:
    """The run is there wholly or not at all, however much of it was on the disk already, and then it is there."""
    fill(place, [commit("large", 1000, json.dumps("é" * 2000))])
    target = OTHER[place.store]
    assert place.flujoctl("export", "large", "--to", "large.json").code == 0

    process = place.start("import", "large.json", "--store", target)
    while size_of(place.folder / "other") < 300_000 and process.poll() is None:
        pass
    kill(process)

    assert arrived(place, target) in (0, 1)
    if arrived(place, target):
        assert contents(place, target) == contents(place, place.store)
    again = place.flujoctl("import", "large.json", "--store", target)
    assert again.code == 0, again
    assert contents(place, target) == contents(place, place.store)
    assert place.flujoctl("db", "check", "--store", target).code == 0


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
def test_a_run_that_was_killed_goes_on_in_another_store(kind: str, way: str, place: Place) -> None:
    """It completes over there: no completed step runs again, and the interrupted one does."""
    source = five_steps.make(place, kind)
    target = OTHER[place.store]
    process = place.start("run", source, "--id", "r")
    place.read("begun")
    kill(process)
    place.inspect_interrupted("r")

    if way == "export":
        assert place.flujoctl("export", "r", "--to", "r.json").code == 0
        moved = place.flujoctl("import", "r.json", "--store", target)
    else:
        moved = place.flujoctl("db", "copy", place.store, target)
    assert moved.code == 0, moved
    resumed = place.flujoctl("resume", "r", "--store", target)

    assert resumed.code == 0, resumed
    assert place.lines("log") == ["1", "2", "3", "3", "4", "5"]
    assert place.inspect("r", "--store", target)["status"] == "completed"


@both_ways
def test_a_run_that_a_process_runs_is_left_out(place: Place) -> None:
    """It is named; with --include-live its copy is as it stood, and the process goes on undisturbed."""
    place.write("gated.yaml", GATED)
    run = place.start("run", "gated.yaml", "--id", "gate")
    lines_until(run, "waiting for the signal")
    target = OTHER[place.store]

    refused = place.flujoctl("db", "copy", place.store, target)
    copied = place.flujoctl("db", "copy", place.store, target, "--include-live")
    exported = place.flujoctl("export", "gate")

    assert refused.code == 4
    assert "is being run by the live process" in refused.out
    assert copied.code == 0, copied
    assert "run gate is running in another process; the document ends at event 3" in exported.err
    assert json.loads(exported.out)["run"]["live"] is True
    assert place.flujoctl("signal", "gate", "approve").code == 0
    assert finish(run).code == 0
    assert place.inspect("gate", "--store", target)["status"] == "waiting"


@both_ways
def test_a_restore_that_is_killed_leaves_the_store_or_the_backup(place: Place) -> None:
    """Whenever it is, there is a whole store, and the same command brings the backup."""
    fill(place, [commit(f"r{number}", 2, '"é"') for number in range(RUNS)])
    assert place.flujoctl("db", "backup", "copy").code == 0
    before = contents(place, place.store)
    assert place.flujoctl("delete", "r1", "r2").code == 0

    process = place.start("db", "restore", "copy", "--force")
    while not list((place.folder / ".flujo").glob("**/*restor*")) and process.poll() is None:
        pass
    kill(process)

    assert arrived(place, place.store) in (RUNS - 2, RUNS)
    restored = place.flujoctl("db", "restore", "copy", "--force")
    assert restored.code == 0, restored
    assert contents(place, place.store).keys() == before.keys()
    assert place.flujoctl("db", "check").code == 0
