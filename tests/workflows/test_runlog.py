"""The log of a run is bounded and never the reason for a failure."""

from __future__ import annotations

import os
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


def test_a_log_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")

    StepLog(tmp_path / "file" / "log", "s", 1).write("x")
    StepLog(None, "s", 1).write("x")


def test_a_log_is_never_written_into_a_file_of_another_name(tmp_path: Path) -> None:
    """A hard link that somebody has put in its place leads to a file of this very user."""
    (tmp_path / "profile").write_text("mine")
    os.link(tmp_path / "profile", tmp_path / "log")

    StepLog(tmp_path / "log", "s", 1).write("x")

    assert (tmp_path / "profile").read_text() == "mine"


def test_a_log_is_never_written_through_a_link_or_into_a_pipe(tmp_path: Path) -> None:
    """What somebody puts in its place is neither followed nor waited for."""
    (tmp_path / "other").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    os.mkfifo(tmp_path / "pipe")

    StepLog(tmp_path / "link", "s", 1).write("x")
    StepLog(tmp_path / "pipe", "s", 1).write("x")

    assert (tmp_path / "other").read_text() == ""
