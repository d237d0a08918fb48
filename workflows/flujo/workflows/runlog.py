"""The log of a run: what its tasks print, one file beside the run's workspace.

Lines carry the step and attempt they come from and when, `build.2 2026-11-22T02:15:00.000000Z| compiling …`; the
kernel reads them. The file is bounded:
when it is full, one line says so and nothing more is written. It is not part of the journal, and a run does not fail
for want of a log.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from flujo.kernel.clock import Clock, SystemClock
from flujo.kernel.programs import line_start

from .redaction import NotingRedactor

logger = logging.getLogger("flujo.workflows")

MAX_BYTES = 10 * 1024 * 1024
MAX_LINE = 16 * 1024

_AT_ONCE = 2_000
"""Lines that are put together before they are written: the beginning of each may be longer than the line."""

_FULL = f"\nthe log is full ({MAX_BYTES // 1024 // 1024} MiB); nothing more is written\n".encode()

# No link and no pipe that another user has put in its place: a link would lead elsewhere, a pipe would block.
_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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
        self._is_torn = False  # a line of ours has no end, for which the disk had no room
        self._has_told = False

    def write(self, text: str) -> None:
        """Write whole lines."""
        self._append(text.encode("utf-8", "backslashreplace").splitlines())

    def receive(self, stream: str, chunk: bytes) -> None:
        """Write what a child process prints, as it comes; a line goes out when it is complete or very long."""
        *lines, rest = (self._rest.get(stream, b"") + chunk).split(b"\n")
        if len(rest) > MAX_LINE:
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
        if self.path is None or not lines:
            return
        if self._redactor is not None:
            lines = self._redactor.data(b"\n".join(lines)).split(b"\n")
        start = line_start(self._step, self._attempt, self._clock.now())
        try:
            for at in range(0, len(lines), _AT_ONCE):
                data = b"".join(start + line + b"\n" for line in lines[at : at + _AT_ONCE])
                self._write(self.path, b"\n" * self._is_torn + data)
        except OSError as error:  # no log is better than no run
            self._tell(error.strerror or str(error))

    def _write(self, path: Path, data: bytes) -> None:
        fd = _opened(path)
        try:
            found = os.fstat(fd)
            if (why := _why_not_ours(found)) is not None:
                self._tell(why)
                return
            room = MAX_BYTES - found.st_size
            if room > 0:
                part = data if len(data) < room else data[:room] + _FULL
                self._is_torn = os.write(fd, part) < len(part)
                if self._is_torn:
                    self._tell("there is no room on its disk")
        finally:
            os.close(fd)

    def _tell(self, why: str) -> None:
        if not self._has_told:
            self._has_told = True
            logger.warning("%s: what step %s prints is not all in the log: %s", self.path, self._step, why)


def _why_not_ours(found: os.stat_result) -> str | None:
    """Return what keeps a file from being written to; None for a plain file of this user's that has no other name, as a
    hard link planted here would have, and a file of which the folder was copied by hard links."""
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        return "it is no plain file of this user's"
    return "it has another name (a hard link); copy it, and put the copy in its place" if found.st_nlink > 1 else None


def _opened(path: Path) -> int:
    """Open a log for appending; its folder is made if it is not there, which every other time would cost a look."""
    try:
        return os.open(path, _APPENDING, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, _APPENDING, 0o600)
