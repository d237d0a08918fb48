"""Find out whether a run and its children rest, and end the driving of those that do without ending a body.

What is recorded is not all: a branch of a program may be between two steps while another one waits, a request may lie
in the inbox, a child may be about to be started. The kernel that owns a run knows; of the runs of others it believes
what they have recorded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from math import inf
from typing import NamedTuple

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import RequestReusedError, RunNotFoundError
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.journal.children import awaited
from flujo.kernel.journal.decisions import Stop
from flujo.kernel.journal.requests import REQUEST_KINDS, is_repeat
from flujo.kernel.journal.rest import MARGIN, Rest, rest
from flujo.kernel.journal.state import LIVE, WorkflowState
from flujo.kernel.json_core import from_json
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.slot_waits import slot_waits_of

Inspect = Callable[[str], Awaitable[WorkflowState]]
GetOwn = Callable[[str], LiveRun | None]
AwaitedSlots = Callable[[str], Collection[str] | None]
MayTakeUp = Callable[[str, str | None], bool]


class _Family(NamedTuple):
    """A run that rests with its unfinished children and theirs: by uid, each with its last event that was counted."""

    rest: Rest
    members: dict[str, int]


class RestReader:
    """Tells whether runs rest, for a kernel or for a reader of a store.

    `get_own` returns the run with a uid if it is in memory. `awaited_slots` names the steps of the run with a uid that
    wait for a slot in this kernel; None if the whole run does. `may_take_up` is True for the workflow and the
    definition of a run that this process resumes when no process runs it. A reader does none of it."""

    def __init__(
        self,
        backend: StateBackend,
        clock: Clock,
        inspect: Inspect,
        get_own: GetOwn = lambda uid: None,
        awaited_slots: AwaitedSlots = lambda uid: (),
        may_take_up: MayTakeUp = lambda workflow, definition: False,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._inspect = inspect
        self._get_own = get_own
        self._awaited_slots = awaited_slots
        self._may_take_up = may_take_up

    async def rest(self, run_id: str) -> Rest | None:
        """Return what a run waits for; None if something of it or of its children can happen now.

        Raises RunNotFoundError."""
        found = await self._family(await self._inspect(run_id), frozenset())
        return None if found is None else found.rest

    async def _family(self, state: WorkflowState, seen: frozenset[str]) -> _Family | None:
        run = self._get_own(state.uid)
        found = self._rest_of_own(run) if run is not None else await self._rest_of(state)
        if found is None or state.status not in LIVE or state.unowned:
            return None if found is None else _Family(found, {})
        if await self._is_asked(state):
            return None
        until, members = found.until, {state.uid: found.seq}
        for child in sorted(awaited(state if run is None else run.state) - seen):
            below = await self._rest_of_child(child, seen | {state.run_id})
            if below is None:
                return None
            until = min((instant for instant in (until, below.rest.until) if instant is not None), default=None)
            members |= below.members
        return _Family(Rest(found.seq, until), members)

    async def _rest_of(self, state: WorkflowState) -> Rest | None:
        """Return what a run that is not in memory waits for, its children aside."""
        queued = self._awaited_slots(state.uid)
        if queued is None and state.status in LIVE:
            return Rest(state.seq, state.timeout_at)
        of_the_fleet = [each.step for each in await slot_waits_of(self._backend, state)]
        return rest(state, self._clock.now(), {*(queued or ()), *of_the_fleet})

    async def _rest_of_child(self, run_id: str, seen: frozenset[str]) -> _Family | None:
        """Return what a child waits for; None if its parent is about to start it, to take it up, or to go on."""
        try:
            state = await self._inspect(run_id)
        except RunNotFoundError:
            return None
        newest = state if (run := self._get_own(state.uid)) is None else run.state
        has_ended = newest.finished_at is not None  # perhaps not durably yet
        if has_ended or (state.unowned and self._may_take_up(state.workflow, state.definition)):
            return None
        return await self._family(state, seen)

    async def _is_asked(self, state: WorkflowState) -> bool:
        """True if a request in the inbox of a run will change it: a repeat of one that is recorded will not."""
        for posted in await self._backend.requests(state.run_id, state.uid):
            try:
                is_known = posted.request.kind in REQUEST_KINDS
                if is_known and not is_repeat(state, from_json(posted.request.body).get("request")):
                    return True
            except RequestReusedError:
                continue  # it is refused, and stays until the run records something
        return False

    async def suspend(self, run_id: str) -> Rest | None:
        """End the driving of a run and its children if they rest, and return what they wait for; None, and nothing has
        changed, if one of them does not.

        The last look and the end are one step of the event loop, so that no body is ended. The runs stay owned."""
        found = await self._family(await self._inspect(run_id), frozenset())
        return None if found is None or await self._end(found) is None else found.rest

    async def suspend_own(self, run_id: str) -> Sequence[str]:
        """Do the same, and return the uids of the runs whose driving has ended; none if they do not rest."""
        found = await self._family(await self._inspect(run_id), frozenset())
        return () if found is None else await self._end(found) or ()

    async def _end(self, found: _Family) -> Sequence[str] | None:
        """End the driving of a family, unless one of it has moved on since it was found to rest."""
        runs = [run for uid in sorted(found.members) if (run := self._get_own(uid)) is not None]
        if any(self._rest_of_own(run) is None or run.state.seq != found.members[run.uid] for run in runs):
            return None
        for run in runs:
            run.stop(Stop.CLOSE)
        for run in runs:
            await run.ended.wait()
        return [run.uid for run in runs]

    def _rest_of_own(self, run: LiveRun) -> Rest | None:
        """Return what a run in memory waits for, its children aside; None if something of it can happen now."""
        now, queued = self._clock.now(), self._awaited_slots(run.uid) or ()
        found = Rest(run.state.seq, run.state.timeout_at) if run.is_in_line else rest(run.state, now, queued)
        if found is None or run.state.status not in LIVE:
            return found
        seconds = run.seconds_at_rest()
        if seconds is None or seconds * MICROSECONDS <= MARGIN:
            return None
        if seconds == inf:
            return found
        deadline = now + round(seconds * MICROSECONDS)
        return found._replace(until=deadline if found.until is None else min(found.until, deadline))
