"""Becoming the owner of a run that nobody runs: to recover it, to resume it, to end it.

A takeover claims the run (its token grows), makes sure that nothing of attempts that died is alive, folds its journal,
records what follows from all that, and brings it up. Whatever goes wrong on the way, the claim is given up again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import anyio
from anyio import to_thread

from flujo.kernel.clock import Clock
from flujo.kernel.errors import (
    CorruptStoreError,
    FlujoError,
    KernelClosedError,
    RunActiveError,
    RunNotFoundError,
    StoreError,
    UnknownEventError,
)
from flujo.kernel.execution.committer import Batch
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.execution.programs import Workflow
from flujo.kernel.execution.subprocesses import sweep
from flujo.kernel.journal import events
from flujo.kernel.journal.children import awaited, given_up, given_up_by, is_outlived
from flujo.kernel.journal.decisions import at_recovery, at_takeover
from flujo.kernel.journal.events import Fact
from flujo.kernel.journal.requests import Mark, is_repeat
from flujo.kernel.journal.state import FINAL, LIVE, RunStatus, WorkflowState
from flujo.kernel.journal.summaries import RunSummary
from flujo.kernel.outcomes import CancelOutcome
from flujo.kernel.store.backend import Posted, RunFilter, StateBackend, StoredDefinition
from flujo.kernel.store.reading import is_interrupted, read_state

from .inbox import Inbox
from .live_runs import Residents
from .resumption import Resumption, require_paused, resumed
from .workflow_registry import Catalogue

logger = logging.getLogger("flujo.kernel")

Result = TypeVar("Result")

CLAIM_AT_ONCE = 1000

ENDING = ("cancel", "pause")
"""The requests that a resume overrules."""


class _Idle:
    """The runs with one of these statuses that nobody runs, while they are claimed: how many are asked for next, and
    whether that was all."""

    def __init__(self, statuses: Sequence[str]) -> None:
        self.statuses = statuses
        self.limit = CLAIM_AT_ONCE
        self.are_claimed = False
        self._seen: set[str] = set()

    def note(self, claimed: Sequence[RunSummary]) -> None:
        """These were claimed when `limit` were asked for.

        A run that cannot go on here was given up again since, and is found again, before all that are newer. So there
        has to be an end although some are always idle, and room for others behind any number of these."""
        uids = {summary.uid for summary in claimed}
        self.are_claimed = len(uids) < self.limit
        self.limit += len(uids & self._seen)
        self._seen |= uids


class Takeover:
    """Takes runs over for one kernel."""

    def __init__(
        self,
        backend: StateBackend,
        clock: Clock,
        catalogue: Catalogue,
        residents: Residents,
        inbox: Inbox,
        max_interruptions: int,
        note_timer: Callable[[int | None], None],
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._catalogue = catalogue
        self._residents = residents
        self._inbox = inbox
        self._max_interruptions = max_interruptions
        self._note_timer = note_timer
        self._turns: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()  # by run id, while they are held

    # -- recovering ---------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Become the owner of every unfinished run that may go on here and that nobody runs, and go on with those that
        do not only wait; returns how many.

        Those that wait are brought into memory when their time has come, and beyond the first thousand of them are
        claimed in the background."""
        count = 0
        at_work = _Idle((RunStatus.PENDING, RunStatus.RUNNING))
        while not at_work.are_claimed:
            claimed = await self._claim_idle(at_work)
            count += len(claimed)
            await self._sweep([each.uid for each in claimed])
            for summary in claimed:
                if self._residents.is_full:
                    self._residents.queue.append(summary.run_id)
                else:
                    await self.revive(summary.run_id)
        waiting = _Idle((RunStatus.WAITING,))
        count += len(await self._claim_idle(waiting))
        if not waiting.are_claimed:
            self._residents.spawn(partial(self._claim_rest, waiting))
        await self._name_strangers()
        return count

    async def _claim_idle(self, idle: _Idle) -> Sequence[RunSummary]:
        claimed = await self._backend.claim_idle(idle.statuses, sorted(self._catalogue.registered), idle.limit)
        idle.note(claimed)
        for summary in claimed:
            await self._residents.let_go(summary.uid)
            self._residents.away[summary.uid] = summary.run_id
            if summary.status == RunStatus.WAITING:
                self._note_timer(summary.wake_at)
                if summary.parent_run_id is not None:  # whose end it may have missed
                    self._residents.spawn(partial(self._revive_by_and_by, summary.run_id))
        return claimed

    async def _claim_rest(self, idle: _Idle) -> None:
        try:
            while not idle.are_claimed:
                await self._claim_idle(idle)
        except StoreError as error:
            logger.warning("not every waiting run was claimed: %s", error)

    async def _name_strangers(self) -> None:
        """Say which runs wait for a workflow to be registered; the newest of them, if they are many."""
        found = await self._backend.list(RunFilter(statuses=LIVE), limit=200)
        for summary in found.runs:
            if not self._catalogue.may_know(summary.workflow, summary.definition) and await is_interrupted(
                self._backend, summary
            ):
                logger.warning("run %s waits for a workflow %r to be registered", summary.run_id, summary.workflow)

    async def bring_back(self, run_id: str) -> None:
        """Bring a run of ours back into memory, and go on where it stopped.

        One that cannot go on here is given up; raises what keeps it from that. Without effect on other runs."""
        await self._in_turn(run_id, partial(self._bring_back, run_id))

    async def _bring_back(self, run_id: str) -> None:
        summary = await self._backend.load(run_id)
        if summary.uid in self._residents or summary.owner != self._residents.owner:
            return
        try:
            await self._bring_up(summary)
        finally:
            if summary.uid not in self._residents:
                self._residents.away.pop(summary.uid, None)

    async def revive(self, run_id: str) -> None:
        """The same; a run that cannot go on here is named in the log and keeps nobody from the others."""
        try:
            await self.bring_back(run_id)
        except (CorruptStoreError, UnknownEventError) as error:
            logger.error("run %s was not recovered: %s", run_id, error)
        except (StoreError, KernelClosedError):
            raise
        except FlujoError as error:
            logger.warning("run %s was not recovered: %s", run_id, error)

    async def _revive_by_and_by(self, run_id: str) -> None:
        try:
            await self.revive(run_id)
        except (RunNotFoundError, KernelClosedError):
            pass
        except StoreError as error:
            logger.warning("run %s could not be brought back: %s", run_id, error)

    async def take_up(self, summary: RunSummary) -> None:
        """Go on with one run if nobody runs it."""
        if await is_interrupted(self._backend, summary):
            await self._sweep([summary.uid])
            with suppress(RunActiveError):  # somebody else was faster
                adopt = partial(self._adopt, summary.run_id)
                await self._residents.to_the_end(partial(self._in_turn, summary.run_id, adopt))

    async def _adopt(self, run_id: str) -> None:
        """Become the owner of an interrupted run and go on where it stopped."""
        # Refused before it is claimed, if it cannot go on here.
        await self._catalogue.of(await read_state(self._backend, await self._backend.load(run_id)), self._backend)
        claimed = await self._claim(run_id)
        if claimed.status not in LIVE:  # somebody has ended it between the two looks
            await self._backend.release([claimed.uid])
            return
        batch = await self._bring_up(claimed)
        if batch is not None:
            await batch.durable()

    async def _bring_up(self, owned: RunSummary) -> Batch | None:
        """Go on with a run of ours where it stopped, with the definition it was started with; what is to be durable
        first, if anything. On an error the run is given up."""
        async with self._released_on_error(owned.uid):
            state = await read_state(self._backend, owned)
            parent = await self._parent(state)
            if parent is not None and is_outlived(state, parent):
                asked = events.CancelRequested(given_up_by(parent.run_id), f"run {parent.run_id}")
                return self._go_on(self._without_program(state, owned), _ended(state, asked))
            if parent is not None and parent.uid in self._residents.away:
                # It may have given this child up without living to say so; then it does that now.
                self._residents.spawn(partial(self._revive_by_and_by, parent.run_id))
            chosen = await self._catalogue.of(state, self._backend)
            posts = await self._backend.take()
            run = self._residents.make(state, chosen, owned.token)
            batch = self._go_on(run, at_recovery(state, self._max_interruptions), posts)
        self._end_children(owned, given_up(state))
        return batch

    def _without_program(self, state: WorkflowState, owned: RunSummary) -> LiveRun:
        return self._residents.make(state, Workflow(name=state.workflow, program=_no_program), owned.token)

    async def _parent(self, state: WorkflowState) -> RunSummary | None:
        """The run that has started this one, if it is there."""
        if state.parent_run_id is None:
            return None
        try:
            return await self._backend.load(state.parent_run_id)
        except RunNotFoundError:
            return None

    def _end_children(self, parent: RunSummary, children: Mapping[str, int]) -> None:
        """Cancel, by and by, what a run has given up."""
        if children:
            self._residents.spawn(partial(self._residents.child_runs.cancel_given_up, children, parent))

    # -- resuming -----------------------------------------------------------------------------------------------

    async def resume(self, run_id: str, asked: Resumption, request: Mark | None, *, only_paused: bool = False) -> None:
        """As Kernel.resume; durable on return. With `only_paused` it raises RunNotPausedError for any other run."""
        work = partial(self._resume, run_id, asked, request, only_paused)
        await self._residents.to_the_end(partial(self._in_turn, run_id, work))

    async def _resume(self, run_id: str, asked: Resumption, request: Mark | None, only_paused: bool) -> None:
        asked_at = self._clock.now()
        if (live := self._residents.find(run_id)) is not None:
            if live.state.status in LIVE:
                if is_repeat(live.state, request):
                    await live.written()
                    return
                raise RunActiveError(run_id, live.owner)
            await live.ended.wait()  # its end is on disk, only its task is not quite over
        seen = await self._backend.load(run_id)
        state = await read_state(self._backend, seen)
        if is_repeat(state, request):
            if await is_interrupted(self._backend, seen):
                await self._sweep([seen.uid])
                with suppress(RunActiveError):  # as take_up, but it is our turn already
                    await self._adopt(run_id)
            return
        if only_paused:
            require_paused(state)
        chosen = asked.workflow or await self._catalogue.of(state, self._backend)
        facts = resumed(state, chosen, asked, request)
        claimed = await self._claim(run_id)
        if (claimed.uid, claimed.seq) != (seen.uid, seen.seq):
            # Somebody else was faster, and has left again: decide anew on what is there now.
            await self._backend.release([claimed.uid])
            await self._resume(run_id, asked, request, only_paused)
            return
        async with self._released_on_error(claimed.uid):
            await self._sweep([claimed.uid])
            posts = [posted for posted in await self._backend.take() if posted.uid == claimed.uid]
            # A cancel or a pause that was left in the inbox asked for the end of what is over now.
            void = [each.id for each in posts if each.request.kind in ENDING and each.request.at <= asked_at]
            run = self._residents.make(state, chosen, claimed.token)
            self._inbox.void(void, run)
            batch = self._go_on(run, [*at_takeover(state), *facts], posts, definition=chosen.definition, taken=void)
        assert batch is not None
        await batch.durable()

    # -- amending -----------------------------------------------------------------------------------------------

    async def amend(
        self, run_id: str, decide: Callable[[WorkflowState], list[Fact]], request: Mark | None = None
    ) -> None:
        """Record what `decide` says on a run that nobody runs, and leave it as idle as it was; durable on return. Does
        nothing if the run has recorded this request, whoever runs it now.

        Raises what `decide` raises, RunNotFoundError, RunActiveError."""
        work = partial(self._amend, run_id, decide, request)
        await self._residents.to_the_end(partial(self._in_turn, run_id, work))

    async def _amend(self, run_id: str, decide: Callable[[WorkflowState], list[Fact]], request: Mark | None) -> None:
        if (live := self._residents.find(run_id)) is not None:
            if live.state.status in LIVE:
                if is_repeat(live.state, request):
                    await live.written()
                    return
                raise RunActiveError(run_id, live.owner)
            await live.ended.wait()
        state = await read_state(self._backend, await self._backend.load(run_id))
        if is_repeat(state, request):
            return
        decide(state)  # refused before anything is claimed
        claimed = await self._claim(run_id)
        async with self._released_on_error(claimed.uid):
            await self._sweep([claimed.uid])
            state = await read_state(self._backend, claimed)
            children = awaited(state)
            run = self._without_program(state, claimed)
            batch: Batch | None = None
            for fact in [*at_takeover(state), *([] if is_repeat(state, request) else decide(state))]:
                batch = run.record(fact)
            if batch is not None:
                await batch.durable()
            self._end_children(claimed, dict.fromkeys(sorted(children - awaited(state)), state.updated_at))
        await self._backend.release([claimed.uid])

    # -- ending -------------------------------------------------------------------------------------------------

    async def cancel(self, run_id: str, fact: events.CancelRequested) -> CancelOutcome:
        """End a run that nobody runs; raises RunActiveError when somebody has just taken it up."""
        return await self._residents.to_the_end(partial(self._in_turn, run_id, partial(self._cancel, run_id, fact)))

    async def _cancel(self, run_id: str, fact: events.CancelRequested) -> CancelOutcome:
        claimed = await self._claim(run_id)
        async with self._released_on_error(claimed.uid):
            if claimed.status in FINAL:  # somebody ran it to its end between the two looks
                await self._backend.release([claimed.uid])
                return CancelOutcome.ALREADY_FINISHED
            await self._sweep([claimed.uid])
            state = await read_state(self._backend, claimed)
            batch = self._go_on(self._without_program(state, claimed), _ended(state, fact))
        self._end_children(claimed, given_up(state))
        assert batch is not None
        await batch.durable()
        return CancelOutcome.CANCELLED

    # -- what they share ----------------------------------------------------------------------------------------

    async def _in_turn(self, run_id: str, work: Callable[[], Awaitable[Result]]) -> Result:
        """What `work` returns or raises; one at a time for each run, so that a repeat finds what came of the first."""
        turn = self._turns.get(run_id)
        if turn is None:
            turn = self._turns[run_id] = anyio.Lock()
        async with turn:
            return await work()

    def _go_on(
        self,
        run: LiveRun,
        facts: list[Fact],
        posts: Sequence[Posted] = (),
        *,
        definition: StoredDefinition | None = None,
        taken: Sequence[int] = (),
    ) -> Batch | None:
        """Record what has to be recorded first, then what was asked of the run while nobody ran it, and drive it unless
        that has ended it.

        Nothing here waits: whatever is posted after `posts` were taken finds the run live."""
        batch: Batch | None = None
        for fact in facts:
            batch = run.record(fact, definition=definition, taken=taken)
        self._residents.bring_up(run, batch)
        self._inbox.answer(posts)
        return batch

    async def _claim(self, run_id: str) -> RunSummary:
        """As StateBackend.claim. An error may mean that the run is ours all the same; then it is given up again, or
        nobody could take it before we close."""
        try:
            claimed = await self._backend.claim(run_id)
        except StoreError:
            with anyio.CancelScope(shield=True), suppress(StoreError, RunNotFoundError):
                summary = await self._backend.load(run_id)
                if summary.owner == self._residents.owner and not self._residents.has(summary.uid):
                    await self._backend.release([summary.uid])
            raise
        await self._residents.let_go(claimed.uid)
        return claimed

    @asynccontextmanager
    async def _released_on_error(self, uid: str) -> AsyncIterator[None]:
        """Bring a claimed run up inside; on an error it is given up again, or nobody could take it before we close.

        When we do close, that gives up every run, once what was recorded for it is written; not any earlier."""
        try:
            yield
        except KernelClosedError:
            raise
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(StoreError):
                await self._backend.release([uid])
            raise

    async def _sweep(self, uids: Collection[str]) -> None:
        """Make sure that nothing of attempts that died is alive before the next ones start.

        Their guardian has seen to it as a rule; this finds what left its session. A store that does not survive its
        process has no runs of another one."""
        if uids and self._backend.capabilities.durable:
            await to_thread.run_sync(sweep, frozenset(uids))


def _ended(state: WorkflowState, asked: events.CancelRequested) -> list[Fact]:
    """What is recorded of a run that nobody runs and that is cancelled."""
    requested = [] if is_repeat(state, asked.request) else [asked]
    return [*at_takeover(state), *requested, events.RunCancelled(asked.reason)]


async def _no_program(ctx: Any, inputs: dict[str, Any]) -> None:
    raise AssertionError("a run that is only cancelled has no program")
