"""Which tests run which lines: the whole suite, once, under coverage.py.

A test that does not run a line cannot notice a change of it. So a mutant is tried on the tests that run its line, and
that takes seconds where the suite takes many minutes. The record is kept in `build/mutation`."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from coverage import CoverageData
from coverage.exceptions import DataError

from mutation.plugin import TEST
from mutation.sampling import Mutant, product_files
from mutation.workplace import Workplace, workplaces

SETTINGS = """
[run]
data_file = {folder}/lines
parallel = true
patch = _exit
context = ${{{test}-}}
core = {core}
disable_warnings = no-sysmon-context
source =
{sources}
"""
"""For coverage.py. The processes that a test starts read them too, and find the test's name in their environment.

From Python 3.12 on, each line costs only when it runs for the first time in a test (plugin.py), and the record takes
little longer than the suite; before, it takes several times as long."""

IMPORTED = ""
"""The context of lines that ran outside of all tests: those of modules, when they were imported."""

HOURS = 3600.0


class TimedTest(NamedTuple):
    """A test, and how long it took."""

    name: str
    seconds: float

    @property
    def path(self) -> str:
        """The file that holds it."""
        return self.name.partition("::")[0]


class Record(NamedTuple):
    """What was seen when the whole suite ran."""

    tests: Mapping[str, TimedTest]
    digests: Mapping[str, str]
    """The content of each file of the product and its tests, as it was."""

    lines: Mapping[str, Mapping[int, Sequence[str]]]
    """By file and line, the names of the tests that ran it."""

    def running(self, mutant: Mutant, root: Path) -> list[TimedTest]:
        """Return the tests that run the changed statement, as far as the record can tell them apart.

        They are the tests of the whole file if no test runs the statement, if it runs when the module is imported, or
        if the file has changed since.
        """
        lines = self.lines.get(mutant.path, {})
        among = range(mutant.change.statement, mutant.change.line + 1)
        names = {name for line in among for name in lines.get(line, ())}
        if not names or IMPORTED in names or self.digests.get(mutant.path) != digest(root / mutant.path):
            names = {name for those in lines.values() for name in those}
        return [self.tests[name] for name in sorted(names) if name in self.tests]

    def is_current(self, path: str, root: Path) -> bool:
        """True if a file is as it was when the suite ran."""
        return self.digests.get(path) == digest(root / path)


def digest(file: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_files(root: Path) -> list[str]:
    """Return the paths of all files with tests."""
    return [path.relative_to(root).as_posix() for path in sorted((root / "tests").rglob("test_*.py"))]


def make_record(root: Path, folder: Path, options: Sequence[str]) -> None:
    """Run the whole suite in a copy of the tree, and keep in `folder` what ran. `options` are for pytest."""
    with workplaces(root, 1) as [workplace]:
        seen = _measure(workplace, options)
        digests = {path: digest(workplace.folder / path) for path in [*product_files(root), *test_files(root)]}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(workplace.folder / "build" / "results.jsonl", folder / "tests.jsonl")
        shutil.copy(workplace.folder / "build" / "output.txt", folder / "output.txt")
        (folder / "lines.json").write_text(json.dumps(seen))
        (folder / "digests.json").write_text(json.dumps(digests))


def _measure(workplace: Workplace, options: Sequence[str]) -> dict[str, dict[int, list[str]]]:
    """Return which tests ran which lines of which files."""
    build = workplace.folder / "build"
    sources = "\n".join(f"    {workplace.folder / path}" for path in _roots(workplace.folder))
    core = "sysmon" if hasattr(sys, "monitoring") else "ctrace"
    (build / "coveragerc").write_text(SETTINGS.format(folder=build, test=TEST, sources=sources, core=core))
    told = {"COVERAGE_PROCESS_START": str(build / "coveragerc")}
    workplace.pytest(["tests"], options, 3 * HOURS, told)
    seen: dict[str, dict[int, set[str]]] = {}
    for file in build.glob("lines.*"):
        _add(seen, file, workplace.folder)
    return {path: {line: sorted(names) for line, names in lines.items()} for path, lines in seen.items()}


def _roots(root: Path) -> Iterable[str]:
    return dict.fromkeys(path.partition("/")[0] for path in product_files(root))


def _add(seen: dict[str, dict[int, set[str]]], file: Path, root: Path) -> None:
    """Add what one process saw."""
    data = CoverageData(str(file))
    try:
        with suppress(DataError):  # of a process that was killed while it wrote
            data.read()
            for path in data.measured_files():
                of_file = seen.setdefault(Path(path).relative_to(root).as_posix(), {})
                for line, names in data.contexts_by_lineno(path).items():
                    of_file.setdefault(line, set()).update(names)
    finally:
        data.close()


def read_record(folder: Path) -> Record:
    """Return the record that `make_record` has left."""
    tests: dict[str, TimedTest] = {}
    for line in (folder / "tests.jsonl").read_text().splitlines():
        told: dict[str, Any] = json.loads(line)
        tests[told["test"]] = TimedTest(told["test"], told["seconds"])
    lines = json.loads((folder / "lines.json").read_text())
    by_number = {path: {int(line): names for line, names in of_file.items()} for path, of_file in lines.items()}
    return Record(tests, json.loads((folder / "digests.json").read_text()), by_number)
