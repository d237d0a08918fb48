"""The program behind `make test`: how many processes, which folders, and what is left when it has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import suite

ROOT = Path(__file__).parents[1]

PASSES_AND_FAILS = """\
import os
import sys
from pathlib import Path

REPORTS = Path(__file__).parent


def report(name, folder):
    folder.joinpath("left").write_text("behind")
    seen = [str(folder), os.environ["TMPDIR"], str(sys.dont_write_bytecode), sys.pycache_prefix]
    REPORTS.joinpath(name).write_text("\\n".join(seen))


def test_passes(tmp_path):
    report("first", tmp_path)


def test_fails(tmp_path):
    report("second", tmp_path)
    assert False
"""


@pytest.mark.parametrize(("cores", "workers"), [(1, 2), (2, 4), (3, 6), (4, 8), (64, 8)])
def test_there_are_two_workers_to_a_core(cores: int, workers: int) -> None:
    """While one waits for a process, the other has the core; on one core, too, two show what tests share."""
    assert suite.workers_for(cores) == workers


def test_interpreters_that_tests_start_write_their_bytecode(tmp_path: Path) -> None:
    """Also where the caller forbids bytecode; the rest of the environment stays."""
    outside = {"PATH": "/bin", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": "/elsewhere"}

    inside = suite.environment(outside, tmp_path)

    assert inside == {"PATH": "/bin", "TMPDIR": str(tmp_path), "PYTHONPYCACHEPREFIX": str(ROOT / "build" / "bytecode")}


def test_a_folder_is_fit_if_it_is_roomy_and_may_hold_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's /dev/shm of 64 MB is not."""
    monkeypatch.setattr(suite, "ROOM", 4096)
    assert suite.is_fit(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not suite.is_fit(tmp_path / "missing")

    monkeypatch.setattr(suite, "ROOM", 1 << 62)
    assert not suite.is_fit(tmp_path)


def test_a_folder_is_for_its_owner_only_and_is_gone_afterwards(tmp_path: Path) -> None:
    """With all that is in it, also when the block raises."""

    def fail_inside() -> None:
        with suite.private_folder(tmp_path) as folder:
            assert folder.parent == tmp_path
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "tests" / "deep").mkdir(parents=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()

    assert list(tmp_path.iterdir()) == []


def test_tests_run_in_processes_of_their_own_and_leave_nothing(tmp_path: Path) -> None:
    """The exit code is pytest's, arguments are handed on, and the folders of the tests are gone."""
    scratch, tests = tmp_path / "scratch", tmp_path / "tests"
    scratch.mkdir()
    tests.mkdir()
    (tests / "test_two.py").write_text(PASSES_AND_FAILS)
    (tests / "pytest.ini").write_text("[pytest]\n")

    command = [sys.executable, str(ROOT / "tests" / "suite.py"), "--scratch", str(scratch), "--workers", "2"]
    command += ["-q", "-c", str(tests / "pytest.ini"), "-p", "no:cacheprovider", "-p", "no:asyncio", str(tests)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (1, "")
    assert "1 failed, 1 passed" in ended.stdout
    for name in ("first", "second"):
        folder, temporary, *bytecode = (tests / name).read_text().splitlines()
        assert Path(temporary).parent == scratch
        assert Path(temporary) in Path(folder).parents
        assert "popen-gw" in folder
        assert bytecode == ["False", str(ROOT / "build" / "bytecode")]
    assert list(scratch.iterdir()) == []


def test_faults_that_cannot_be_tried_are_named(tmp_path: Path) -> None:
    """The end of the report says so, although other processes ran the tests."""
    empty = tmp_path / "bin"
    empty.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "FLUJO_REQUIRE_FAULTS"}
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"]
    command += ["--basetemp", str(tmp_path / "base"), "tests/faults/test_full_disks.py"]
    ended = subprocess.run(
        command, cwd=ROOT, env={**environment, "PATH": str(empty)}, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stdout
    assert "faults that were NOT tried on this machine" in ended.stdout
    assert (
        "tests/faults/test_full_disks.py::test_a_store_is_opened_once_there_is_space[file]: Skipped: " in ended.stdout
    )
