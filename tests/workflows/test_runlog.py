"""The log of a run is bounded and never the reason for a failure."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from flujo.kernel.durations import format_instant
from flujo.workflows import runlog
from flujo.workflows.runlog import StepLog
from kernel.harness import START, ManualClock


def test_lines_are_put_together_from_chunks(tmp_path: Path) -> None:
    """Each stream on its own, and the end of one without a newline when the attempt ends."""
    log = StepLog(tmp_path / "log", "s", 1, clock=ManualClock())
    log.receive("stdout", b"on")
    log.receive("stderr", b"err\n")
    log.receive("stdout", b"e\ntw")
    log.receive("stdout", b"o")
    log.close()

    stamp = format_instant(START)
    assert (tmp_path / "log").read_text() == f"s.1 {stamp}| err\ns.1 {stamp}| one\ns.1 {stamp}| two\n"


def test_a_full_log_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing grows beyond the bound but for the line that says so."""
    monkeypatch.setattr(runlog, "MAX_BYTES", 100)
    log = StepLog(tmp_path / "log", "s", 1)
    for _ in range(50):
        log.write("x" * 20)

    text = (tmp_path / "log").read_text()
    assert len(text) < 250
    assert text.count("the log is full") == 1


def test_a_million_lines_at_once_take_no_more_memory_than_they_are(tmp_path: Path) -> None:
    """Each begins with its step and the time, which are longer than the lines: a few are put together at a time."""
    log = StepLog(tmp_path / "log", "s", 1)
    text = "\n" * 1_000_000
    tracemalloc.start()
    log.write(text)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 16 * 1024 * 1024
    assert (tmp_path / "log").stat().st_size == runlog.MAX_BYTES + len(runlog._FULL)


def test_a_log_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")

    StepLog(tmp_path / "file" / "log", "s", 1).write("x")
    StepLog(None, "s", 1).write("x")


def test_a_log_is_never_written_into_a_file_of_another_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A hard link that somebody has put in its place leads to a file of this very user. That is told once."""
    (tmp_path / "profile").write_text("mine")
    os.link(tmp_path / "profile", tmp_path / "log")
    log = StepLog(tmp_path / "log", "s", 1)
    for _ in range(3):
        log.write("x")

    assert (tmp_path / "profile").read_text() == "mine"
    assert caplog.text.count("what step s prints is not all in the log: it has another name") == 1


def test_what_a_full_disk_took_of_a_log_is_told_and_spoils_no_later_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A line of which the disk took a part stays without its end; what comes when there is room begins a new one."""
    log = StepLog(tmp_path / "log", "s", 1, clock=ManualClock())
    with monkeypatch.context() as full:
        write = os.write
        full.setattr(os, "write", lambda file, data: write(file, data[:10]))
        log.write("first")
    log.write("second")

    stamp = format_instant(START)
    begun, *rest = (tmp_path / "log").read_text().splitlines()
    assert (begun, rest) == (f"s.1 {stamp}| first"[:10], [f"s.1 {stamp}| second"])
    assert caplog.text.count("there is no room on its disk") == 1


def test_a_log_is_never_written_through_a_link_or_into_a_pipe(tmp_path: Path) -> None:
    """What somebody puts in its place is neither followed nor waited for."""
    (tmp_path / "other").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    os.mkfifo(tmp_path / "pipe")

    StepLog(tmp_path / "link", "s", 1).write("x")
    StepLog(tmp_path / "pipe", "s", 1).write("x")

    assert (tmp_path / "other").read_text() == ""
