"""Giving runs up, for their next owner to take.

A kernel names the dead owner of a run together with the first thing that it records of it. One that gives the run up
before, having never brought it into memory, says so now: nobody could find out any more once the run has no owner.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import anyio

from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import CorruptStoreError, RunNotFoundError, StoreError, UnknownEventError
from flujo.kernel.journal.events import Event, RunTakenOver, encode
from flujo.kernel.journal.fold import fold
from flujo.kernel.journal.state import LIVE
from flujo.kernel.journal.summaries import RunSummary, summarize
from flujo.kernel.store.reading import read_state
from flujo.kernel.store.records import ClaimedRun, Commit, RunFilter

from .parts import Parts

logger = logging.getLogger("flujo.kernel")

RELEASE_AGAIN = 1 * MICROSECONDS
"""After so long a release that the store has refused is tried again."""

NAMED_AT_ONCE = 500
"""So many runs are given up together, when all are."""

OneAtATime = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Awaits something about the run with this id, while nothing else is done with that here."""


def takeover_of(owned: RunSummary) -> RunTakenOver | None:
    """Return what its owner is to record first of a run from a claim; None if nobody has died as its owner."""
    former = owned.former_owner if isinstance(owned, ClaimedRun) else None
    if former is None or owned.owner in (None, former) or owned.status not in LIVE:
        return None
    return RunTakenOver(former, str(owned.owner))


class Releasing:
    """Gives up runs of one kernel."""

    def __init__(self, parts: Parts, one_at_a_time: OneAtATime) -> None:
        self._owner = parts.owner
        self._backend = parts.backend
        self._clock = parts.clock
        self._runs = parts.runs
        self._tasks = parts.tasks
        self._one_at_a_time = one_at_a_time

    async def give_up(self, owned: RunSummary) -> None:
        """Release a run that this kernel has, as from a claim, and does not advance."""
        await self.release(owned.run_id, owned.uid, owned)

    async def release(self, run_id: str, uid: str, claim: RunSummary | None = None) -> None:
        """Release a run; `claim` is how it was claimed, if nothing may have been recorded of it since. While the store
        refuses that it is tried again: who waits for the run cannot wait until this kernel closes
        (test_a_release_that_fails_is_tried_again)."""
        with anyio.CancelScope(shield=True):
            try:
                await self._release(uid, claim)
            except StoreError as error:
                logger.warning("run %s cannot be released yet: %s", run_id, error)
                self._tasks.spawn(partial(self._go_on_giving_up, run_id, uid, claim))

    async def give_up_all(self) -> None:
        """Release every run of this kernel. Raises StoreError."""
        if formers := self._runs.from_the_dead():
            mine = RunFilter(statuses=LIVE, owner=self._owner)
            page: str | None = None
            while True:
                listed = await self._backend.list(mine, limit=NAMED_AT_ONCE, page=page)
                await self._name_former_owners([ClaimedRun.of(each, formers.get(each.uid)) for each in listed.runs])
                if (page := listed.next) is None:
                    break
        await self._backend.release(None)

    async def _release(self, uid: str, claim: RunSummary | None) -> None:
        if claim is not None:
            await self._name_former_owners([claim])
        await self._backend.release([uid])

    async def _name_former_owners(self, claims: Sequence[RunSummary]) -> None:
        """Record whom these runs are from, of those of which nothing was recorded since they were claimed."""
        commits = [await self._takeover(each, fact) for each in claims if (fact := takeover_of(each)) is not None]
        if found := [commit for commit in commits if commit is not None]:
            await self._backend.append(found)

    async def _takeover(self, claim: RunSummary, fact: RunTakenOver) -> Commit | None:
        event = Event(claim.seq + 1, max(self._clock.now(), claim.updated_at), fact)
        summary = RunSummary._make(claim)._replace(seq=event.seq, updated_at=event.at)
        if claim.wake_at == claim.updated_at:  # it may mean "at once", and then it moves with what is recorded
            try:
                state = await read_state(self._backend, claim)
            except (RunNotFoundError, CorruptStoreError, UnknownEventError):
                return None
            fold(state, event)
            summary = summarize(state, claim.owner, claim.token)
        return Commit(claim.run_id, claim.uid, claim.token, claim.seq, [encode(event)], summary)

    async def _go_on_giving_up(self, run_id: str, uid: str, claim: RunSummary | None) -> None:
        release = partial(self._release_unless_held, run_id, uid, claim)
        while True:
            await self._clock.sleep_until(self._clock.now() + RELEASE_AGAIN)
            with suppress(StoreError):
                await self._one_at_a_time(run_id, release)
                return

    async def _release_unless_held(self, run_id: str, uid: str, claim: RunSummary | None) -> None:
        """Release a run, unless it has come back to this kernel, which had released it after all."""
        with suppress(RunNotFoundError):
            stored = await self._backend.load(run_id)
            if stored.uid == uid and stored.owner == self._owner and not self._runs.holds(uid):
                await self._release(uid, claim)
