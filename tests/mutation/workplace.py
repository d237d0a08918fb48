"""Copies of the tree in which mutants are tried, and the cage in which their tests run.

A mutant may do anything: signal the wrong processes, remove the wrong files. So its tests see no process but their own,
and can write to their own copy and to `/tmp` only, which is empty and theirs. That takes Linux and root, or user
namespaces."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import NamedTuple

from mutation.plugin import RESULTS
from mutation.sampling import Mutant

CAGE = """
mount --bind "$COPY" "$COPY"
mount -o remount,bind,ro /
case "$1" in
/tmp/*) ;; # our Python is there
*) mount -t tmpfs tmpfs /tmp ;;
esac
"$@"
exit
"""
"""What is done to the namespaces of a cage before the tests begin. /dev/shm is a file system of its own and stays
writable. The tests are not the first process, which gets the orphans of all others: a test would count them."""

MEMORY = Path("/dev/shm")
THIS = Path(__file__).parents[1]
"""The folder that pytest finds our plugin in, should a copy not have it."""


def _room(root: Path) -> Path:
    """Return where copies are made: in memory, or under build/."""
    if MEMORY.is_dir():
        return MEMORY
    (root / "build").mkdir(exist_ok=True)
    return root / "build"


class Ended(NamedTuple):
    """How one call of pytest ended."""

    failed: str | None
    """The test that failed; "" if pytest itself did or its time was up, None if nothing failed."""

    tests: int
    """The tests that were over by then."""


class Workplace:
    """One copy of the tree."""

    def __init__(self, copy: Path, cage: Sequence[str]) -> None:
        self._copy = copy
        self._cage = cage

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """Have the mutant in this copy, for as long as the context lasts."""
        file = self._copy / mutant.path
        source = file.read_bytes()
        file.write_bytes(mutant.change.apply(source))
        try:
            yield
        finally:
            file.write_bytes(source)

    def pytest(
        self, tests: Sequence[str], options: Sequence[str], limit: float, environment: Mapping[str, str] = {}
    ) -> Ended:
        """Run tests in this copy, for at most `limit` seconds. `options` are for pytest."""
        results = self._copy / "build" / "results.jsonl"
        results.unlink(missing_ok=True)
        chosen = self._copy / "build" / "chosen.txt"  # there may be more than fit on a command line
        chosen.write_text("".join(f"{each}\n" for each in tests))
        command = [sys.executable, "-m", "pytest", "-p", "mutation.plugin", "-p", "no:cacheprovider"]
        where = f"--basetemp={self._copy / 'build' / 'tmp'}"
        status = self._run([*command, where, *options, f"@{chosen}"], limit, {RESULTS: str(results), **environment})
        lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
        failed = next((line["test"] for line in lines if line["failed"]), "" if status != 0 else None)
        return Ended(failed, len(lines))

    def _run(self, command: Sequence[str], limit: float, environment: Mapping[str, str]) -> int | None:
        """Return the exit code of a command in the cage, or None if it was ended because its time was up."""
        with (
            (self._copy / "build" / "output.txt").open("wb") as output,
            subprocess.Popen(
                [*self._cage, *command],
                cwd=self._copy,
                env={**_environment(self._copy), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    @property
    def folder(self) -> Path:
        """The folder of the copy."""
        return self._copy


def _environment(copy: Path) -> dict[str, str]:
    """Return the environment of tests in a copy: its code comes before what is installed, in child processes, too.

    What a pytest around this one has set, such as that it is one of several workers, is not handed on."""
    roots = [path.parent for path in sorted(copy.glob("*/flujo"))]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "COPY": str(copy),
        "PYTHONPATH": os.pathsep.join(map(str, [*roots, copy / "tests", THIS])),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@contextmanager
def workplaces(root: Path, count: int) -> Iterator[list[Workplace]]:
    """Make copies of the tree, in memory where there is room, and remove them in the end."""
    cage = find_cage(root)
    with tempfile.TemporaryDirectory(prefix="flujo-mutants-", dir=_room(root)) as folder:
        made = [Workplace(_copy(root, Path(folder) / str(number)), cage) for number in range(count)]
        yield made


def _copy(root: Path, to: Path) -> Path:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (root / name).is_file():  # not one that was removed just now
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, to / name)
    (to / "build").mkdir()
    # By their text, not by their date: a mutant may be as long as the source and as old.
    compileall.compile_dir(to, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return to


def find_cage(root: Path) -> list[str]:
    """Return the command that runs another in a cage. Raises SystemExit where there is none to be had."""
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    for command in (unshare, [*unshare, "--user", "--map-root-user"]):
        cage = [*command, "sh", "-euc", CAGE, "cage"]
        with tempfile.TemporaryDirectory(dir=_room(root)) as folder, suppress(OSError):
            tried = subprocess.run(
                [*cage, "true"], env={**os.environ, "COPY": folder}, capture_output=True, check=False
            )
            if tried.returncode == 0:
                return cage
    raise SystemExit("mutants run in a cage, which takes Linux, unshare and root (or user namespaces): try as root")
