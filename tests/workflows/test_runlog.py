"""The log of a run is bounded and never the reason for a failure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flujo.workflows import runlog
from flujo.workflows.runlog import LogLine, LogReader, StepLog


def test_lines_are_put_together_from_chunks(tmp_path: Path) -> None:
    """Each stream on its own, and the end of one without a newline when the attempt ends."""
    log = StepLog(tmp_path / "log", "s", 1)
    log.receive("stdout", b"on")
    log.receive("stderr", b"err\n")
    log.receive("stdout", b"e\ntw")
    log.receive("stdout", b"o")
    log.close()

    assert (tmp_path / "log").read_text() == "s.1| err\ns.1| one\ns.1| two\n"


def test_a_full_log_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing grows beyond the bound but for the line that says so."""
    monkeypatch.setattr(runlog, "MAX_BYTES", 100)
    log = StepLog(tmp_path / "log", "s", 1)
    for _ in range(50):
        log.write("x" * 20)

    text = (tmp_path / "log").read_text()
    assert len(text) < 250
    assert text.count("the log is full") == 1


def test_a_log_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")

    StepLog(tmp_path / "file" / "log", "s", 1).write("x")
    StepLog(None, "s", 1).write("x")


def test_a_log_is_never_written_through_a_link_or_into_a_pipe(tmp_path: Path) -> None:
    """What somebody puts in its place is neither followed nor waited for."""
    (tmp_path / "other").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    os.mkfifo(tmp_path / "pipe")

    StepLog(tmp_path / "link", "s", 1).write("x")
    StepLog(tmp_path / "pipe", "s", 1).write("x")

    assert (tmp_path / "other").read_text() == ""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"build.2| compiling", LogLine("build", 2, "compiling")),
        (b"build.2| ", LogLine("build", 2, "")),
        (b"a.b.1| x| y", LogLine("a.b", 1, "x| y")),
        (b"the log is full (10 MiB); nothing more is written", LogLine(None, None, runlog._FULL.decode().strip())),
        (b"build| x", LogLine(None, None, "build| x")),
        (b"s.1| \xff", LogLine("s", 1, "�")),
    ],
)
def test_a_line_says_who_printed_it(line: bytes, expected: LogLine) -> None:
    """What does not begin with a step and an attempt is about the log itself."""
    assert runlog.parse(line) == expected


def test_a_reader_goes_on_with_whole_lines(tmp_path: Path) -> None:
    """A line that is being written is read once its end is there."""
    reader = LogReader(tmp_path / "log")
    assert list(reader.read()) == []
    with open(tmp_path / "log", "ab", buffering=0) as file:
        file.write(b"s.1| one\ns.1| tw")
        assert list(reader.read()) == [LogLine("s", 1, "one")]
        file.write(b"o\n")
        assert list(reader.read()) == [LogLine("s", 1, "two")]
        assert list(reader.read()) == []
