"""Make room in the log of a run: each attempt keeps the beginning and the end of what it has printed.

A log only grows at its end. When it is full, a shorter one takes its place, in which the middles of the longest
attempts are left out; how much every attempt keeps is a share of the room, smaller the more attempts there are. Lines
never change their order or their *position*: how many bytes came before them if nothing had been left out. So whoever
follows a log goes on where he was. Marks, which no line of a step can look like, tell what is missing:

    ~~ 000005242893 0000000000010485760 000000000000: …    the first line: a byte of the file, its position (nothing is
                                                    missing behind it), and how many attempts were given up
    ~731 48231 bytes of build.2 are left out here   the next line is at position 731; so much of an attempt is missing
    ~ 48231 bytes of build.2 are left out here      the same, where the writer has left it out and no position jumps

The new log is made beside the old one and put in its place at once: a crash leaves the one or the other whole.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

LEAST = 1024
"""Bytes that each attempt keeps, however many there are."""

MOST_ATTEMPTS = 50_000
"""So many attempts keep something; the earliest of more are given up. It bounds a log whose run never ends."""

_HEADER = re.compile(rb"~~ (\d{12}) (\d{19}) (\d{12}): [^\n]*\n")
_MARK = re.compile(rb"~(\d*)(?: (\d+) bytes of ([^\n]*)\.(\d+) are left out here)?\n")
_LINE = re.compile(rb"([^\n]*?\.\d+)(?: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)?\| [^\n]*\n")

_LONGEST_STRIDE = 1024 * 1024
"""Bytes of lines that are looked at at once."""

_CUT = "…".encode()

_NOBODY_WRITES: AbstractContextManager[object] = nullcontext()

LONGEST_HEADER = 200
"""Bytes in which the first line of a log is found, if it is a header."""


class Header(NamedTuple):
    """The first line of a log that was made shorter: its byte `settled` is at `position`, and `given_up` attempts have
    nothing left in it."""

    settled: int
    position: int
    given_up: int
    length: int


class Mark(NamedTuple):
    """A line that tells what is missing: where the next line is, if that jumps, and how much of which attempt."""

    position: int | None
    left_out: int
    step: str
    attempt: int


def header_in(beginning: bytes | mmap.mmap) -> Header | None:
    """Return the header that a log begins with; None for one that was never made shorter."""
    found = _HEADER.match(beginning)
    return None if found is None else Header(int(found[1]), int(found[2]), int(found[3]), found.end())


def mark_in(line: bytes) -> Mark | None:
    """Return what a mark says; None for any other line. With its newline."""
    found = _MARK.fullmatch(line) if line.startswith(b"~") else None
    if found is None:
        return None
    position = int(found[1]) if found[1] else None
    if found[2] is None:
        return Mark(position, 0, "", 0)
    return Mark(position, int(found[2]), found[3].decode(errors="replace"), int(found[4]))


def left_out(count: int, key: bytes, position: int | None = None) -> bytes:
    """Return the mark for bytes that are missing of an attempt, whose lines begin with `key`."""
    what = b" %d bytes of %b are left out here" % (count, key) if count else b""
    return b"~%b%b\n" % (b"" if position is None else b"%d" % position, what)


def share_of_each(sizes: Iterable[int], room: int) -> int:
    """Return how many bytes each attempt may keep, so that all of them take the room; what short ones do not need goes
    to the others. It is LEAST at least."""
    ascending = sorted(sizes)
    for place, size in enumerate(ascending):
        share = room // (len(ascending) - place)
        if size > share:
            return max(share, LEAST)
        room -= size
    return max([LEAST, *ascending[-1:]])


def compact_log(path: Path, room: int, replacing: AbstractContextManager[object] = _NOBODY_WRITES) -> bool:
    """Make a log shorter, so that it takes about `room` bytes, or LEAST for each attempt; return whether it was.
    Blocks, for a second if many attempts have printed by turns; it enters `replacing` only while it puts the new log in
    the place of the old one, to which others may write before. Raises OSError; the log is then as it was. It does
    nothing if another process is at it."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as old:
        found = os.fstat(old.fileno())
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            return False
        try:
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        new = path.with_name(compacted_name(path.name))
        new.unlink(missing_ok=True)  # of a process that has died over it
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb") as to:
            try:
                with mmap.mmap(old.fileno(), found.st_size, access=mmap.ACCESS_READ) as data:
                    _write_shorter(data, room, to)
                with replacing:
                    return _replace(path, old, found.st_size, new, to)
            except BaseException:
                new.unlink(missing_ok=True)
                raise


def _replace(path: Path, old: BinaryIO, size: int, new: Path, to: BinaryIO) -> bool:
    """Put a shorter log in the place of one of which it has the first `size` bytes, unless that was deleted."""
    if not os.fstat(old.fileno()).st_nlink:  # with its run
        new.unlink(missing_ok=True)
        return False
    new.replace(path)
    old.seek(size)
    to.seek(0, os.SEEK_END)
    to.write(old.read())  # what somebody has written in between, who had opened the old one
    to.flush()
    return True


def compacted_name(name: str) -> str:
    """Return the name of a log in the making: that of no run, whose id begins with a letter or a digit."""
    return f".{name}.new"


def _write_shorter(data: mmap.mmap, room: int, to: BinaryIO) -> None:
    end = data.rfind(b"\n") + 1
    sizes: dict[bytes, int] = {}
    position = 0
    for piece in _pieces(data, end):
        sizes[piece.key] = sizes.pop(piece.key, 0) + piece.end - piece.start  # the last one that printed is last
        position = piece.position + piece.end - piece.start
    before = header_in(data)
    given_up = set([key for key in sizes if key][:-MOST_ATTEMPTS])
    kept = {key: size for key, size in sizes.items() if key not in given_up}
    count = len(given_up) + (before.given_up if before is not None else 0)
    to.write(_header(0, 0, count))
    for part in _kept(data, end, kept, share_of_each(kept.values(), room)):
        to.write(part)
    to.write(left_out(0, b"", position))
    settled = to.tell()
    to.write(data[end:])  # a line that has no end yet
    to.seek(0)
    to.write(_header(settled, position, count))
    to.flush()


def _header(settled: int, position: int, given_up: int) -> bytes:
    return b"~~ %012d %019d %012d: each attempt keeps the beginning and the end\n" % (settled, position, given_up)


class _Piece(NamedTuple):
    """Lines of one attempt that follow each other, the place of the first one, and how much is missing before it."""

    key: bytes
    start: int
    end: int
    position: int
    left_out: int = 0


def _pieces(data: mmap.mmap, end: int) -> Iterator[_Piece]:
    """Yield all that a log has up to its last whole line. Lines of nobody have the key b""."""
    header = header_in(data)
    start = 0 if header is None else header.length
    position = 0
    while start < end:
        if (mark := _MARK.match(data, start, end)) is not None:
            position = int(mark[1]) if mark[1] else position + mark.end() - start
            start = mark.end()
            key, missing = (b"%b.%b" % (mark[3], mark[4]), int(mark[2])) if mark[2] is not None else (b"", 0)
            yield _Piece(key, start, start, position, missing)
            continue
        line = _LINE.match(data, start, end)
        stop = data.find(b"\n", start, end) + 1 if line is None else _last_of(data, line[1], line.end(), end)
        yield _Piece(b"" if line is None else line[1], start, stop, position)
        position += stop - start
        start = stop


def _last_of(data: mmap.mmap, key: bytes, start: int, end: int) -> int:
    """Return where the lines of one attempt end that follow each other from a place on. In strides, longer and longer
    ones, whose lines are counted and not looked at: most logs are of few attempts, and an event loop waits for this."""
    begun, stride = b"\n" + key, 1
    while start < end:
        stop = data.rfind(b"\n", start, min(start + stride, end)) + 1 or data.find(b"\n", start, end) + 1
        lines = data[start - 1 : stop - 1]
        count = lines.count(b"\n")
        if count == lines.count(begun + b" ") + lines.count(begun + b"| "):
            start, stride = stop, min(2 * (stop - start), _LONGEST_STRIDE)
        elif count == 1:
            break
        else:
            stride = (stop - start) // 2
    return start


def _kept(data: mmap.mmap, end: int, sizes: Mapping[bytes, int], share: int) -> Iterator[bytes]:
    """Yield what a shorter log has of the attempts in `sizes`, each of which keeps `share` bytes, and the marks."""
    seen = dict.fromkeys(sizes, 0)
    missing = dict.fromkeys(sizes, 0)
    expected: int | None = 0
    for piece in _pieces(data, end):
        if (key := piece.key) not in sizes:
            continue
        missing[key] += piece.left_out
        at, before = piece.start, seen[key]
        seen[key] = before + piece.end - at
        for part in _chosen(data, piece, before, sizes[key], share):
            position = piece.position + part.start - piece.start
            missing[key] += part.start - at
            if missing[key] or position != expected:
                yield left_out(missing[key], key, position)
                missing[key] = 0
            yield part.text(data)
            at = part.end
            expected = None if part.tail else position + part.end - part.start
        missing[key] += piece.end - at
    for key, count in missing.items():
        if count and key:
            yield left_out(count, key, 0)


class _Part(NamedTuple):
    """Bytes of a log that are kept; of a line that is cut, the beginning `head` and the bytes behind `tail`."""

    start: int
    end: int
    head: int = 0
    tail: int = 0

    def text(self, data: mmap.mmap) -> bytes:
        """Return what is written; no half of a character stands at a cut."""
        if not self.tail:
            return data[self.start : self.end]
        head = data[self.start : self.head].decode(errors="ignore").encode()
        tail = data[self.tail : self.end].decode(errors="ignore").encode()
        return head + _CUT + tail.removesuffix(b"\n") + b"\n"


def _chosen(data: mmap.mmap, piece: _Piece, before: int, size: int, share: int) -> list[_Part]:
    """Return which parts of a piece are kept. `before` bytes of its attempt come before it, of `size` in all."""
    start, end, half = piece.start, piece.end, share // 2
    after = size - before - (end - start)
    if start == end or (size > share and before >= half and after >= half):
        return []
    if size <= share or before + end - start <= half or (before >= half and after + end - start <= half):
        return [_Part(start, end)]
    parts = []
    if (room := half - before) > 0:
        stop = min(start + room, end)
        stop = data.rfind(b"\n", start, stop) + 1
        if stop > start:
            parts.append(_Part(start, stop))
        elif not before:  # a first line that is longer than all that may be kept
            stop = data.find(b"\n", start, end) + 1
            parts.append(_Part(start, stop, start + half, max(stop - half, start + half)))
    begin = max(start + size - half - before, parts[-1].end if parts else start)
    if begin > start and begin < end:
        begin = data.find(b"\n", begin - 1, end) + 1
    if begin < end:
        parts.append(_Part(begin, end))
    elif not after and not (parts and parts[-1].end == end):
        line = max(data.rfind(b"\n", start, end - 1) + 1, start)
        text = max(data.find(b"| ", line, end) + 2, line)
        parts.append(_Part(line, end, text, max(end - half, text)))
    return parts
