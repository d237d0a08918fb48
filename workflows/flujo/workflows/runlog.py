"""The log of a run: what its tasks print, one file beside the run's workspace.

Lines carry the step and attempt they come from and when, `build.2 2026-11-22T02:15:00.000000Z| compiling …`; the
kernel reads them. The file is bounded: when it is full, the middles of the longest attempts are left out of it
(log_compaction.py of the kernel), and of an attempt that goes on printing after that only the end of each piece comes
in. So whatever was printed before, every attempt keeps a beginning and an end. A thread makes the shorter log, while
runs print on. The log is not part of the journal, and a run does not fail for want of one.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from functools import cache, partial
from math import inf
from pathlib import Path

from flujo.kernel.clock import Clock, SystemClock
from flujo.kernel.programs import LONGEST_HEADER, compact_log, header_in, left_out, line_start

from .redaction import NotingRedactor

logger = logging.getLogger("flujo.workflows")

MAX_BYTES = 10 * 1024 * 1024
MAX_LINE = 16 * 1024

_AT_ONCE = 2_000
"""Lines that are put together before they are written: the beginning of each may be longer than the line."""

NOISY = 1024 * 1024
"""An attempt that has filled a log and put in more than this is noisy: only the ends of what it prints come in."""

PIECE = 4 * 1024
"""What comes in at once of a noisy attempt. A process that prints little at a time is not cut by that."""

# No link and no pipe that another user has put in its place: a link would lead elsewhere, a pipe would block.
_APPENDING = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_one_writer = threading.Lock()
"""Held while a log is written to: another thread would write to one that is being replaced."""

_shortenings: dict[Path, Future[bool]] = {}
"""The logs that are being made shorter."""


class StepLog:
    """The part of one attempt in the log of its run, without what a redactor takes out. `path` None writes nothing."""

    def __init__(
        self,
        path: Path | None,
        step: str,
        attempt: int,
        redactor: NotingRedactor | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.path = path
        self._redactor = redactor
        self._step, self._attempt = step, attempt
        self._clock = clock or SystemClock()
        self._rest: dict[str, bytes] = {}
        self._is_torn: bool | None = None  # the last line has no end: a process was killed, or the disk was full
        self._has_told = False
        self._written = 0
        self._is_noisy = False
        self._left_out = 0
        self._shortening: Future[bool] | None = None
        self._is_closed = False  # there is no room, and none can be made

    def write(self, text: str) -> None:
        """Write whole lines."""
        self._append(text.encode("utf-8", "backslashreplace").splitlines())

    def receive(self, stream: str, chunk: bytes) -> None:
        """Write what a child process prints, as it comes; a line goes out when it is complete or very long."""
        if self._is_noisy and self._redactor is None and len(chunk) > PIECE:  # no look at each line, as _append has
            at = chunk.find(b"\n", len(chunk) - PIECE) + 1 or len(chunk) - PIECE
            self._left_out += len(self._rest.pop(stream, b"")) + at
            chunk = chunk[at:]
        *lines, rest = (self._rest.get(stream, b"") + chunk).split(b"\n")
        if len(rest) > MAX_LINE or (self._is_noisy and len(rest) >= PIECE):
            kept = b""
            if self._redactor is not None:  # a secret may have begun, and end in the next chunk
                rest = self._redactor.data(rest)
                at = max(len(rest) - self._redactor.longest, 0)
                rest, kept = rest[:at], rest[at:]
            lines.append(rest)
            rest = kept
        self._rest[stream] = rest
        self._append(lines)

    def close(self) -> None:
        """Write what came last without the end of its line."""
        self._append([rest for rest in self._rest.values() if rest])
        self._rest.clear()

    def _append(self, lines: list[bytes]) -> None:
        if self.path is None or not lines or self._is_closed:
            return
        if self._redactor is not None:
            lines = self._redactor.data(b"\n".join(lines)).split(b"\n")
        start = line_start(self._step, self._attempt, self._clock.now())
        most = PIECE if self._is_noisy else MAX_BYTES // 2
        head, cut, tail = ends_of(lines, most, of_head=0 if self._is_noisy else most // 2, more=len(start) + 1)
        if self._is_noisy:
            head, cut, tail = (), cut + self._left_out, tail or head
            self._left_out = 0
        gap = left_out(cut, f"{self._step}.{self._attempt}".encode()) if cut else b""
        try:
            self._write_lines(self.path, start, head)
            self._write_lines(self.path, start, tail, gap)
        except OSError as error:  # no log is better than no run
            self._tell(error.strerror or str(error))

    def _write_lines(self, path: Path, start: bytes, lines: Sequence[bytes], before: bytes = b"") -> None:
        for at in range(0, len(lines), _AT_ONCE):
            data = b"".join(start + line + b"\n" for line in lines[at : at + _AT_ONCE])
            self._write(path, before + data)
            before = b""

    def _write(self, path: Path, data: bytes) -> None:
        if (shortening := self._write_or_not(path, data, most_times=2)) is not None:
            wait([shortening])  # what is printed comes faster than a shorter log is made
            self._write_or_not(path, data)

    def _write_or_not(self, path: Path, data: bytes, *, most_times: float = inf) -> Future[bool] | None:
        """Write, and have the log made shorter if it is too long; if it is so many times too long, return only what
        makes it shorter."""
        with _one_writer:
            fd = _opened(path, os.O_CREAT)
            try:
                found = os.fstat(fd)
                if (why := _why_not_ours(found)) is not None:
                    self._tell(why)
                    return None
                size = found.st_size + len(data)
                if size > MAX_BYTES and size > (most := _most_bytes(fd)):
                    shortening = self._shorten(path)
                    if size > most_times * most:
                        return shortening
                self._put(fd, data)
                if not os.fstat(fd).st_nlink:  # another process has put a shorter one in its place meanwhile
                    os.close(fd)
                    fd = _opened(path)
                    self._put(fd, data)
            finally:
                os.close(fd)
        return None

    def _shorten(self, path: Path) -> Future[bool]:
        """Return what makes the log shorter, begun unless it is under way; raises OSError if that has failed."""
        if self._shortening is not None and self._shortening.done() and (error := self._shortening.exception()):
            self._is_closed = True  # not to try it again with every line
            raise error
        self._is_noisy = self._is_noisy or self._written > NOISY
        self._shortening = _shorten(path)
        return self._shortening

    def _put(self, fd: int, data: bytes) -> None:
        if self._is_torn is None:
            size = os.fstat(fd).st_size
            self._is_torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        data = b"\n" * self._is_torn + data
        self._is_torn = os.write(fd, data) < len(data)
        self._written += len(data)
        if self._is_torn:
            self._tell("there is no room on its disk")

    def _tell(self, why: str) -> None:
        if not self._has_told:
            self._has_told = True
            logger.warning("%s: what step %s prints is not all in the log: %s", self.path, self._step, why)


def _most_bytes(fd: int) -> int:
    """Return how long a log may be; one of more attempts than have room grows with them."""
    header = header_in(os.pread(fd, LONGEST_HEADER, 0))
    return MAX_BYTES if header is None else max(MAX_BYTES, 2 * header.settled)


def _shorten(path: Path) -> Future[bool]:
    """Begin to make a log shorter, unless that is under way. With `_one_writer`."""
    found = _shortenings.get(path)
    if found is None or found.done():
        found = _shortenings[path] = _shortener().submit(compact_log, path, MAX_BYTES // 2, _one_writer)
        found.add_done_callback(partial(_forget, path))
    return found


def _forget(path: Path, shortening: Future[bool]) -> None:
    if _shortenings.get(path) is shortening:
        del _shortenings[path]


@cache
def _shortener() -> Executor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="flujo-logs")


def _why_not_ours(found: os.stat_result) -> str | None:
    """Return what keeps a file from being written to; None for a plain file of this user's that has no other name, as a
    hard link planted here would have, and a file of which the folder was copied by hard links."""
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        return "it is no plain file of this user's"
    return "it has another name (a hard link); copy it, and put the copy in its place" if found.st_nlink > 1 else None


def _opened(path: Path, making: int = 0) -> int:
    """Open a log for appending; its folder is made if it is not there, which every other time would cost a look."""
    try:
        return os.open(path, _APPENDING | making, 0o600)
    except FileNotFoundError:
        if not making:
            raise
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, _APPENDING | making, 0o600)


def ends_of(
    lines: Sequence[bytes], most: int, *, of_head: int, more: int
) -> tuple[Sequence[bytes], int, Sequence[bytes]]:
    """Return the first and the last of some lines, and how many bytes are left out between them, so that they take
    about `most` bytes, of which the first ones take `of_head`. Each line takes `more` bytes than it has."""
    size = sum(map(len, lines)) + len(lines)
    if size + len(lines) * (more - 1) <= most:
        return lines, 0, ()
    head = lines[: _count(lines, of_head, more)]
    tail = list(lines[-max(_count(reversed(lines), most - of_head, more), 1) :])
    if (over := len(tail[0]) + more - (most - of_head)) > 0:
        tail[0] = tail[0][over:]
    return head, size - sum(map(len, head)) - len(head) - sum(map(len, tail)) - len(tail), tail


def _count(lines: Iterable[bytes], most: int, more: int) -> int:
    """Return how many of some lines fit into so many bytes; not all of them do."""
    for count, line in enumerate(lines):
        most -= len(line) + more
        if most < 0:
            return count
    raise AssertionError("all of the lines fit")
