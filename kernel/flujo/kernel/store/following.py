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
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
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
from .filters import Instant, check_instant, check_labels, check_text
from .records import Change

logger = logging.getLogger("flujo.kernel")

BATCH = 64
"""How many events a piece of a watch holds at most."""

POLL_MICROS = MICROSECONDS // 5
WATCHERS_PER_POLL = 10
"""So many watches look at a store five times a second for what other processes do; more of them look less often each,
so that all together cost the same."""

REMEMBERED = 10_000
"""Of how many runs it is remembered whether they are wanted."""


_CURSOR = re.compile(r"([A-Za-z0-9_-]*)\.([0-9]{1,19})", re.ASCII)


class Cursor(NamedTuple):
    """A place in the order of all events, and of which store. Its text is what callers keep."""

    store: str  # the identity of the store
    position: int

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor of a text; raises InvalidNameError."""
        found = _CURSOR.fullmatch(text)
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
        """Return what is wanted; an empty text is none. Raises InvalidNameError, InvalidValueError."""
        return cls(
            check_text("workflow", workflow) or None,
            check_text("id_prefix", id_prefix) or None,
            check_labels(labels or {}),
            check_instant("created_from", created_from),
            check_instant("created_before", created_before),
            check_text("parent_run_id", parent_run_id) or None,
        )

    def fits(self, run: RunSummary) -> bool:
        """True for a run that is wanted, and then for ever."""
        return (
            self.workflow in (None, run.workflow)
            and self.parent_run_id in (None, run.parent_run_id)
            and run.run_id.startswith(self.id_prefix or "")
            and (self.created_from is None or run.created_at >= self.created_from)
            and (self.created_before is None or run.created_at < self.created_before)
            and (not self.labels or self.labels.items() <= json.loads(run.labels).items())
        )


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
    """Follows the runs of one store. `any_change` returns something to await until a run of this process has committed
    something, or None where that is not known."""

    def __init__(
        self, backend: StateBackend, clock: Clock, any_change: Callable[[], Callable[[], Awaitable[None]] | None]
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._any_change = any_change
        self._watchers = 0

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
        position = begin.position
        runs = _Runs(self._backend, begin.store, wanted)
        said_at = self._clock.now()
        self._watchers += 1
        try:
            while True:
                changed = self._any_change()  # asked for before reading, so that no commit falls in between
                changes = await self._backend.changes(position, BATCH)
                found = [event for change in changes if (event := await runs.event(change, types)) is not None]
                position = changes[-1].position if changes else position
                has_more = len(changes) == BATCH
                del changes  # a watcher that does not read for long holds nothing that it has not been given
                is_silent = idle_seconds is not None and self._clock.now() - said_at >= idle_seconds * MICROSECONDS
                if found or is_silent:
                    ready = [Followed(found, str(Cursor(begin.store, position)))]
                    del found
                    yield ready.pop()
                    said_at = self._clock.now()
                if not has_more:
                    await self._wait(changed, said_at, idle_seconds)
        finally:
            self._watchers -= 1

    async def _wait(
        self, changed: Callable[[], Awaitable[None]] | None, said_at: int, idle_seconds: float | None
    ) -> None:
        """Return when there may be something new, or something is to be said."""
        look_at = self._clock.now() + POLL_MICROS * (1 + self._watchers // WATCHERS_PER_POLL)
        if idle_seconds is not None:
            look_at = min(look_at, said_at + round(idle_seconds * MICROSECONDS))
        if changed is None:
            await self._clock.sleep_until(look_at)
            return

        async def end(waiting: Awaitable[None]) -> None:
            await waiting
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end, changed())
            tasks.start_soon(end, self._clock.sleep_until(look_at))


def _decoded(row: EventRow) -> Event:
    """Return the event in a row; one that a newer release has written is no reason to stop following all others."""
    try:
        return events.decode(row)
    except UnknownEventError:
        return Event(row.seq, row.at, UnknownFact(row.type))


class _Runs:
    """Knows which of the runs that changed are wanted."""

    def __init__(self, backend: StateBackend, store: str, wanted: RunChooser) -> None:
        self._backend = backend
        self._store = store
        self._wanted = wanted
        self._workflows: dict[str, str | None] = {}  # by uid; None for a run that is not wanted
        self._damaged: set[str] = set()  # the uids of the runs that were told of

    async def event(self, change: Change, types: frozenset[str]) -> RunEvent | None:
        """Return the event of a change, if that and its run are wanted. What is damaged is left out, and logged: it is
        no reason to stop following all others."""
        if change.damage is not None:
            self._leave_out(change, change.damage)
            return None
        if types and change.row.type not in types:
            return None
        if change.uid not in self._workflows:
            if len(self._workflows) >= REMEMBERED:
                self._workflows.clear()
            self._workflows[change.uid] = await self._workflow(change)
        workflow = self._workflows[change.uid]
        if workflow is None:
            return None
        cursor = Cursor(self._store, change.position)
        return RunEvent(change.run_id, change.uid, workflow, _decoded(change.row), str(cursor))

    def _leave_out(self, change: Change, problem: str) -> None:
        if change.uid not in self._damaged:
            self._damaged.add(change.uid)
            logger.error(
                "%s: a watch of runs leaves out what is damaged of run %s: %s; try: flujoctl db check",
                self._backend.url,
                change.run_id,
                problem,
                extra={"run_id": change.run_id},
            )

    async def _workflow(self, change: Change) -> str | None:
        try:
            run = await self._backend.load(change.run_id)
        except RunNotFoundError:
            return None
        except CorruptStoreError as error:
            self._leave_out(change, error.problem)
            return None
        return run.workflow if run.uid == change.uid and self._wanted.fits(run) else None
