"""Reading a run's folder: how the run stands, and the events of its journal, from anywhere in it.

`survey` is for whoever holds the store lock: it reads what follows the part that is known, or everything, and says what
the end of the journal is worth. `EventReader` needs no lock, as it reads within the acknowledged part only.
"""

from __future__ import annotations

import json
import os
import stat
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from flujo.kernel.backend import Change, EventRow, RunSummary

from .blobs import BLOBS, name_of, names_in, read_blob
from .disk import NO_FILE, content_of, opened, read_at
from .index import Damage, Entry, Removed
from .journal import NOTHING_BEFORE, Content, Line, Reference, Rest, Scan, from_json, scan
from .layout import safe_name

JOURNAL = "journal"
STATE = "state.json"
DAMAGED = "damaged.json"
INBOX = "inbox"

_CHUNK = 1 << 18
_REMEMBERED_RUNS = 256


def length_of(run: Path) -> int | None:
    """Return how long the journal in a run's folder is now; None if there is none."""
    try:
        return os.lstat(run / JOURNAL).st_size
    except FileNotFoundError:
        return None


# -- how a run stands -----------------------------------------------------------------------------------------------


def survey(run: Path, known: Entry | None, *, whole: bool = False) -> Entry | Removed:
    """Return how the run in the folder `run` stands. `known` is how it stood when somebody last looked; with `whole`
    nothing of the journal is believed to be as it was then, and all that records say and refer to is looked at too.

    What is damaged keeps its last sound summary. A journal without a single record, of which nobody knows anything
    better, is what is left of a creation that a power cut took back: then there is no such run.
    """
    try:
        if not stat.S_ISDIR(os.lstat(run).st_mode):
            return Removed(run.name) if known is None else _damaged(run, known, Damage(0, "its folder is none"))
    except FileNotFoundError:
        return Removed(run.name)
    try:
        with opened(run / JOURNAL) as file:
            found = os.fstat(file)
            news = None if whole else _scan_news(file, found.st_size, known)
            lines = news or scan(read_at(file, found.st_size, 0))
            damage = together(run, lines.lines).damage if whole else None
            return _judge(run, lines, found.st_mtime_ns, known, damage)
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return _damaged(run, known, Damage(0, f"it cannot be read: {error.strerror}"))


def _judge(
    run: Path, found: Scan, changed_at: int, known: Entry | None, damage: Damage | None = None
) -> Entry | Removed:
    summary: RunSummary | None = None
    position = 0
    if found.rest is Rest.DAMAGED and damage is None:
        damage = Damage(found.end, found.problem)
    if found.lines:
        try:
            content = from_json(found.lines[-1].content)
            last, position = content.summary, content.position
        except ValueError as error:
            damage = Damage(_start_of(found.lines[-1]), str(error))
        else:
            if safe_name(last.run_id) == run.name:
                summary = last
            else:
                damage = Damage(0, f"it belongs to the run {last.run_id!r}")
    uid = summary.uid if summary else known.summary.uid if known else None
    acknowledged = max(_acknowledged(known, uid), _acknowledged_in_state(run, uid))
    if damage is None and found.end < acknowledged:
        damage = Damage(found.end, f"{acknowledged} bytes were acknowledged, and no more than these are there")
    damage = _marked(run) or damage
    if damage is not None:
        return _damaged(run, known, damage, summary, found, changed_at)
    if summary is None:
        return Removed(run.name)
    return Entry(run.name, found.end, found.checksum, changed_at, False, summary, position=position)


class Records(NamedTuple):
    """What sound records say together: what does not fit, the last summary, and the payloads they refer to."""

    damage: Damage | None
    summary: RunSummary | None
    used: Collection[str]


def together(run: Path, lines: Sequence[Line]) -> Records:
    """Look at everything that records say and refer to: events follow one another, summaries count them, payloads are
    as they were recorded."""
    seq = 0
    summary: RunSummary | None = None
    used: set[str] = set()
    for line in lines:
        try:
            content = from_json(line.content)
        except ValueError as error:
            return Records(Damage(_start_of(line), str(error)), summary, used)
        problem = _gap(content, seq)
        seq, summary = content.summary.seq, content.summary
        for number, reference in content.references.items():
            name = name_of(number, reference)
            used.add(name)
            if problem is None and read_blob(run, number, reference) is None:
                problem = f"the payload of event {number}, {BLOBS}/{name}, is not as it was recorded"
        if problem is not None:
            return Records(Damage(_start_of(line), problem), summary, used)
    return Records(None, summary, used)


def _gap(content: Content, seq: int) -> str | None:
    numbers = [row.seq for row in content.rows]
    if numbers != list(range(seq + 1, seq + 1 + len(numbers))):
        return f"its events do not follow event {seq}"
    if content.summary.seq != seq + len(numbers):
        return f"its summary counts {content.summary.seq} events, and there are {seq + len(numbers)}"
    return None


def is_as_known(run: Path, entry: Entry) -> tuple[bool, Collection[str]]:
    """Return whether every byte of a run is what it was when it was acknowledged, and the payloads that belong to no
    event."""
    try:
        with opened(run / JOURNAL) as file:
            found = scan(read_at(file, entry.length, 0))
    except FileNotFoundError:
        return False, ()
    if (found.end, found.checksum) != (entry.length, entry.checksum):
        return False, ()
    records = together(run, found.lines)
    recorded = {name for name, (seq, _) in names_in(run).items() if seq <= entry.summary.seq}
    return records.damage is None and records.summary == entry.summary, recorded.difference(records.used)


def _scan_news(file: int, size: int, known: Entry | None) -> Scan | None:
    """Return the records after the known part, if there are some that fit it."""
    if known is None or known.damage is not None or size <= known.length:
        return None
    found = scan(read_at(file, size - known.length, known.length), known.length, known.checksum)
    return found if found.lines and found.rest is not Rest.DAMAGED else None


def _start_of(line: Line) -> int:
    return line.end - len(line.content) - 27


def _acknowledged(known: Entry | None, uid: str | None) -> int:
    return known.length if known is not None and known.durable and known.summary.uid == uid else 0


def _acknowledged_in_state(run: Path, uid: str | None) -> int:
    state = _read_json(run / STATE)
    journal = state.get("journal")
    if not isinstance(journal, dict) or not journal.get("durable") or uid not in (None, state.get("uid")):
        return 0
    length = journal.get("length")
    return length if isinstance(length, int) else 0


def _marked(run: Path) -> Damage | None:
    """Return what somebody has found out earlier. It stands until the mark is removed by hand."""
    if not (run / DAMAGED).exists():
        return None
    mark = _read_json(run / DAMAGED)
    offset = mark.get("offset")
    return Damage(offset if isinstance(offset, int) else 0, str(mark.get("problem", f"{DAMAGED} says so")))


def _read_json(path: Path) -> dict[str, Any]:
    """Return an object from a file for people, empty if there is none or none that can be read."""
    try:
        found = json.loads(content_of(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _damaged(
    run: Path,
    known: Entry | None,
    damage: Damage,
    summary: RunSummary | None = None,
    found: Scan | None = None,
    changed_at: int = 0,
) -> Entry:
    if known is not None and (summary is None or (known.summary.uid, known.summary.seq) >= (summary.uid, summary.seq)):
        summary = known.summary
    if summary is None:
        summary = _unknown(run)
    if found is None:
        return Entry(run.name, 0, NOTHING_BEFORE, changed_at, False, summary, damage)
    return Entry(run.name, found.end, found.checksum, changed_at, False, summary, damage)


def _unknown(run: Path) -> RunSummary:
    """Return what can be said of a run of which no record is sound: that its folder is there."""
    nothing: dict[str, Any] = dict.fromkeys(RunSummary._fields)
    created_at = os.lstat(run).st_mtime_ns // 1_000
    numbers = dict.fromkeys(("seq", "token", "steps_done", "retries", "resume_count"), 0)
    return RunSummary(
        **nothing
        | numbers
        | {"run_id": run.name, "uid": f"damaged-{run.name}", "workflow": "unknown", "status": "failed", "labels": "{}"}
        | {"created_at": created_at, "updated_at": created_at}
    )


# -- the events of a run --------------------------------------------------------------------------------------------


class UnsoundError(Exception):
    """The acknowledged part of a journal cannot be read; perhaps because it has just been deleted."""


class KnownOffset(NamedTuple):
    """The events after `seq`, and after `position` among those of all runs, begin at `offset`, after a record with this
    checksum."""

    seq: int
    offset: int
    checksum: bytes
    position: int = 0


class EventReader:
    """Reads journals, and remembers where the records are, so that no page of a long one costs more than the first."""

    def __init__(self) -> None:
        self._known_offsets: OrderedDict[str, list[KnownOffset]] = OrderedDict()  # by uid, the one used last at the end

    def read(self, run: Path, entry: Entry, after_seq: int, limit: int) -> list[EventRow]:
        """Return up to `limit` events after `after_seq`; raises UnsoundError."""
        known_offsets = self._known_offsets_of(entry)
        at = bisect_right(known_offsets, after_seq, key=attrgetter("seq")) - 1
        rows: list[EventRow] = []
        references: dict[int, Reference] = {}
        try:
            with opened(run / JOURNAL) as file:
                for seq, record in _records(file, entry, known_offsets, at):
                    rows += record.rows[max(0, after_seq - seq) :]
                    references |= record.references
                    if len(rows) >= limit:
                        break
        except FileNotFoundError as error:
            raise UnsoundError from error
        return [_whole(run, row, references.get(row.seq)) for row in rows[:limit]]

    def changes(self, run: Path, entry: Entry, after: int, limit: int) -> list[Change]:
        """Return up to `limit` events after a position among those of all runs; raises UnsoundError."""
        known_offsets = self._known_offsets_of(entry)
        at = bisect_right(known_offsets, after, key=attrgetter("position")) - 1
        found: list[Change] = []
        try:
            with opened(run / JOURNAL) as file:
                for _, record in _records(file, entry, known_offsets, at):
                    first = record.position - len(record.rows) + 1
                    for position, row in enumerate(record.rows, first):
                        if position > after:
                            whole = _whole(run, row, record.references.get(row.seq))
                            found.append(Change(position, entry.summary.run_id, entry.summary.uid, whole))
                    if len(found) >= limit:
                        break
        except FileNotFoundError as error:
            raise UnsoundError from error
        return found[:limit]

    def _known_offsets_of(self, entry: Entry) -> list[KnownOffset]:
        known_offsets = self._known_offsets.setdefault(entry.summary.uid, [KnownOffset(0, 0, NOTHING_BEFORE)])
        self._known_offsets.move_to_end(entry.summary.uid)
        if len(self._known_offsets) > _REMEMBERED_RUNS:
            self._known_offsets.popitem(last=False)
        return known_offsets


def _whole(run: Path, row: EventRow, reference: Reference | None) -> EventRow:
    """Return an event with its payload, wherever that is."""
    if reference is None:
        return row
    data = read_blob(run, row.seq, reference)
    if data is None:
        raise UnsoundError
    return row._replace(payload=data.decode())


def _records(file: int, entry: Entry, known_offsets: list[KnownOffset], at: int) -> Iterator[tuple[int, Content]]:
    """(seq before, record) of the records from the known offset of number `at` on; extends the list."""
    seq, offset, checksum, _ = known_offsets[at]
    chunk = _CHUNK
    while offset < entry.length:
        size = min(chunk, entry.length - offset)
        found = scan(read_at(file, size, offset), offset, checksum)
        if not found.lines:
            if size == entry.length - offset:
                raise UnsoundError
            chunk *= 4  # a record that is longer than this
            continue
        for line in found.lines:
            try:
                content = from_json(line.content)
            except ValueError as error:
                raise UnsoundError from error
            if content.rows:
                yield seq, content
                seq = content.rows[-1].seq
            offset, checksum = line.end, line.checksum
            if offset > known_offsets[-1].offset:
                known_offsets.append(KnownOffset(seq, offset, checksum, content.position))
