"""What the steps of a run have printed: reading the log that lies beside its workspace.

    build.2 2026-11-22T02:15:00.000000Z| compiling …    a line of attempt 2 of the step `build`, and when it was written
    build.2| compiling …                                the same without, as earlier releases wrote it
    the log is full (10 MiB)…                           a line about the log itself; earlier releases wrote that

Whoever calls tasks writes it, by `line_start`; the run records where it is as `log_file` of its environment. It is not
part of the journal. Of one that was too long the middles of attempts are left out (log_compaction.py).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypedDict, Unpack

from flujo.kernel.durations import format_instant, from_datetime
from flujo.kernel.errors import InvalidNameError, NoLogError, RunReplacedError, StepNotFoundError
from flujo.kernel.journal.plans import loop_of
from flujo.kernel.journal.state import WorkflowState

from .log_compaction import LONGEST_HEADER, Header, Mark, header_in, mark_in

MAX_TEXT = 64 * 1024
"""Bytes of a line that are read; a longer one is cut."""

_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LogLine(NamedTuple):
    """A line of a log. `step` and `attempt` are those that printed it; None for a line about the log itself. `at` is
    when it was written, in microseconds UTC; None where that is not said."""

    step: str | None
    attempt: int | None
    text: str
    at: int | None = None


class LogPart(NamedTuple):
    """Lines of a log, and the position behind what was read: the `offset` to go on with, of the run `uid`."""

    lines: Sequence[LogLine]
    next_offset: int
    uid: str


class LogOptions(TypedDict, total=False):
    """Which part of a log is wanted."""

    offset: int
    """From this position on: 0, or `next_offset` of an earlier answer."""

    step: str | None
    """What this step has printed, or the items of this loop."""

    attempt: int | None
    """What was printed in this attempt, from 1."""

    tail: int | None
    """Only so many of the last lines."""

    uid: str | None
    """Of the run with this uid: one may have been deleted, and another started under its id."""


class LogChoice(NamedTuple):
    """A value of each of LogOptions."""

    offset: int = 0
    step: str | None = None
    attempt: int | None = None
    tail: int | None = None
    uid: str | None = None

    @classmethod
    def of(cls, **wanted: Unpack[LogOptions]) -> LogChoice:
        """Return what is wanted; raises InvalidNameError for a number that is none."""
        choice = cls(**wanted)
        for name, (least, most) in _BOUNDS.items():
            if (value := getattr(choice, name)) is not None and not least <= value <= most:
                raise InvalidNameError(name, str(value), f"a whole number from {least} to {most}")
        return choice

    def fits(self, line: LogLine) -> bool:
        """True for a line that is wanted; what is said about the log itself always is."""
        if line.step is None:
            return True
        is_of_step = self.step is None or line.step == self.step or loop_of(line.step) == self.step
        return is_of_step and self.attempt in (None, line.attempt)


_BOUNDS = {"offset": (0, 2**63 - 1), "attempt": (1, 2**31 - 1), "tail": (0, 2**31 - 1)}


def line_start(step: str, attempt: int, at: int | None = None) -> bytes:
    """Return how a line begins that an attempt has printed, at an instant in microseconds UTC."""
    return f"{step}.{attempt}{'' if at is None else f' {format_instant(at)}'}| ".encode()


def parse(line: bytes) -> LogLine:
    """Return what a line of a log says, without its newline. Bytes that are no UTF-8 are shown as what they are not."""
    prefix, mark, text = line.partition(b"| ")
    at = None
    if (stamp := _STAMP.search(prefix)) is not None and (at := _instant(stamp[1])) is not None:
        prefix = prefix[: stamp.start()]
    step, dot, attempt = prefix.rpartition(b".")
    if not mark or not dot or not attempt.isdigit():
        return LogLine(None, None, _shown(line))
    return LogLine(step.decode(errors="replace"), int(attempt), _shown(text), at)


_STAMP = re.compile(rb" (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)$", re.ASCII)


def _instant(stamp: bytes) -> int | None:
    """Return the instant that is written as format_instant does it; None for one that there is not."""
    try:
        return from_datetime(datetime.fromisoformat(stamp.decode()))
    except ValueError:
        return None


def _shown(text: bytes) -> str:
    shown = text[:MAX_TEXT].decode(errors="replace")
    if len(text) <= MAX_TEXT and len(shown.encode()) <= MAX_TEXT:
        return shown
    return shown.encode()[: MAX_TEXT - 3].decode(errors="ignore") + "…"


def log_of(state: WorkflowState, choice: LogChoice) -> Path:
    """Return where the log of a run is; raises NoLogError for a run that keeps none, StepNotFoundError,
    RunReplacedError."""
    if choice.uid is not None and choice.uid != state.uid:
        raise RunReplacedError(state.run_id)
    path = state.environment.get("log_file")
    if not isinstance(path, str):
        raise NoLogError(state.run_id, "only runs of YAML workflows keep one; a Python program logs where it likes")
    if Path(path).name != f"{state.run_id}.log":  # of a run that was imported: it could name any file of the server's
        raise NoLogError(state.run_id, f"what it names as its log, {path}, is none of this run")
    if choice.step is not None and choice.step not in state.steps:
        raise StepNotFoundError(state.run_id, choice.step, list(state.steps))
    return Path(path)


def read_log(state: WorkflowState, path: Path, choice: LogChoice) -> LogPart:
    """Return the lines of a run's log that are complete and wanted; none of a log that was not begun. Blocks.

    Raises NoLogError for a file that cannot be read or is no ordinary one, InvalidNameError for an offset at which no
    line begins."""
    lines: deque[LogLine] = deque(maxlen=choice.tail)
    position, run_id = choice.offset, state.run_id
    try:
        fd = os.open(path, _READING)
    except FileNotFoundError:
        if position:
            raise _no_position(position) from None
        return LogPart((), 0, state.uid)
    except OSError as error:
        raise NoLogError(run_id, f"its log cannot be read: {error}") from error
    try:
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "this is no ordinary file", str(path))
            for behind, line in _from(file, choice.offset):
                position = behind
                if line is not None and choice.fits(line):
                    lines.append(line)
    except OSError as error:
        raise NoLogError(run_id, f"its log cannot be read: {error}") from error
    return LogPart(tuple(lines), position, state.uid)


def _from(file: BinaryIO, offset: int) -> Iterator[tuple[int, LogLine | None]]:
    """Yield the lines of a log from a position on, each with the position behind it; None for what is none of a step's
    or before that position, as what was kept of a log is read from its beginning where something is missing."""
    header = header_in(file.read(LONGEST_HEADER)) or Header(0, 0, 0, 0)
    position = _sought(file, header, offset)
    if header.given_up and not offset:
        yield (
            position,
            LogLine(None, None, f"[... what {header.given_up} earlier attempts have printed is left out ...]"),
        )
    for line in _complete(file):
        if (mark := mark_in(line)) is not None and mark.position is not None:
            position = mark.position
            is_new = position > offset or not offset
        else:
            is_new = position >= offset
            position += len(line)
        yield position, (parse(line[:-1]) if mark is None else _as_line(mark)) if is_new else None


def _sought(file: BinaryIO, header: Header, offset: int) -> int:
    """Go to where reading begins, and return its position: `offset`, at which a line has to begin; or 0 if something
    is missing behind that."""
    if offset < header.position:
        file.seek(header.length)
        return 0
    byte = header.settled + offset - header.position
    file.seek(max(byte - 1, 0))
    if byte and file.read(1) != b"\n":
        raise _no_position(offset)
    return offset


def _as_line(mark: Mark) -> LogLine | None:
    """Return what a mark tells whoever reads a log."""
    if not mark.left_out:
        return None
    return LogLine(mark.step, mark.attempt, f"[... {mark.left_out} bytes left out ...]")


def _complete(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines up to one whose end was not written yet."""
    for line in lines:
        if not line.endswith(b"\n"):
            return
        yield line


def _no_position(offset: int) -> InvalidNameError:
    return InvalidNameError("offset", str(offset), "0, or the next_offset of an earlier answer")
