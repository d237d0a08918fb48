"""The log of a run is bounded and never the reason for a failure."""

from __future__ import annotations

import os
import threading
import tracemalloc
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from flujo.kernel.durations import format_instant
from flujo.kernel.programs import compact_log
from flujo.kernel.state import WorkflowState
from flujo.kernel.store.run_logs import LogChoice, read_log
from flujo.workflows import runlog
from flujo.workflows.redaction import NotingRedactor, Redactor
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


def read(log: Path, step: str | None = None) -> list[str]:
    part = read_log(WorkflowState(run_id="r", uid="u"), log, LogChoice(step=step))
    return [line.text for line in part.lines]


def test_every_attempt_keeps_its_beginning_and_its_end_in_a_full_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was written before, and however many there are; the file never grows beyond twice its bound, as it may
    while a shorter one is made."""
    monkeypatch.setattr(runlog, "MAX_BYTES", 50_000)
    for attempt in range(1, 13):
        log = StepLog(tmp_path / "log", f"s{attempt}", attempt)
        for number in range(300):
            log.write(f"line {number}")
        assert (tmp_path / "log").stat().st_size < 101_000
        log.close()

    for attempt in range(1, 13):
        kept = read(tmp_path / "log", f"s{attempt}")
        assert (kept[0], kept[-1]) == ("line 0", "line 299")


def test_a_noisy_attempt_keeps_the_end_of_each_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has filled the log: what it prints last is there at any moment, also if it is killed in the next one."""
    monkeypatch.setattr(runlog, "MAX_BYTES", 200_000)
    monkeypatch.setattr(runlog, "NOISY", 10_000)
    log = StepLog(tmp_path / "log", "s", 1)
    for number in range(60):
        log.receive("stdout", b"".join(b"line %d.%d\n" % (number, at) for at in range(1000)))
        if number > 40:
            assert read(tmp_path / "log")[-1] == f"line {number}.999"

    kept = read(tmp_path / "log")
    assert kept[:2] == ["line 0.0", "line 0.1"]
    assert kept[-2:] == ["line 59.998", "line 59.999"]
    assert (tmp_path / "log").stat().st_size < 400_000


def test_a_noisy_line_without_an_end_is_there_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is held back, and what is left out is told."""
    monkeypatch.setattr(runlog, "MAX_BYTES", 200_000)
    monkeypatch.setattr(runlog, "NOISY", 10_000)
    log = StepLog(tmp_path / "log", "s", 1)
    for number in range(100):
        log.receive("stdout", b"x" * 60_000 + b"<%d>" % number)
        if number > 10:
            assert read(tmp_path / "log")[-1].endswith(f"<{number}>")

    assert any("bytes left out" in text for text in read(tmp_path / "log"))


def test_nobody_waits_for_a_shorter_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread makes it, of lines of many attempts for a second, and what is printed meanwhile is in it."""
    monkeypatch.setattr(runlog, "MAX_BYTES", 50_000)
    may_begin = threading.Event()

    def later(path: Path, room: int, replacing: AbstractContextManager[object]) -> bool:
        may_begin.wait()
        return compact_log(path, room, replacing)

    monkeypatch.setattr(runlog, "compact_log", later)
    log = StepLog(tmp_path / "log", "s", 1)
    for number in range(1500):
        log.write(f"line {number}")
    assert 50_000 < (tmp_path / "log").stat().st_size < 100_000
    (shortening,) = runlog._shortenings.values()
    may_begin.set()
    assert shortening.result()
    log.write("after")

    kept = read(tmp_path / "log")
    assert (kept[0], kept[-2:]) == ("line 0", ["line 1499", "after"])
    assert (tmp_path / "log").stat().st_size < 50_000


def test_no_part_of_a_secret_stands_at_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken out before a piece is cut, since the rest of one would not be known for what it is."""
    monkeypatch.setattr(runlog, "MAX_BYTES", 200_000)
    monkeypatch.setattr(runlog, "NOISY", 10_000)
    secret = "correct-horse-battery-staple" * 300
    log = StepLog(tmp_path / "log", "s", 1, NotingRedactor(Redactor([secret]), lambda: None))
    for _ in range(100):
        log.receive("stdout", b"x" * 30_000 + secret.encode() + b"y" * 2000)
        log.receive("stdout", b"".join(b"line\n" for _ in range(2000)) + secret.encode() + b"\n")

    text = (tmp_path / "log").read_text()
    assert "line" in text
    assert not any(part in text for part in ("horse", "battery", "staple"))


def test_a_long_text_at_once_keeps_both_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be longer than the whole log."""
    monkeypatch.setattr(runlog, "MAX_BYTES", 200_000)
    StepLog(tmp_path / "log", "s", 1).write("\n".join(f"line {number}" for number in range(100_000)))

    kept = read(tmp_path / "log")
    assert (kept[0], kept[-1]) == ("line 0", "line 99999")
    assert (tmp_path / "log").stat().st_size < 200_000


def test_a_million_lines_at_once_take_no_more_memory_than_they_are(tmp_path: Path) -> None:
    """Each begins with its step and the time, which are longer than the lines: a few are put together at a time."""
    log = StepLog(tmp_path / "log", "s", 1)
    text = "\n" * 1_000_000
    tracemalloc.start()
    log.write(text)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 16 * 1024 * 1024
    assert (tmp_path / "log").stat().st_size <= runlog.MAX_BYTES


def test_half_a_line_of_a_process_that_was_killed_spoils_no_line(tmp_path: Path) -> None:
    """The next attempt begins a new one."""
    (tmp_path / "log").write_bytes(b"s.1| killed in the mid")
    StepLog(tmp_path / "log", "s", 2).write("again")

    assert read(tmp_path / "log") == ["killed in the mid", "again"]


def test_what_was_written_to_a_log_that_was_replaced_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process made it shorter between the opening and the writing."""
    (tmp_path / "log").write_bytes(b"s.1| before\n")
    write = os.write

    def replaced_meanwhile(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        (tmp_path / "new").write_bytes(b"s.1| shorter\n")
        (tmp_path / "new").replace(tmp_path / "log")
        return write(fd, data)

    monkeypatch.setattr(os, "write", replaced_meanwhile)
    StepLog(tmp_path / "log", "s", 2).write("after")

    assert read(tmp_path / "log") == ["shorter", "after"]


def test_a_log_that_was_deleted_with_its_run_is_not_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stay for ever: nothing names it any more."""
    write = os.write

    def deleted_meanwhile(fd: int, data: bytes) -> int:
        (tmp_path / "log").unlink()
        return write(fd, data)

    monkeypatch.setattr(os, "write", deleted_meanwhile)
    StepLog(tmp_path / "log", "s", 2).write("after")

    assert os.listdir(tmp_path) == []


def test_a_log_that_cannot_be_made_shorter_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For want of room, say. That is told, and not tried again with every line."""
    monkeypatch.setattr(runlog, "MAX_BYTES", 10_000)
    tried = 0

    def fail(path: Path, room: int, replacing: object) -> bool:
        nonlocal tried
        tried += 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runlog, "compact_log", fail)
    log = StepLog(tmp_path / "log", "s", 1)
    for _ in range(1000):
        log.write("x" * 50)

    assert tried == 1
    assert (tmp_path / "log").stat().st_size <= 20_000
    assert caplog.text.count("is not all in the log: No space left on device") == 1


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
