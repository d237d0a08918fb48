"""Watching one run: its events in order, stored ones first, each once.

The store is the truth: a watcher holds a number and a wake-up, no queue. What is read of a run is read once for all who
watch it (shared_reading.py), and more than a few of them take turns (turns.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

import anyio

from flujo.kernel.errors import CursorError, RunDeletedError, RunNotFoundError, RunReplacedError
from flujo.kernel.journal import events
from flujo.kernel.journal.events import Event, EventRow
from flujo.kernel.journal.state import FINAL
from flujo.kernel.journal.summaries import RunSummary

from .backend import StateBackend
from .shared_reading import PAGE, SharedLook, SharedReading
from .turns import Turns

WATCH_EVENTS = PAGE

LEFT_BYTES = 4 * 1024 * 1024
"""So much of the run that was watched last may stay when nobody watches it."""

_EVER = 0
"""A watch of one life of a run, which has seen that this is there, may be given whatever was read of it before."""


class StoredEvent:
    """An event as it was read, which all who watch its run share. It is decoded for the first of them who wants that:
    one who has sent it before knows it by its `seq` and `at` (flujo.server.encoding), since another one comes into its
    place where a store was rewound."""

    __slots__ = ("_event", "_row", "at", "seq", "type")

    def __init__(self, row: EventRow) -> None:
        self.seq = row.seq
        self.at = row.at
        self.type = row.type
        self._row = row
        self._event: Event | None = None

    @property
    def event(self) -> Event:
        """The event itself; raises UnknownEventError."""
        if self._event is None:
            self._event = events.decode(self._row)
        return self._event

    @property
    def size(self) -> int:
        """How many characters were read."""
        return len(self._row.body) + len(self._row.payload or "")


class Watched(NamedTuple):
    """A piece of a watch: at first the run as it stood, then some events, or none when nothing has happened for a
    while, and at last the run as it ended."""

    stored: Sequence[StoredEvent] = ()
    begin: RunSummary | None = None
    end: RunSummary | None = None
    uid: str = ""
    """Of the run whose events these are."""

    @property
    def events(self) -> Sequence[Event]:
        """The events, decoded."""
        return [each.event for each in self.stored]


class Watching:
    """Watches single runs of a store. `change` returns something to await until the run of a uid may have changed;
    `any_change` is that of Turns; `require_recoverable` raises what keeps a run from ever going on."""

    def __init__(
        self,
        backend: StateBackend,
        change: Callable[[str], Callable[[], Awaitable[None]]],
        any_change: Callable[[], anyio.Event | None],
        require_recoverable: Callable[[RunSummary], None],
    ) -> None:
        self._backend = backend
        self._change = change
        self._any_change = any_change
        self._require_recoverable = require_recoverable
        self._journals: dict[str, _Journal] = {}  # by uid: those that are watched, and the one that was left last
        self._left: str | None = None

    async def watch(
        self, run_id: str, after_seq: int, uid: str | None, idle_seconds: float | None
    ) -> AsyncGenerator[Watched, None]:
        """Yield the events of a run after `after_seq` in batches, as `Observer.watch_batches` does."""
        summary = await _look(self._backend, run_id, uid)
        if after_seq > summary.seq:
            raise CursorError(run_id, after_seq, summary.seq)
        yield Watched(begin=summary)
        uid, journal = summary.uid, self._journal_of(summary)
        journal.turns.followers += 1
        try:
            place = _Place(after_seq)
            while True:
                changed = self._change(uid)  # asked for before reading, so that no commit falls in between
                asked = journal.summary.ask()
                found, is_all = await journal.next(place)
                if found:
                    ready = [Watched(found, uid=uid)]
                    del found  # a watcher that does not read for long holds nothing that it has not been given
                    yield ready.pop()
                if not is_all or (summary := await journal.summary.look(asked)).seq > place.seq:
                    continue
                if summary.status in FINAL and summary.seq == place.seq:
                    yield Watched(end=summary)
                    return
                self._require_recoverable(summary)
                if idle_seconds is None:
                    await changed()
                    continue
                with anyio.move_on_after(idle_seconds) as idle:
                    await changed()
                if idle.cancelled_caught:
                    yield Watched(uid=uid)
        finally:
            journal.turns.followers -= 1
            if not journal.turns.followers:
                self._leave(uid, journal)

    def _journal_of(self, summary: RunSummary) -> _Journal:
        """Return what those who watch a run share; what stayed of one whose store has forgotten events since then
        (Refused.REWOUND) does not."""
        journal = self._journals.get(summary.uid)
        if journal is None or (not journal.turns.followers and summary.seq < journal.read_to):
            journal = _Journal(self._backend, summary.run_id, summary.uid, self._any_change)
            self._journals[summary.uid] = journal
        return journal

    def _leave(self, uid: str, journal: _Journal) -> None:
        """Forget what was read of a run that nobody watches any more. If it is little, it stays for whoever comes next,
        until another run is left: those who look at a run, or come back to it, come one after the other."""
        left, self._left = self._left, uid
        if left is not None and left != uid and not self._journals[left].turns.followers:
            del self._journals[left]
        if journal.kept_bytes > LEFT_BYTES:
            del self._journals[uid]
            self._left = None


class _Place:
    """How far one watch is. It had seen everything there was at `caught_up_at`."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.caught_up_at: int | None = None


class _Journal:
    """What those who watch one run share."""

    def __init__(
        self, backend: StateBackend, run_id: str, uid: str, any_change: Callable[[], anyio.Event | None]
    ) -> None:
        self.turns = Turns(any_change)
        self._backend = backend
        self._run_id = run_id
        self._uid = uid
        self.read_to = 0  # the last event that was read
        self._rows = SharedReading(self._read, attrgetter("seq"), attrgetter("size"))
        self.summary = SharedLook(lambda: _look(backend, run_id, uid))

    @property
    def kept_bytes(self) -> int:
        """How much of the run is here."""
        return self._rows.kept_bytes

    async def next(self, place: _Place) -> tuple[Sequence[StoredEvent], bool]:
        """Return the next events, and whether there are no more; the place goes on behind them."""
        asked = self._rows.ask()
        page = await self.turns.take(lambda: self._rows.behind(place.seq, _EVER, asked, place.caught_up_at))
        if page.was_read:
            self.turns.has_read()
        if page.rows:
            place.seq = page.rows[-1].seq
        if page.is_all and place.caught_up_at is None:
            place.caught_up_at = place.seq
        return page.rows, page.is_all

    async def _read(self, after: int, limit: int) -> Sequence[StoredEvent]:
        try:
            rows = await self._backend.read_events(self._run_id, self._uid, after, limit)
        except RunNotFoundError:
            raise RunDeletedError(self._run_id) from None
        if rows:
            self.read_to = max(self.read_to, rows[-1].seq)
        return [StoredEvent(row) for row in rows]


async def _look(backend: StateBackend, run_id: str, uid: str | None) -> RunSummary:
    """Return the run whose life `uid` is being watched, or with None whatever run has this id."""
    try:
        summary = await backend.load(run_id)
    except RunNotFoundError:
        if uid is None:
            raise
        raise RunDeletedError(run_id) from None
    if uid is not None and summary.uid != uid:
        raise RunReplacedError(run_id)
    return summary
