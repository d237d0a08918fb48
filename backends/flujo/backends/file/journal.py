"""Records: how a journal is written down, and what the bytes of one are worth. Pure; `store` does the reading.

    00000192 8c1f0d3a5b7e9f10 {"events":[[1,1764016250000000,"run_created",1,"{…}","{…}"]],"summary":{…}}

One record is one line is one commit: length of the JSON in bytes (8 hexadecimal digits), checksum (16), JSON, newline.
JSON holds no newline, so a newline ends a record and nothing else. The checksum is BLAKE2b-64 of the length and the
JSON, keyed with the checksum before it: a record fits only the one it followed, so one that was taken out, moved or
brought from elsewhere is found like a flipped bit.

What may stand at the end of a journal, and what it means
---------------------------------------------------------

A record is synced before anybody hears of it and before the next one is written. So every record but the last one is
known to have been acknowledged, and damage there is damage. The last one may be an append that a crash cut short. It
must be ignored then, and must not be ignored if it was acknowledged. Three things tell:

1. Its form. A crash leaves a prefix of a record, and a power cut perhaps zeros for pages that were not written yet.
   Neither has the newline at the end. So the rest of a journal is TORN if it is the beginning of a record and then
   nothing, or zeros up to the end of the file. Everything else is DAMAGED: a whole line whose checksum, length or
   newline is wrong, anything that is followed by something else. No single changed byte of a whole record makes it look
   torn (tests/backends/test_file_journal.py tries all of them).

2. How far the journal was acknowledged. The index and, of a settled run, `state.json` say how long the journal was when
   a commit had been synced. A journal whose sound part is shorter than that is DAMAGED, however harmless its end looks.
   Both notes are written after the sync and are not synced themselves: there may be none, but there is never a wrong
   one. With `durability=normal` nothing is synced; the notes say so, and prove nothing.

3. If neither tells, it is damage. A file system may write the last page of a record and lose an earlier one, which
   leaves a whole line with a wrong checksum that nobody was told of. Its run is then reported, with every byte kept,
   for a person to decide: better to ask about a record that was never acknowledged than to drop one that was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple

from flujo.kernel.backend import EventRow, RunSummary

NOTHING_BEFORE = b""
"""What stands for the checksum before the first one."""

_HEADER = re.compile(rb"([0-9a-f]{8}) ([0-9a-f]{16}) ")
_HEADER_SIZE = 26
_PREFIX_OF_HEADER = re.compile(rb"[0-9a-f]{0,8}|[0-9a-f]{8} [0-9a-f]{0,16}")


class Line(NamedTuple):
    """A sound record: where it ends, its checksum, and its JSON."""

    end: int
    checksum: bytes
    content: bytes


class Rest(StrEnum):
    """What follows the last sound record."""

    NOTHING = "nothing"

    TORN = "torn"
    """An append that was cut short: as good as not written. Whoever appends next cuts it off."""

    DAMAGED = "damaged"
    """Something that was whole once, or was never ours. Nobody cuts it."""


class Scan(NamedTuple):
    """What some bytes of a journal hold."""

    lines: list[Line]
    end: int  # of the sound part
    checksum: bytes  # of its last record
    rest: Rest
    problem: str  # what is wrong with the rest, for people


class Reference(NamedTuple):
    """What stands in a record for a payload that is a file of its own (`blobs`)."""

    digest: str
    size: int  # bytes


class Content(NamedTuple):
    """A record as values: one commit, or a change of owner, which has no events. The payloads of the events in
    `references` are not in `rows`."""

    rows: list[EventRow]
    summary: RunSummary
    taken: list[int]
    references: dict[int, Reference]
    position: int = 0
    """Of its last event among those of all runs, or of the last one before it."""


def encode(content: bytes, before: bytes) -> tuple[bytes, bytes]:
    """(line, checksum) of a record that follows one with the checksum `before`."""
    length = b"%08x" % len(content)
    checksum = _checksum(length, content, before)
    return b"%b %b %b\n" % (length, checksum.hex().encode(), content), checksum


def scan(data: bytes, offset: int = 0, before: bytes = NOTHING_BEFORE) -> Scan:
    """Read the records in `data`, which stands at `offset` in its file and follows a record with the checksum `before`.

    The rest is judged as the end of the file.
    """
    lines: list[Line] = []
    position, checksum = 0, before
    while (line := _line_at(data, position, checksum)) is not None:
        position, checksum = line.end, line.checksum
        lines.append(line._replace(end=offset + line.end))
    rest, problem = _judge(data[position:], checksum)
    return Scan(lines, offset + position, checksum, rest, problem)


def _line_at(data: bytes, position: int, before: bytes) -> Line | None:
    header = _HEADER.match(data, position)
    if header is None:
        return None
    start = header.end()
    end = start + int(header[1], 16)
    if data[end : end + 1] != b"\n":
        return None
    content = data[start:end]
    checksum = _checksum(header[1], content, before)
    return Line(end + 1, checksum, content) if checksum.hex().encode() == header[2] else None


def _judge(rest: bytes, before: bytes) -> tuple[Rest, str]:
    if not rest:
        return Rest.NOTHING, ""
    if b"\n" in rest:
        return Rest.DAMAGED, "a record does not match its checksum"
    written = rest.rstrip(b"\0")
    if b"\0" in written:
        return Rest.DAMAGED, "zeros stand within a record"
    header = _HEADER.match(written)
    if header is None:
        is_prefix = _PREFIX_OF_HEADER.fullmatch(written) is not None
        return (Rest.TORN, "") if is_prefix else (Rest.DAMAGED, "what stands there is no record")
    end = _HEADER_SIZE + int(header[1], 16)
    if len(written) > end:
        return Rest.DAMAGED, "a record is longer than it says"
    if len(rest) > end and _checksum(header[1], rest[_HEADER_SIZE:end], before).hex().encode() == header[2]:
        return Rest.DAMAGED, "a record does not end with a newline"
    return Rest.TORN, ""


def _checksum(length: bytes, content: bytes, before: bytes) -> bytes:
    digest = blake2b(length, digest_size=8, key=before)
    digest.update(content)
    return digest.digest()


def is_one_record(found: Scan) -> bool:
    """True if a file that holds a single record is whole."""
    return len(found.lines) == 1 and found.rest is Rest.NOTHING


# -- what a record says ---------------------------------------------------------------------------------------------


def to_json(
    rows: Sequence[EventRow],
    summary: RunSummary,
    taken: Sequence[int],
    references: Mapping[int, Reference] | None = None,
    position: int = 0,
) -> bytes:
    """Return the JSON of a record, with references for these payloads. Nulls of the summary are left out."""
    content: dict[str, Any] = {
        "events": [_to_event(row, (references or {}).get(row.seq)) for row in rows],
        "summary": {name: value for name, value in zip(RunSummary._fields, summary, strict=True) if value is not None},
    }
    if taken:
        content["taken"] = list(taken)
    if position:
        content["position"] = position
    return to_text(content)


def _to_event(row: EventRow, reference: Reference | None) -> Sequence[Any]:
    return row if reference is None else (*row[:-1], {"blob": reference.digest, "bytes": reference.size})


def from_json(content: bytes) -> Content:
    """Return the values of a sound record; raises ValueError for what this release cannot have written."""
    try:
        found = json.loads(content)
        rows: list[EventRow] = []
        references: dict[int, Reference] = {}
        for fields in found["events"]:
            row = EventRow(*fields)
            if isinstance(fields[-1], dict):
                references[row.seq] = Reference(fields[-1]["blob"], fields[-1]["bytes"])
                row = row._replace(payload=None)
            rows.append(row)
        return Content(rows, to_summary(found["summary"]), found.get("taken", []), references, found.get("position", 0))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"a record has another form: {error!r}") from error


def to_summary(found: dict[str, Any]) -> RunSummary:
    """Return a summary from its JSON; names that are missing are None."""
    return RunSummary._make(map(found.get, RunSummary._fields))


def to_text(value: Any) -> bytes:
    """Compact JSON in UTF-8, on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
