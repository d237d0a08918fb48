"""Run the suite on every core, with the tests' folders in memory: `make test` and `.ci/run` call this program.

    python tests/suite.py                                   # every test
    python tests/suite.py tests/kernel -k cancel            # arguments of pytest follow
    python tests/suite.py --workers 8 --scratch /var/tmp    # eight processes, and folders on that disk

Nearly half of the suite's time on one core is spent waiting for syncs of tiny files, so the folders are put on /dev/shm
where that is roomy and may hold programs. `.ci/run` repeats on a real disk what is about disks."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
BYTECODE = ROOT / "build" / "bytecode"
MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes that have to be free in memory: several times what a whole run was seen to need."""

PER_CORE = 2
"""Workers to a core: nearly half of its time, one waits for the processes that its test has started."""

FEWEST, MOST = 2, 8
"""Bounds of the number of workers: one would hide what tests share, and the longest tests fill the time of eight."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run pytest and return its exit code."""
    parser = argparse.ArgumentParser(description="Run the tests in parallel; further arguments are for pytest.")
    parser.add_argument("--workers", type=int, default=workers_for(_cores()), help="processes (default: %(default)s)")
    parser.add_argument("--scratch", type=Path, help="where the tests' folders are put (default: in memory, if it can)")
    chosen, for_pytest = parser.parse_known_args(arguments)
    parent = chosen.scratch or (MEMORY if is_fit(MEMORY) else Path(tempfile.gettempdir()))
    with private_folder(parent) as scratch:
        command = [sys.executable, "-P", "-m", "pytest", *options(chosen.workers, scratch), *for_pytest]
        return _call(command, environment(os.environ, scratch))


def workers_for(cores: int) -> int:
    """Return how many processes share the tests on a machine with so many cores."""
    return min(max(PER_CORE * cores, FEWEST), MOST)


def options(workers: int, scratch: Path) -> list[str]:
    """Return the options of pytest that spread the tests over processes and keep their folders in `scratch`."""
    return ["-n", str(workers), "--dist", "worksteal", "--basetemp", str(scratch / "t")]


def environment(outside: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return the environment of pytest: temporary files are in `scratch`, compiled bytecode is kept under build/."""
    inside = {name: value for name, value in outside.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inside, "TMPDIR": str(scratch), "PYTHONPYCACHEPREFIX": str(BYTECODE)}


def is_fit(folder: Path) -> bool:
    """True if `folder` is a directory with `ROOM` to spare in which programs can be put and run.

    Containers often have a /dev/shm of 64 MB, and some machines forbid programs there."""
    try:
        if shutil.disk_usage(folder).free < ROOM:
            return False
        with private_folder(folder) as inside:
            program = inside / "program"
            program.write_text("#!/bin/sh\n")
            program.chmod(0o700)
            return subprocess.run([program], check=False).returncode == 0
    except OSError:
        return False


@contextmanager
def private_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in `parent` that only this user may enter, and remove it with all that is in it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="flujo-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or FEWEST


def _call(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end; a Ctrl-C or a SIGTERM is the command's to handle, and its end is waited for."""
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number)),
        }
        try:
            return process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
