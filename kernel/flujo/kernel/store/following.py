"""Following all runs of a store, or those that a filter chooses: their events in one order, stored ones first.

The store is the truth: whoever follows holds a position and a wake-up, no queue. A position outlives processes, so a
watch goes on after it wherever it broke off. It means something in its own store only, and there only until a backup
takes its place: a cursor names both. Which runs are meant is told by what never
changes of a run; what changes, such as its status, would make a run come and go, and lose events.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import NamedTuple, TypedDict

import anyio

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import (
    CorruptStoreError,
    ForeignCursorError,
    InvalidNameError,
    RunNotFoundError,
    UnknownEventError,
)
from flujo.kernel.journal import events
from flujo.kernel.journal.events import KINDS, Event, EventRow, UnknownFact
from flujo.kernel.journal.summaries import RunSummary

from .backend import StateBackend
from .filters import Instant, check_instant, check_labels, check_wanted
from .records import Change
from .shared_reading import PAGE, SharedReading
from .turns import Turns

logger = logging.getLogger("flujo.kernel")

BATCH = PAGE
"""How many events a piece of a watch holds at most."""

POLL_MICROS = MICROSECONDS // 5
WATCHERS_PER_POLL = 10
"""So many watches look at a store five times a second for what other processes do; more of them look less often each,
so that all together cost the same."""

REMEMBERED = 10_000
"""Of how many runs it is remembered what tells whether they are wanted."""


_CURSOR = r"(?a)([A-Za-z0-9_-]*)\.([0-9]{1,19})"


class Cursor(NamedTuple):
    """A place in the order of all events, and of which store. Its text is what callers keep."""

    store: str  # the identity of the store
    position: int

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor of a text; raises InvalidNameError."""
        found = re.fullmatch(_CURSOR, text)
        if found is None:
            raise InvalidNameError("cursor", text, "a cursor that a watch has named, unchanged")
        return cls(found[1], int(found[2]))

    def __str__(self) -> str:
        return f"{self.store}.{self.position}"


class RunEvent(NamedTuple):
    """An event of one of the runs that are followed. A watch with its `cursor` goes on behind it."""

    run_id: str
    uid: str
    workflow: str
    event: Event
    cursor: str


class Followed(NamedTuple):
    """A piece of a watch of runs: some events, or none when nothing has happened for a while. Everything up to `cursor`
    was looked at."""

    events: Sequence[RunEvent]
    cursor: str


class WatchQuery(TypedDict, total=False):
    """Which runs are followed; every part that is given must match, and without any all runs do."""

    workflow: str | None
    """Of the workflow of this name."""

    id_prefix: str | None
    """With an id that begins like this."""

    labels: Mapping[str, str] | None
    """With all of these labels."""

    created_from: Instant | None
    created_before: Instant | None

    parent_run_id: str | None
    """That were started by the run of this id."""


class Traits(NamedTuple):
    """What never changes of a run."""

    run_id: str
    workflow: str
    labels: Mapping[str, str]
    created_at: int
    parent_run_id: str | None

    @classmethod
    def of(cls, run: RunSummary) -> Traits:
        """Return the traits of a run."""
        return cls(run.run_id, run.workflow, json.loads(run.labels), run.created_at, run.parent_run_id)


class RunChooser(NamedTuple):
    """Which runs are followed. Labels are complete: every one of them must match."""

    workflow: str | None
    id_prefix: str | None
    labels: Mapping[str, str]
    created_from: int | None
    created_before: int | None
    parent_run_id: str | None

    @classmethod
    def of(
        cls,
        *,
        workflow: str | None = None,
        id_prefix: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_from: Instant | None = None,
        created_before: Instant | None = None,
        parent_run_id: str | None = None,
    ) -> RunChooser:
        """Return what is wanted. Raises InvalidNameError, InvalidValueError."""
        return cls(
            check_wanted("workflow", workflow),
            check_wanted("id_prefix", id_prefix),
            check_labels(labels or {}),
            check_instant("created_from", created_from),
            check_instant("created_before", created_before),
            check_wanted("parent_run_id", parent_run_id),
        )

    def fits(self, run: Traits) -> bool:
        """True for a run that is wanted, and then for ever."""
        return (
            self.workflow in (None, run.workflow)
            and self.parent_run_id in (None, run.parent_run_id)
            and run.run_id.startswith(self.id_prefix or "")
            and (self.created_from is None or run.created_at >= self.created_from)
            and (self.created_before is None or run.created_at < self.created_before)
            and (not self.labels or self.labels.items() <= run.labels.items())
        )


_ALL = RunChooser.of()


def check_types(types: Sequence[str]) -> frozenset[str]:
    """Return the kinds of events that are wanted; raises InvalidNameError for one that does not exist."""
    known = [kind.type for kind in KINDS]
    if isinstance(types, str):
        raise InvalidNameError("types", types, f"a list of {', '.join(known)}")
    for type_ in types:
        if type_ not in known:
            raise InvalidNameError("types", type_, f"one of {', '.join(known)}")
    return frozenset(types)


class Following:
    """Follows the runs of one store. `any_change` returns what the next commit of a run of this process sets, another
    one after each, or None where that is not known."""

    def __init__(self, backend: StateBackend, clock: Clock, any_change: Callable[[], anyio.Event | None]) -> None:
        self._backend = backend
        self._clock = clock
        self._any_change = any_change
        self._turns = Turns(any_change)
        self._runs = _Runs(backend)
        self._changes = SharedReading(self._read, _position, _size)

    async def begin(self, cursor: str | None, *, from_now: bool) -> Cursor:
        """Return where a watch begins. Raises InvalidNameError for what is no cursor, ForeignCursorError for one that
        means nothing in this store."""
        if from_now and cursor:
            raise InvalidNameError("cursor", cursor, "none, since `from_now` is given")
        begin = None if not cursor else Cursor.parse(cursor)
        store = await self._backend.identity()
        if begin is None:
            return Cursor(store, await self._backend.last_position() if from_now else 0)
        if begin.store != store or begin.position > await self._backend.last_position():
            raise ForeignCursorError(str(begin))
        return begin

    async def follow(
        self, begin: Cursor, wanted: RunChooser, types: frozenset[str], idle_seconds: float | None
    ) -> AsyncGenerator[Followed, None]:
        """Yield the events after a cursor, and with `idle_seconds` a piece without events at least that often."""
        place = _Place(begin.store, begin.position, self._changes.ask())
        said_at = self._clock.now()
        self._turns.followers += 1
        try:
            while True:
                changed = self._any_change()  # asked for before reading, so that no commit falls in between
                found, is_all = await self._next(place, wanted, types)
                is_silent = idle_seconds is not None and self._clock.now() - said_at >= idle_seconds * MICROSECONDS
                if found or is_silent:
                    ready = [Followed(found, str(place))]
                    del found  # a watcher that does not read for long holds nothing that it has not been given
                    yield ready.pop()
                    said_at = self._clock.now()
                if is_all:
                    await self._wait(changed, said_at, idle_seconds)
        finally:
            self._turns.followers -= 1

    async def _next(self, place: _Place, wanted: RunChooser, types: frozenset[str]) -> tuple[Sequence[RunEvent], bool]:
        """Return the next events that are wanted, and whether there are no more; the place goes on behind them."""
        asked = self._changes.ask()
        page = await self._turns.take(
            lambda: self._changes.behind(place.position, place.begun, asked, place.caught_up_at)
        )
        if page.was_read:
            self._turns.has_read()
        if page.rows:
            place.position = page.rows[-1].change.position
        if page.is_all and place.caught_up_at is None:
            place.caught_up_at = place.position
        for row in page.rows:
            if row.told is None and not row.is_left_out and (not types or row.change.row.type in types):
                await self._tell(row, place.store)
        told = [row.told for row in page.rows if row.told and (not types or row.change.row.type in types)]
        return [event for traits, event in told if wanted == _ALL or wanted.fits(traits)], page.is_all

    async def _read(self, after: int, limit: int) -> Sequence[_Seen]:
        return [_Seen(change) for change in await self._backend.changes(after, limit)]

    async def _tell(self, seen: _Seen, store: str) -> None:
        """Decode a change for all who want it. What is damaged is left out, and logged: it is no reason to stop
        following all others."""
        position, run_id, uid, row, damage = change = seen.change
        if damage is not None:
            self._runs.leave_out(change, damage)
        elif (traits := await self._runs.traits(change)) is not None:
            event = RunEvent(run_id, uid, traits.workflow, _decoded(row), str(Cursor(store, position)))
            seen.told = traits, event
        seen.is_left_out = seen.told is None

    async def _wait(self, changed: anyio.Event | None, said_at: int, idle_seconds: float | None) -> None:
        """Return when there may be something new, or something is to be said."""
        look_at = self._clock.now() + POLL_MICROS * (1 + self._turns.followers // WATCHERS_PER_POLL)
        if idle_seconds is not None:
            look_at = min(look_at, said_at + round(idle_seconds * MICROSECONDS))
        if changed is None:
            await self._clock.sleep_until(look_at)
            return
        with anyio.move_on_after((look_at - self._clock.now()) / MICROSECONDS):
            await changed.wait()


class _Place:
    """How far one watch is, and before which read it began. It had seen everything there was at `caught_up_at`."""

    def __init__(self, store: str, position: int, begun: int) -> None:
        self.store = store
        self.position = position
        self.begun = begun
        self.caught_up_at: int | None = None

    def __str__(self) -> str:
        return str(Cursor(self.store, self.position))


class _Seen:
    """A change as all followers share it: told when the first of them wants it."""

    __slots__ = ("change", "is_left_out", "told")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.told: tuple[Traits, RunEvent] | None = None
        self.is_left_out = False


def _position(row: _Seen) -> int:
    return row.change.position


def _size(row: _Seen) -> int:
    stored = row.change.row
    return len(stored.body) + len(stored.payload or "")


def _decoded(row: EventRow) -> Event:
    """Return the event in a row; one that a newer release has written is no reason to stop following all others."""
    try:
        return events.decode(row)
    except UnknownEventError:
        return Event(row.seq, row.at, UnknownFact(row.type))


class _Runs:
    """Knows of the runs that changed what never changes of them, for all followers."""

    def __init__(self, backend: StateBackend) -> None:
        self._backend = backend
        self._traits: dict[str, Traits] = {}  # by uid
        self._damaged: set[str] = set()  # the uids of the runs that were told of

    async def traits(self, change: Change) -> Traits | None:
        """Return those of the run of a change; None for a run that is not there any more, or damaged."""
        return self._traits.get(change.uid) or await self._look(change)

    def leave_out(self, change: Change, problem: str) -> None:
        if change.uid not in self._damaged:
            self._damaged.add(change.uid)
            logger.error(
                "%s: a watch of runs leaves out what is damaged of run %s: %s; try: flujoctl db check",
                self._backend.url,
                change.run_id,
                problem,
                extra={"run_id": change.run_id},
            )

    async def _look(self, change: Change) -> Traits | None:
        try:
            run = await self._backend.load(change.run_id)
        except RunNotFoundError:
            return None
        except CorruptStoreError as error:
            self.leave_out(change, error.problem)
            return None
        if run.uid != change.uid:
            return None
        if len(self._traits) >= REMEMBERED:
            self._traits.clear()
        self._traits[run.uid] = Traits.of(run)
        return self._traits[run.uid]
