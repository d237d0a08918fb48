"""The inbox of a kernel: what others have asked of its runs, moved from the store into their journals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic_core import from_json

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import RequestReusedError, StoreError
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.journal import events
from flujo.kernel.journal.decisions import Stop
from flujo.kernel.journal.requests import is_repeat
from flujo.kernel.store.backend import Posted, StateBackend

from .live_runs import Residents

logger = logging.getLogger("flujo.kernel")


class Inbox:
    """Answers the requests to the live runs of one kernel."""

    def __init__(self, backend: StateBackend, clock: Clock, residents: Residents) -> None:
        self._backend = backend
        self._clock = clock
        self._residents = residents
        self._taking: dict[int, LiveRun] = {}  # requests on their way into the journal, and who takes each there
        self._dropped: dict[int, LiveRun] = {}  # repeats, and who takes each out of the inbox when it records something
        self._is_looking = False
        self._look_is_due = False
        self.revive: Callable[[str], Coroutine[Any, Any, None]] | None = None  # brings a run back into memory

    def look_again(self) -> None:
        """Look for requests that nobody else is going to find: to a run that was leaving when they came.

        One look that begins afterwards is enough for all that ask while another is under way: runs may leave faster
        than a store can be read."""
        self._look_is_due = True
        if not self._is_looking:
            self._is_looking = True
            self._residents.spawn(self._look)

    async def _look(self) -> None:
        try:
            while self._look_is_due:
                self._look_is_due = False
                await self._take()
        except StoreError as error:
            logger.warning("the inbox cannot be read: %s", error)
        finally:
            self._is_looking = False

    async def serve(self) -> None:
        """Answer whatever is posted, until cancelled."""
        while True:
            try:
                # In this order, so that what a failed look has not found is looked for again, whoever posts next.
                await self._take()
                await self._backend.wait_for_posts()
            except StoreError as error:
                logger.warning("the inbox cannot be read: %s", error)
                await self._clock.sleep_until(self._clock.now() + MICROSECONDS)

    async def _take(self) -> None:
        posts = await self._backend.take()
        there = {posted.id for posted in posts}
        self._taking = {id: run for id, run in self._taking.items() if id in there}
        self._dropped = {id: run for id, run in self._dropped.items() if id in there}
        self.answer(posts)

    def void(self, ids: Collection[int], run: LiveRun) -> None:
        """These are answered by the run itself, in a commit that names them."""
        self._taking.update(dict.fromkeys(ids, run))

    def _is_taken(self, posted: Posted) -> bool:
        """Whether a request is on its way. What a run that we lost had taken was not written, and is there still."""
        run = self._taking.get(posted.id)
        return run is not None and run.stopped is not Stop.FENCED

    def answer(self, posts: Sequence[Posted]) -> None:
        """Record what these ask of live runs, and have those that are away brought back. Never waits."""
        for posted in posts:
            run = self._residents.get(posted.uid)
            if run is None:
                if posted.uid in self._residents.away and posted.id not in self._dropped and self.revive is not None:
                    self._residents.spawn(partial(self.revive, self._residents.away[posted.uid]))
            elif not self._is_taken(posted) and self._dropped.get(posted.id) is not run and run.takes_requests:
                body = from_json(posted.request.body)
                if _changes_nothing(run, body.get("request")):
                    self._dropped[posted.id] = run
                    run.drop(posted.id)
                else:
                    self._taking[posted.id] = run
                    _answer(run, posted, body)


def _changes_nothing(run: LiveRun, request: Sequence[str] | None) -> bool:
    """Whether a request is a repeat, or one that nobody can be told is refused: whoever left it has gone."""
    try:
        return is_repeat(run.state, request)
    except RequestReusedError as error:
        logger.warning("%s; the request is dropped", error)
        return True


def _answer(run: LiveRun, posted: Posted, body: Mapping[str, Any]) -> None:
    request = body.get("request")  # what an earlier release has left has none
    match posted.request.kind:
        case "signal":
            run.receive(events.SignalReceived(body["name"], body["payload"], body["by"], request), taken=[posted.id])
        case "cancel":
            run.record(events.CancelRequested(body["reason"], body["by"], request), taken=[posted.id])
            run.stop(Stop.CANCEL)
        case "pause":
            run.record(events.PauseRequested(body["reason"], body["by"], request), taken=[posted.id])
        case "set_variable":
            fact = events.VariableSet(
                body["name"], body["value"], reason=body["reason"], by=body["by"], request=request
            )
            run.record(fact, taken=[posted.id])
        case other:
            logger.warning("run %s: a request %r of a newer release is left alone", run.state.run_id, other)
