"""Reading what the steps of a run have printed: which line is whose, which are wanted, and where to go on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flujo.kernel.errors import InvalidNameError, NoLogError, RunReplacedError
from flujo.kernel.state import WorkflowState
from flujo.kernel.store.run_logs import MAX_TEXT, LogChoice, LogLine, LogOptions, line_start, log_of, parse, read_log

RUN = WorkflowState(run_id="r", uid="u")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"build.2| compiling", LogLine("build", 2, "compiling")),
        (b"build.2| ", LogLine("build", 2, "")),
        (b"a.b.1| x| y", LogLine("a.b", 1, "x| y")),
        (
            b"the log is full (10 MiB); nothing more is written",
            LogLine(None, None, "the log is full (10 MiB); nothing more is written"),
        ),
        (b"build| x", LogLine(None, None, "build| x")),
        (b"s.1| \xff", LogLine("s", 1, "\ufffd")),
        (b"a b.2 2026-11-22T02:15:00.000001Z| x| y", LogLine("a b", 2, "x| y", 1_795_313_700_000_001)),
        (b"s.1 2026-13-22T02:15:00.000000Z| x", LogLine(None, None, "s.1 2026-13-22T02:15:00.000000Z| x")),
        (line_start("each[3]", 12, 5) + b"x", LogLine("each[3]", 12, "x", 5)),
        (line_start("each[3]", 12) + b"x", LogLine("each[3]", 12, "x")),
    ],
)
def test_a_line_says_who_printed_it(line: bytes, expected: LogLine) -> None:
    """What does not begin with a step and an attempt is about the log itself."""
    assert parse(line) == expected


@pytest.mark.parametrize("character", ["x", "ä", "\U0001f600"])
def test_a_long_line_is_cut_with_a_sign(character: str) -> None:
    """In bytes, as messages are bounded; a character is never cut in two."""
    text = parse(line_start("s", 1) + character.encode() * (MAX_TEXT + 1)).text

    assert MAX_TEXT - 8 < len(text.encode()) <= MAX_TEXT
    assert text.strip(character) == "…"
    assert parse(line_start("s", 1) + b"x" * MAX_TEXT).text == "x" * MAX_TEXT


LINES = b"a.1| one\nb.1| two\na.2| three\nthe log is full\nloop[0].1| four\nloop[1].2| five\n"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["one", "two", "three", "the log is full", "four", "five"]),
        ({"step": "a"}, ["one", "three", "the log is full"]),
        ({"step": "a", "attempt": 2}, ["three", "the log is full"]),
        ({"step": "loop"}, ["the log is full", "four", "five"]),
        ({"step": "loop[1]"}, ["the log is full", "five"]),
        ({"tail": 2}, ["four", "five"]),
        ({"tail": 0}, []),
        ({"step": "a", "tail": 1}, ["the log is full"]),
        ({"offset": len(b"a.1| one\nb.1| two\n"), "step": "a"}, ["three", "the log is full"]),
    ],
)
def test_lines_are_wanted_by_step_loop_attempt_number_and_place(
    wanted: LogOptions, expected: list[str], tmp_path: Path
) -> None:
    """And what is said about the log itself in any case. The next place is behind all that was read."""
    (tmp_path / "log").write_bytes(LINES)

    part = read_log(RUN, tmp_path / "log", LogChoice.of(**wanted))

    assert [line.text for line in part.lines] == expected
    assert part.next_offset == len(LINES)


def test_reading_goes_on_with_whole_lines(tmp_path: Path) -> None:
    """A line that is being written is read once its end is there."""
    log = tmp_path / "log"
    assert read_log(RUN, log, LogChoice()) == ((), 0, "u")
    with open(log, "ab", buffering=0) as file:
        file.write(b"s.1| one\ns.1| tw")
        lines, offset, _ = read_log(RUN, log, LogChoice())
        assert lines == (LogLine("s", 1, "one"),)
        file.write(b"o\n")
        lines, offset, _ = read_log(RUN, log, LogChoice(offset))
        assert lines == (LogLine("s", 1, "two"),)
        assert read_log(RUN, log, LogChoice(offset)) == ((), offset, "u")


@pytest.mark.parametrize("offset", [1, len(LINES) - 1, len(LINES) + 1, 10**12])
def test_no_line_begins_in_the_midst_of_one(offset: int, tmp_path: Path) -> None:
    """Nor behind the end of a log, as after one was replaced by a shorter one."""
    (tmp_path / "log").write_bytes(LINES)

    with pytest.raises(InvalidNameError, match="the next_offset of an earlier answer"):
        read_log(RUN, tmp_path / "log", LogChoice(offset))
    with pytest.raises(InvalidNameError, match="the next_offset of an earlier answer"):
        read_log(RUN, tmp_path / "none", LogChoice(offset))


@pytest.mark.parametrize("wanted", [{"offset": -1}, {"attempt": 0}, {"tail": -1}, {"offset": 2**63}, {"tail": 2**31}])
def test_a_number_that_is_none_is_refused_by_name(wanted: LogOptions) -> None:
    """Before anything is looked at."""
    (name,) = wanted

    with pytest.raises(InvalidNameError, match=name):
        LogChoice.of(**wanted)


def test_only_an_ordinary_file_is_read(tmp_path: Path) -> None:
    """A link that was put in its place would lead elsewhere, and a pipe would be waited for."""
    (tmp_path / "other").write_text("secret\n")
    (tmp_path / "link").symlink_to("other")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()

    for name in ("link", "pipe", "folder"):
        with pytest.raises(NoLogError, match="its log cannot be read"):
            read_log(RUN, tmp_path / name, LogChoice())


@pytest.mark.parametrize("path", ["/etc/passwd", "/home/ann/.ssh/id_ed25519", "r.log/../other.log", "/tmp/other.log"])
def test_a_run_names_no_other_file_as_its_log(path: str) -> None:
    """What was imported could name any, and a server reads it for everybody who may look at runs."""
    state = WorkflowState(run_id="r", uid="u", environment={"log_file": path})

    with pytest.raises(NoLogError, match="is none of this run"):
        log_of(state, LogChoice())
    assert log_of(WorkflowState("r", "u", environment={"log_file": "/w/r.log"}), LogChoice()) == Path("/w/r.log")


def test_a_position_belongs_to_one_life_of_a_run() -> None:
    """A run that was started anew under the same id has another log."""
    state = WorkflowState(run_id="r", uid="u", environment={"log_file": "/logs/r.log"})

    assert log_of(state, LogChoice(offset=7, uid="u")) == Path("/logs/r.log")
    with pytest.raises(RunReplacedError):
        log_of(state, LogChoice(offset=7, uid="v"))
