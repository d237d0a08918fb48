"""What pruning half of a long history does to runs that go on meanwhile, and to the size of the file.

    python bench/pruning.py [--runs N] [--advancing N] [--folder DIR]

A process of its own advances runs all the time, each step after the other, and notes how long every step takes. The
figures stand beside the limits they must keep; the exit status is 1 if one does not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median

import anyio

from figures import Report  # beside this file, which python puts on the path of a script; so is the next
from filling import FIRST, SECOND, fill, require_space
from flujo.backends import SQLiteBackend, open_backend
from flujo.kernel import Context, Kernel, RunFilter, step, workflow
from flujo.kernel.backend import Removal

BEFORE_SECONDS = 10
PER_CALL = 10_000
SLOWER_LIMIT = 2.0
GIVEN_BACK = 0.9
LOG_LIMIT_MB = 16.0
BYTES_OF_AN_EVENT = 60  # its numbers, type and headers, and its entry in the index


# -- the runs that go on, in a process of their own ---------------------------------------------------------------

marks: list[tuple[float, float]] = []  # when a step ended, and what it took since the last one of its run, in seconds


@step
async def work() -> str:
    return "x" * 200


@workflow()
async def advancing(ctx: Context) -> int:
    steps = 0
    last = time.perf_counter()
    while not stopping.is_set():
        await ctx.step(work)
        now = time.perf_counter()
        marks.append((time.time(), now - last))
        last, steps = now, steps + 1
    return steps


stopping = threading.Event()


async def advance(url: str, runs: int) -> None:
    """Advance runs until a line arrives, and print what each step took."""
    threading.Thread(target=wait_for_a_line, daemon=True).start()
    async with Kernel(open_backend(url), workflows=[advancing]) as kernel, anyio.create_task_group() as group:
        for number in range(runs):
            group.start_soon(partial(kernel.run, advancing, run_id=f"live-{number}"))
        print("advancing", flush=True)
    for mark in marks:
        print(*mark)


def wait_for_a_line() -> None:
    sys.stdin.readline()
    stopping.set()


@contextmanager
def others(url: str, runs: int) -> Iterator[subprocess.Popen[str]]:
    """A process that advances so many runs."""
    command = [sys.executable, __file__, "--advance", url, "--advancing", str(runs)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "advancing\n"
        yield process
    finally:
        process.kill()
        process.communicate()


# -- pruning ------------------------------------------------------------------------------------------------------


class Log:
    """The largest size of the write-ahead log, looked at all the time."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + "-wal")
        self.most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            with suppress(FileNotFoundError):
                self.most = max(self.most, self._path.stat().st_size)

    def __enter__(self) -> Log:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


async def prune(database: Path, filter: RunFilter) -> list[Removal]:
    """Prune as an operator would, call after call until no more is left."""
    removals: list[Removal] = []
    async with SQLiteBackend(database) as backend:
        while not removals or removals[-1].more:
            removals.append(await backend.prune(filter, limit=PER_CALL, dry_run=False))
    return removals


async def bytes_of(database: Path, filter: RunFilter) -> int:
    """What the journals of some runs take in the file, rather too little."""
    async with SQLiteBackend(database) as backend:
        payloads = (await backend.prune(filter, limit=1, dry_run=True)).bytes
        events = sum(run.seq for run in (await backend.list(filter, limit=1_000)).runs)
    return payloads + BYTES_OF_AN_EVENT * events


def measure(database: Path, runs: int, advancing_runs: int, report: Report) -> None:
    size = database.stat().st_size
    half = RunFilter(settled_before=FIRST + runs // 2 * SECOND)
    with others(f"sqlite:{database}", advancing_runs) as process:
        with Log(database) as log:
            time.sleep(BEFORE_SECONDS)
            begun = time.time()
            removals = anyio.run(prune, database, half)
            ended = time.time()
        output, _ = process.communicate("stop\n")
    written = anyio.run(bytes_of, database, RunFilter(id_prefix="live-"))
    now = database.stat().st_size
    share = 1 - (now - written) / size
    gone = sum(removal.total for removal in removals)
    print(f"{gone} of {runs} runs pruned in {ended - begun:.0f} s, in {len(removals)} calls")
    steps = [(float(at), float(took)) for at, took in map(str.split, output.splitlines())]
    before = [took for at, took in steps if begun - BEFORE_SECONDS / 2 <= at < begun]
    during = [took for at, took in steps if begun <= at < ended]
    print(f"a step before: {describe(before)}")
    print(f"a step meanwhile: {describe(during)}")
    print(
        f"the file: {size / 1e6:.0f} MB, then {now / 1e6:.0f} MB and {written / 1e6:.0f} MB of them written meanwhile"
    )
    print(f"it shrank by {100 * share:.1f} of 100, for {100 * gone / runs:.1f} of 100 runs")
    report.figure("runs that failed", process.returncode, 0)
    report.figure("a step meanwhile, times one before", median(during) / median(before), SLOWER_LIMIT)
    report.figure("the share of runs that went, divided by the share given back", gone / runs / share, 1 / GIVEN_BACK)
    report.figure("the longest log", log.most / 1e6, LOG_LIMIT_MB, " MB")


def describe(seconds: Sequence[float]) -> str:
    ascending = sorted(seconds)
    longest = ascending[-1]
    late = ascending[len(ascending) * 99 // 100]
    return (
        f"{1e3 * median(ascending):.1f} ms, 99 of 100 within {1e3 * late:.0f} ms, the longest {1e3 * longest:.0f} ms, "
        f"{len(ascending)} steps"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--advancing", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where the store goes; default: the system's temporary folder")
    parser.add_argument("--advance", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.advance:
        anyio.run(advance, arguments.advance, arguments.advancing)
        return
    report = Report("Pruning")
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="flujo-bench-") as folder:
        database = Path(folder) / "state.db"
        require_space(database.parent, arguments.runs)
        fill(database, arguments.runs)
        print(f"{arguments.runs} runs in {database.stat().st_size / 1e6:.0f} MB", flush=True)
        measure(database, arguments.runs, arguments.advancing, report)
    sys.exit(0 if report.all_kept else 1)


if __name__ == "__main__":
    main()
