"""From a tree to a verdict on each mutant, with a small project of its own and real calls of pytest."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mutation.changes import Change
from mutation.mutants import NOTHING, as_text, report, try_all, witnesses
from mutation.record import Record, make_record, read_record
from mutation.sampling import Mutant, draw
from mutation.trial import Trial, Verdict
from mutation.workplace import find_cage, workplaces

MODULE = """\
def is_small(number):
    return number < 10


def name(number):
    return "small" if is_small(number) else "large"
"""
TESTS = """\
import os
import subprocess
import sys

from flujo.sizes import is_small, name


def test_small():
    assert is_small(3)


def test_large():
    assert not is_small(30)


def test_in_a_process():
    said = subprocess.run([sys.executable, "-c", "import flujo.sizes as s; print(s.name(3))"], capture_output=True)
    assert said.stdout == b"small\\n"


def test_killed():
    open("build/lines.vm.pid1.X", "wb").close()


def test_that_fails_whatever_is_changed():
    assert name(3) is None
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one module with tests, one of which always fails."""
    folder = tmp_path_factory.mktemp("project")
    try:
        find_cage(folder)
    except SystemExit as reason:
        pytest.skip(str(reason))
    files = {
        "pyproject.toml": '[tool.coverage.run]\nsource = ["lib"]\n[tool.pytest.ini_options]\npythonpath = ["lib"]\n',
        "lib/flujo/sizes.py": MODULE,
        ".gitignore": "build/",
        "tests/test_sizes.py": TESTS,
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def record(project: Path) -> Record:
    """Of the whole suite of the project."""
    make_record(project, project / "build" / "mutation", ["-q", "-p", "no:xdist", "-p", "no:randomly"])
    return read_record(project / "build" / "mutation")


def test_the_record_knows_who_runs_which_line(record: Record) -> None:
    """In a process of a test as well, and for each test how long it took."""
    lines = record.lines["lib/flujo/sizes.py"]
    test = "tests/test_sizes.py::test_"

    assert set(record.tests) == {
        f"{test}{name}" for name in ("small", "large", "in_a_process", "killed", "that_fails_whatever_is_changed")
    }
    assert f"{test}in_a_process" in lines[6]
    assert f"{test}small" not in lines[6]
    assert {f"{test}small", f"{test}large", f"{test}in_a_process"} <= set(lines[2])


def test_mutants_are_noticed_or_survive(project: Path, record: Record) -> None:
    """The exact limit is in no test; a test that fails without the change, too, is no witness. The tree stays whole."""
    with workplaces(project, 2) as places:
        mutants = [each for each in draw(places[0].folder, 100, 1) if each.change.line == 2]
        trials = {trial.diff.splitlines()[-1]: trial for trial in try_all(places, mutants, record, 120)}

    survivors = {line for line, trial in trials.items() if trial.verdict is not Verdict.NOTICED}
    assert survivors == {"+    return number <= 10", "+    return number < 11"}
    assert {trial.verdict for trial in trials.values()} == {Verdict.NOTICED, Verdict.SURVIVED}
    assert not any("whatever" in trial.noticed_by for trial in trials.values())
    assert (project / "lib/flujo/sizes.py").read_text() == MODULE


def test_without_a_record_the_tests_near_by_name_are_tried(project: Path) -> None:
    """Whole files of them."""
    changed = next(each for each in draw(project, 100, 1) if "<= 10" in each.diff(project))

    assert [test.name for test in witnesses(changed, NOTHING, project)] == ["tests/test_sizes.py"]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of the mutant's business."""
    with subprocess.Popen(["sleep", "999"]) as process:
        yield process
        process.kill()


def test_a_mutant_reaches_nothing_outside_of_its_cage(project: Path, stranger: subprocess.Popen[bytes]) -> None:
    """Neither processes nor files, though it runs as root."""
    (project / "tests" / "test_harm.py").write_text(
        f"import os, pathlib, pytest\n\n\ndef test_harm():\n    with pytest.raises(ProcessLookupError):\n"
        f"        os.kill({stranger.pid}, {signal.SIGKILL:d})\n    with pytest.raises(OSError):\n"
        f"        pathlib.Path({str(Path.home() / 'harm')!r}).write_text('')\n    pathlib.Path('ours').write_text('')\n"
    )
    with workplaces(project, 1) as [place]:
        ended = place.pytest(["tests/test_harm.py"], ["-q"], 60)
        (output,) = place.folder.glob("build/output.txt")

        assert (ended.failed, ended.tests) == (None, 1), output.read_text()

    assert stranger.poll() is None
    assert not (Path.home() / "harm").exists()
    assert not (project / "ours").exists()


def test_new_tests_are_tried_before_the_record_knows_them(project: Path, record: Record) -> None:
    """If their file is near by its name."""
    new = project / "tests" / "test_limits_of_sizes.py"
    new.write_text("from flujo.sizes import is_small\n\n\ndef test_limit():\n    assert not is_small(10)\n")
    try:
        changed = next(each for each in draw(project, 100, 1) if "<= 10" in each.diff(project))
        names = {test.name for test in witnesses(changed, record, project)}
        with workplaces(project, 1) as places:
            (trial,) = try_all(places, [changed], record, 120)
    finally:
        new.unlink()  # the project is that of all tests here

    assert "tests/test_limits_of_sizes.py" in names
    assert trial.noticed_by == "tests/test_limits_of_sizes.py::test_limit"


def test_the_result_names_survivors_and_counts_by_package() -> None:
    """As JSON for programs, as text for people."""
    change = Change(0, 1, "", 7, 7, "comparison")
    kept, lost = Mutant("kernel/flujo/kernel/a.py", change), Mutant("cli/flujo/cli/b.py", change)
    trials = [
        Trial(kept, "-a\n+b", Verdict.NOTICED, "tests/test_a.py::test_a", 3, 0, 1.0),
        Trial(lost, "-c\n+d", Verdict.UNFINISHED, "", 5, 2, 1.0),
    ]

    result = json.loads(json.dumps(report(trials, seed=4)))

    assert (result["seed"], result["mutants"], result["noticed"], result["unfinished"]) == (4, 2, 1, 1)
    assert result["packages"] == {"cli": {"unfinished": 1}, "kernel": {"noticed": 1}}
    assert [each["noticed_by"] for each in result["trials"]] == ["", "tests/test_a.py::test_a"]
    assert as_text(result).splitlines() == [
        "cli/flujo/cli/b.py:7 unfinished 5 tests, 2 left",
        "-c",
        "+d",
        "",
        "cli: 0 of 1 noticed",
        "kernel: 1 of 1 noticed",
        "in all: 1 of 2 noticed, seed 4",
    ]
