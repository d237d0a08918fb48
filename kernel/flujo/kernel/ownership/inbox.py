"""The inbox of a kernel: what other processes have asked of its runs, moved from the store into their journals."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import assert_never

from flujo.kernel.errors import RequestReusedError, StoreError
from flujo.kernel.execution.committer import Batch
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.journal.decisions import Stop
from flujo.kernel.journal.events import CancelRequested, SignalReceived, VariableSet
from flujo.kernel.journal.requests import (
    REQUEST_KINDS,
    Reaction,
    RequestFact,
    RequestKind,
    is_overruled,
    is_repeat,
    request_kind,
)
from flujo.kernel.store.reading import read_request
from flujo.kernel.store.records import Posted

from .parts import Parts
from .setbacks import Setbacks

logger = logging.getLogger("flujo.kernel")


class Inbox:
    """Answers the requests to the runs of one kernel."""

    def __init__(self, parts: Parts) -> None:
        self._latecomers = parts.latecomers
        self._backend = parts.backend
        self._setbacks = Setbacks(parts.clock, "the inbox cannot be read")
        self._runs = parts.runs
        self._tasks = parts.tasks
        self._recalls = parts.recalls
        self._taking: dict[int, LiveRun] = {}  # requests on their way into the journal, and who takes each there
        self._dropped: dict[int, LiveRun] = {}  # repeats, and who takes each out of the inbox when it records something
        self._is_looking = False
        self._look_is_due = False

    def look_again(self) -> None:
        """Look for the requests to a run that was leaving when they came: nothing else is going to find them.

        One look that begins afterwards is enough for all that ask while another is under way: runs may leave faster
        than a store can be read."""
        self._look_is_due = True
        if not self._is_looking:
            self._is_looking = True
            self._tasks.spawn(self._look)

    async def _look(self) -> None:
        try:
            while self._look_is_due:
                self._look_is_due = False
                try:
                    await self._take()
                except StoreError as error:
                    await self._setbacks.wait_after(error)
                    self._look_is_due = True
        finally:
            self._is_looking = False

    async def serve(self) -> None:
        """Answer whatever is posted, until cancelled."""
        while True:
            try:
                # In this order, so that what a failed look has not found is looked for again, whoever posts next.
                await self._take()
                await self._backend.wait_for_posts()
                self._latecomers.look()
            except StoreError as error:
                await self._setbacks.wait_after(error)

    async def _take(self) -> None:
        posts = await self._backend.take()
        there = {posted.id for posted in posts}
        self._taking = {id: run for id, run in self._taking.items() if id in there}
        self._dropped = {id: run for id, run in self._dropped.items() if id in there}
        self.answer(posts)

    async def take_for(self, uid: str) -> list[Posted]:
        """Return what is asked of one run, which its caller is about to drive. What is asked of others is answered
        first: nobody is told of it again, whatever becomes of that run. Raises StoreError."""
        posts = await self._backend.take()
        self.answer([posted for posted in posts if posted.uid != uid])
        return [posted for posted in posts if posted.uid == uid]

    def void(self, ids: Collection[int], run: LiveRun) -> None:
        """Leave these to the run, which answers them in a commit that names them."""
        self._taking.update(dict.fromkeys(ids, run))

    def answer(self, posts: Sequence[Posted]) -> None:
        """Record what these ask of runs in memory, and have those that are not recalled. Never waits."""
        for posted in posts:
            run = self._runs.get(posted.uid)
            if run is None:
                if self._runs.holds(posted.uid) and posted.id not in self._dropped:
                    self._recalls.ask(self._runs.run_id_of(posted.uid))
            elif not run.takes_requests:
                self._latecomers.missed(posted.uid)
            elif not self._is_taken(posted) and self._dropped.get(posted.id) is not run:
                self._answer(run, posted)

    def _is_taken(self, posted: Posted) -> bool:
        """True while a request is on its way. What a run took before this kernel lost it was not written, and is there
        still."""
        run = self._taking.get(posted.id)
        return run is not None and run.stopped is not Stop.FENCED

    def _answer(self, run: LiveRun, posted: Posted) -> None:
        kind = REQUEST_KINDS.get(posted.request.kind)
        if kind is None:
            logger.warning(
                "run %s: a request %r of a newer release is left alone", run.state.run_id, posted.request.kind
            )
            return
        if (fact := _worth_recording(run, kind, posted)) is None:
            self._dropped[posted.id] = run
            run.drop(posted.id)
        else:
            self._taking[posted.id] = run
            record_request(run, fact, taken=[posted.id])


def _worth_recording(run: LiveRun, kind: RequestKind, posted: Posted) -> RequestFact | None:
    """Return the fact that records a request; None for a repeat, and for a request whose refusal cannot be told: the
    process that left it has gone on."""
    try:
        fact = kind.read(posted.request.body)
        return None if is_repeat(run.state, fact.request) else fact
    except (RequestReusedError, ValueError) as error:
        logger.warning("run %s: %s; the request is dropped", run.state.run_id, error)
        return None


def late(posts: Sequence[Posted]) -> list[tuple[Posted, SignalReceived | VariableSet]]:
    """Return what of the requests to a run is worth recording although it has ended: its next life may want it."""
    found = ((posted, read_request(posted.request)) for posted in posts)
    return [(posted, fact) for posted, fact in found if isinstance(fact, SignalReceived | VariableSet)]


def overruled(posts: Sequence[Posted]) -> list[int]:
    """Return those of the requests to a run that asked for its end, or for its pause, by their ids."""
    return [posted.id for posted in posts if is_overruled(posted.request.kind)]


def cancel_in(posts: Sequence[Posted]) -> CancelRequested | None:
    """Return the first cancel among the requests to a run."""
    found = (read_request(posted.request) for posted in posts)
    return next((fact for fact in found if isinstance(fact, CancelRequested)), None)


def record_request(run: LiveRun, fact: RequestFact, taken: Sequence[int] = ()) -> Batch:
    """Make a request part of the history of a run in memory, and have the run react to it."""
    match reaction := request_kind(fact).reaction:
        case Reaction.SIGNAL:
            assert isinstance(fact, SignalReceived)  # tests/kernel/journal/test_requests.py
            return run.receive(fact, taken)
        case Reaction.STOP:
            batch = run.record(fact, taken)
            run.stop(Stop.CANCEL)
            return batch
        case Reaction.NONE:
            return run.record(fact, taken)
        case _:
            assert_never(reaction)
