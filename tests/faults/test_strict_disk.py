"""Power cuts right after something was said to be done, on a disk that keeps only what was synced (strict.c)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from faults.machine import Missing, compile_disk
from faults.promise import CARELESS, HONEST, NAMELESS, RUN
from faults.strict import rebuild
from faults.victims import opened
from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, workflow
from flujo.kernel.backend import RunFilter
from flujo.kernel.errors import FlujoError

EARLIER = Path(__file__).parents[1] / "backends" / "fixtures" / "schema-1" / "closed"

Contents = Any
"""The ids, uids and journals of runs."""


class Promise(NamedTuple):
    """What has to be there once a thing is done: stores at these paths, each with what `like` holds."""

    thing: str
    like: str
    stores: Sequence[str]


CREATE = Promise("create", "new", ["new/.flujo/store"])
BACKUP = Promise("backup", "store", ["store", "saved"])
RESTORE = Promise("restore", "backup", ["backup", "new/restored"])
REPLACE = Promise("replace", "backup", ["backup", "store"])
KEEP_REPLACED = Promise("replace", "store", ["store.replaced"])
COPY = Promise("copy", "store", ["store", "new/copied"])
MIGRATE = Promise("migrate", "earlier", ["earlier/state.db", "earlier/state.db.schema-1.backup"])

EVERY = [
    *((scheme, promise) for scheme in ("sqlite", "file") for promise in (CREATE, BACKUP, RESTORE, REPLACE, COPY)),
    ("sqlite", KEEP_REPLACED),
    ("sqlite", MIGRATE),
]


@pytest.fixture(scope="session")
def strict_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes a disk strict."""
    try:
        return compile_disk(tmp_path_factory.mktemp("library"), "strict.c")
    except Missing as missing:
        pytest.skip(str(missing))


class Disk(NamedTuple):
    """A folder on a strict disk, with what its stores hold."""

    library: Path
    folder: Path
    scheme: str

    def holds(self) -> dict[str, Contents]:
        """What the stores hold that are there before anything is done."""
        held = {"new": {RUN.run_id: (RUN.uid, list(RUN.rows))}}
        for name in ("store", "backup"):
            held[name] = anyio.run(contents, f"{self.scheme}:{self.folder / name}")
        return held

    def after(self, thing: str, way: str) -> Path:
        """What is on it when the power fails as soon as a thing is done."""
        kept = self.folder.with_name("kept")
        kept.mkdir()
        script = Path(__file__).with_name("promise.py")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LD_PRELOAD": str(self.library)}
        command = [sys.executable, str(script), thing, self.scheme, str(self.folder), str(kept), way]
        subprocess.run(command, check=True, env=environment)
        found = self.folder.with_name("found")
        rebuild(kept, found)
        return found


@workflow(name="greeting")
async def greeting(ctx: Context, name: str) -> str:
    return f"Hello, {await ctx.step(str.upper, name, name='shout')}" + "!" * 20_000  # more than lies in an event


async def write(store: str, runs: int) -> None:
    """A store with so many runs."""
    async with Kernel(open_backend(store), workflows=[greeting]) as kernel:
        for number in range(runs):
            await kernel.run(greeting, {"name": "Ada"}, run_id=f"run-{number}")


async def contents(store: str, owner: str | None = None) -> Contents:
    """What a store holds."""
    async with opened(store, owner) as reader:
        assert await reader.integrity() == []
        runs = (await reader.list(RunFilter(), limit=1_000)).runs
        return {run.run_id: (run.uid, list(await reader.read_events(run.run_id, run.uid, 0, 1_000))) for run in runs}


@pytest.fixture
def disk(strict_disk: Path, tmp_path: Path, scheme: str) -> Disk:
    """A disk with a store, a backup that holds less, and a store of an earlier schema."""
    folder = tmp_path.resolve() / "disk"
    folder.mkdir()
    anyio.run(write, f"{scheme}:{folder / 'store'}", 4)
    anyio.run(write, f"{scheme}:{folder / 'backup'}", 2)
    shutil.copytree(EARLIER, folder / "earlier")
    return Disk(strict_disk, folder, scheme)


def lost(disk: Disk, promise: Promise, way: str) -> list[str]:
    """What of a promise does not hold after a power cut."""
    held = disk.holds()
    if promise is MIGRATE:
        other = disk.folder.with_name("other")
        shutil.copytree(disk.folder / "earlier", other)
        held["earlier"] = anyio.run(contents, f"sqlite:{other / 'state.db'}", "other")
    found = disk.after(promise.thing, way)
    problems = []
    for name in promise.stores:
        try:
            owner = "heir" if promise is MIGRATE else None
            if anyio.run(contents, f"{disk.scheme}:{found / name}", owner) != held[promise.like]:
                problems.append(f"{name}: it holds something else")
        except (FlujoError, AssertionError) as error:
            problems.append(f"{name}: {error}")
    return problems


@pytest.mark.parametrize(("scheme", "promise"), EVERY, ids=lambda each: getattr(each, "thing", each))
def test_what_is_done_is_there_after_a_power_cut(disk: Disk, promise: Promise) -> None:
    """Whatever was said to be done, in folders that were not there before, is there as soon as it was said."""
    assert lost(disk, promise, HONEST) == []


WRONG = [
    (scheme, promise, way)
    for scheme, promise in EVERY
    for way in (CARELESS, NAMELESS)
    if (promise, way) != (MIGRATE, NAMELESS)  # there SQLite syncs the folder, before the first commit
]


@pytest.mark.parametrize(("scheme", "promise", "way"), WRONG, ids=lambda each: getattr(each, "thing", each))
def test_a_sync_that_is_left_out_is_caught(disk: Disk, promise: Promise, way: str) -> None:
    """Whoever leaves out the syncs, or only those of names, loses what was said to be done."""
    assert lost(disk, promise, way) != []
