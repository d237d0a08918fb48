"""A process whose disk fails while a store is kept: `python keeping.py FOLDER SCHEME VERB FAULTS`, with disk.c loaded.

It does one verb over and over: migrates a store, backs it up, restores, copies, prunes or deletes; each time the n-th
call of some kind fails in some way, for n = 1, 2, 3 … until the verb needs fewer calls. For every such time it prints a
line of JSON, a `Trial`. SCHEME is `sqlite` or `file`, FAULTS a key of `injected.FAULTS`.
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import anyio

from faults.injected import FAULTS, Disk, Fault, Trial, stay_in_one_thread
from faults.victims import opened
from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, step, workflow
from flujo.kernel.backend import RunFilter
from flujo.kernel.checking import Severity, check
from flujo.kernel.errors import (
    FlujoError,
    OlderStoreError,
    RunNotFoundError,
    StoreError,
    StoreExistsError,
    StoreFullError,
)
from flujo.kernel.transfer import copy_runs

OLD = Path(__file__).parents[1] / "backends" / "fixtures" / "schema-1" / "killed"
RUNS = ("w-a", "w-b", "w-c")


class Place:
    """Where one trial is: a store, and what is made of it."""

    def __init__(self, folder: Path, scheme: str) -> None:
        self.folder = folder
        self.scheme = scheme
        self.store = f"{scheme}:{folder}/store"
        self.backup = folder / "backup"
        other = "file" if scheme == "sqlite" else "sqlite"
        self.other = f"{other}:{folder}/other"


@workflow()
async def report(ctx: Context, size: int) -> str:
    return await ctx.step(written, size)


@step
async def written(size: int) -> str:
    return "x" * size


async def make(place: Place, *, runs: Sequence[str] = RUNS) -> None:
    """A store with runs that are over; what the first returns is so large that files keep it beside the journal."""
    async with Kernel(open_backend(place.store), [report]) as kernel:
        for run_id in runs:
            await kernel.run(report, {"size": 70_000 if run_id == RUNS[0] else 300}, run_id=run_id)


async def make_with_backup(place: Place) -> None:
    """The same, of which a backup was made, with a run that came after it."""
    await make(place)
    async with opened(place.store, None) as handle:
        await handle.backup(place.backup)
    await make(place, runs=["w-d"])


async def make_old(place: Place) -> None:
    """A store as an earlier release left it when it was killed."""
    shutil.copytree(OLD, place.folder, dirs_exist_ok=True)
    for path in place.folder.glob("state.db*"):
        path.rename(path.with_name(path.name.replace("state.db", "store")))


async def migrate(place: Place) -> None:
    async with opened(place.store, "w"):
        pass


async def back_up(place: Place) -> None:
    async with opened(place.store, None) as handle:
        await handle.backup(place.backup)


async def restore(place: Place) -> None:
    await open_backend(place.store).restore(place.backup, force=True)


async def copy(place: Place) -> None:
    async with opened(place.store, None) as source, opened(place.other, "w") as target:
        result = await copy_runs(source, target)
        assert result.refused == 0, result


async def prune(place: Place) -> None:
    async with opened(place.store, "w") as handle:
        await handle.prune(RunFilter(), limit=10, dry_run=False)


async def delete(place: Place) -> None:
    async with opened(place.store, "w") as handle:
        for run_id in RUNS:
            with suppress(RunNotFoundError):
                await handle.delete(run_id, (await handle.load(run_id)).uid)


async def ids_in(store: str) -> set[str]:
    """What a sound store has; raises AssertionError for one that is damaged."""
    async with opened(store, None) as handle:
        found = await check(handle)
        damage = [each.text for each in found.findings if each.severity is Severity.DAMAGED]
        assert damage == [], damage
        return {run.run_id for run in (await handle.list(RunFilter(), limit=100)).runs}


async def look_for_all(place: Place, *, done: bool) -> None:
    with suppress(OlderStoreError):
        assert len(await ids_in(place.store)) == 12
        return
    assert not done


async def look_at_backup(place: Place, *, done: bool) -> None:
    assert await ids_in(place.store) == set(RUNS)
    if done or place.backup.exists():
        assert await ids_in(f"{place.scheme}:{place.backup}") == set(RUNS)


async def look_at_restored(place: Place, *, done: bool) -> None:
    assert await ids_in(f"{place.scheme}:{place.backup}") == set(RUNS)
    found = await ids_in(place.store)
    assert found == set(RUNS) or (not done and found == {*RUNS, "w-d"}), found


async def look_at_copy(place: Place, *, done: bool) -> None:
    assert await ids_in(place.store) == set(RUNS)
    if done:
        assert await ids_in(place.other) == set(RUNS)


async def look_for_none(place: Place, *, done: bool) -> None:
    found = await ids_in(place.store)
    assert found == set() or (not done and found <= set(RUNS)), found


Look = Callable[..., Awaitable[None]]
Step = Callable[[Place], Awaitable[None]]

VERBS: Mapping[str, tuple[Step, Step, Look]] = {
    "migrate": (make_old, migrate, look_for_all),
    "backup": (make, back_up, look_at_backup),
    "restore": (make_with_backup, restore, look_at_restored),
    "copy": (make, copy, look_at_copy),
    "prune": (make, prune, look_for_none),
    "delete": (make, delete, look_for_none),
}

STRIDES = {"write": 7, "open": 3}
"""Of what there is much, so many apart fail."""


def trials(folder: Path, scheme: str, verb: str, faults: Sequence[Fault]) -> Iterator[Trial]:
    """Let every call fail in each of these ways, but of the writes only some."""
    disk = Disk(folder)
    original = folder.with_name(folder.name + "-original")
    make, perform, look = VERBS[verb]
    anyio.run(make, Place(folder, scheme))
    _copy(folder, original)
    for fault in faults:
        for number in count(1, STRIDES.get(fault.call, 1)):
            shutil.rmtree(folder)
            _copy(original, folder)
            trial = anyio.run(_try, disk, Place(folder, scheme), (perform, look), fault, number)
            if trial is None:
                break
            yield trial


def _copy(folder: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(folder), str(target)], check=True)  # with hard links and instants


async def _try(disk: Disk, place: Place, verb: tuple[Step, Look], fault: Fault, number: int) -> Trial | None:
    perform, look = verb
    told: Exception | None = None
    disk.fail(fault, number)
    try:
        await perform(place)
    except Exception as error:
        told = error
    if disk.heal() == 0:
        if told is not None:
            raise told
        return None
    found = _misnamed(told, fault)
    if not fault.lasts and told is not None:
        said = f"{told} {getattr(told, 'hints', ())}"
        found += [f"{name} was left behind" for name in _unfinished(place.folder) if name not in said]
    try:
        await look(place, done=told is None)
        with suppress(StoreExistsError):  # a backup may be there although its name could not be made durable
            await perform(place)
        await look(place, done=True)
    except (FlujoError, AssertionError) as error:
        found.append(f"afterwards: {type(error).__name__}: {error}")
    return Trial(str(fault), number, None if told is None else type(told).__name__, found)


def _unfinished(folder: Path) -> list[str]:
    """What nobody removes; with a disk that lets nothing be removed it has to stay."""
    return [path.name for path in folder.iterdir() if "unfinished" in path.name or path.name.startswith(".store.rest")]


def _misnamed(told: Exception | None, fault: Fault) -> list[str]:
    """Whether somebody was told something else than what was wrong; see `injected`."""
    if told is None or type(told) is StoreError:
        return []
    if type(told) is StoreFullError and (fault.error == errno.ENOSPC or fault.call == "write"):
        return []
    return [f"it was told as {type(told).__name__}: {told}"]


def main(folder: Path, scheme: str, verb: str, faults: str) -> None:
    """Print a line for each trial."""
    stay_in_one_thread()
    folder.mkdir()
    for trial in trials(folder.resolve(), scheme, verb, FAULTS[faults]):
        sys.stdout.write(f"{json.dumps(trial)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])
