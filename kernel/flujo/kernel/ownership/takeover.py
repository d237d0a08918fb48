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
from anyio.lowlevel import checkpoint

from flujo.kernel.errors import (
    CorruptStoreError,
    FlujoError,
    KernelClosedError,
    RequestReusedError,
    RunActiveError,
    RunNotFoundError,
    RunReplacedError,
    StoreError,
    UnknownEventError,
)
from flujo.kernel.execution.committer import Batch, Recorder
from flujo.kernel.execution.leftovers import sweep
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.execution.programs import Workflow
from flujo.kernel.journal import events
from flujo.kernel.journal.children import abandoned_by, awaited, given_up, is_outlived, left_behind
from flujo.kernel.journal.decisions import Stop, after_clean_up, at_clean_up, at_recovery, at_takeover
from flujo.kernel.journal.events import Fact
from flujo.kernel.journal.overlap import Overlap
from flujo.kernel.journal.requests import Fingerprint, cancel_answer, is_overruled, is_repeat
from flujo.kernel.journal.state import FINAL, LIVE, RunStatus, WorkflowState
from flujo.kernel.journal.summaries import RunSummary
from flujo.kernel.loops import in_thread
from flujo.kernel.outcomes import CancelOutcome
from flujo.kernel.store.listing import is_interrupted
from flujo.kernel.store.overlaps import overlap_of, unfinished_run
from flujo.kernel.store.reading import read_state
from flujo.kernel.store.records import ClaimedRun, Posted, Refused, StoredDefinition, StoredRun
from flujo.kernel.store.workspaces import make_if_gone

from .driver import Driver
from .inbox import Inbox, cancel_in, late, overruled
from .latecomers import End
from .parts import Parts
from .releasing import Releasing, takeover_of
from .resumption import Resumption, require_paused, resumed
from .setbacks import Setbacks

logger = logging.getLogger("flujo.kernel")

Result = TypeVar("Result")


class Takeover:
    """Takes runs over for one kernel."""

    def __init__(self, parts: Parts, inbox: Inbox, driver: Driver, max_interruptions: int) -> None:
        self._backend = parts.backend
        self._clock = parts.clock
        self._registry = parts.registry
        self._runs = parts.runs
        self._tasks = parts.tasks
        self._recalls = parts.recalls
        self._inbox = inbox
        self._driver = driver
        self._max_interruptions = max_interruptions
        self.releasing = Releasing(parts, self._one_at_a_time)
        self.unfit: dict[str, int] = {}
        """Runs that could not go on here, by uid, with the last event they had."""

        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()  # by run id, while they are held

    # -- going on -----------------------------------------------------------------------------------------------

    async def reload(self, run_id: str) -> bool:
        """Bring a run of this kernel back into memory, or give it up and log why; False when the store does not
        answer."""
        try:
            await self.revive(run_id)
        except KernelClosedError:
            pass
        except StoreError as error:
            logger.warning("run %s could not be brought back: %s", run_id, error)
            return False
        return True

    async def revive(self, run_id: str) -> None:
        """Bring a run of this kernel back into memory, or give it up and log why. Raises StoreError when the store does
        not answer, KernelClosedError."""
        try:
            await self.bring_back(run_id)
        except (CorruptStoreError, UnknownEventError) as error:
            logger.error("run %s was not recovered: %s", run_id, error)
        except (StoreError, KernelClosedError):
            raise
        except FlujoError as error:
            logger.warning("run %s was not recovered: %s", run_id, error)
        except Exception:  # such as a loader of definitions: no run can end its kernel
            logger.exception("run %s was not recovered", run_id)

    async def bring_back(self, run_id: str) -> None:
        """Bring a run of this kernel back into memory, and go on where it stopped. Without effect on other runs.

        One that cannot go on here is given up; raises what keeps it from that."""
        await self._one_at_a_time(run_id, partial(self._bring_back, run_id))

    async def _bring_back(self, run_id: str) -> None:
        await self._driver.until_certain()
        uid = self._runs.uid_of(run_id)
        try:
            summary = await self._backend.load(run_id)
        except RunNotFoundError:
            self._disown(uid)
            raise
        if summary.owner == self._driver.owner and self._runs.get(summary.uid) is None:
            summary = ClaimedRun.of(summary, self._runs.former_owner_of(summary.uid))
            try:
                await self._bring_up(summary)
            except Exception as error:
                # While the store does not answer, the run stays where it is and is asked for again.
                if not isinstance(error, (StoreError, KernelClosedError)) or isinstance(error, CorruptStoreError):
                    self.unfit[summary.uid] = summary.seq
                    await self.releasing.give_up(summary)
                    self._disown(summary.uid)
                raise
        self._disown(uid)  # unless it is in memory now: it is not this kernel's any more, or over

    def _disown(self, uid: str | None) -> None:
        if uid is not None and self._runs.is_outside(uid):
            self._driver.disown(uid)

    async def adopt(self, summary: RunSummary) -> None:
        """Go on with one run if nobody runs it, unless this kernel drains."""
        if self._driver.is_draining:
            return
        if await is_interrupted(self._backend, summary):
            await self.sweep([summary.uid])
            with suppress(RunActiveError):  # somebody else was faster
                adopt = partial(self._adopt, summary.run_id)
                await self._tasks.finish(partial(self._one_at_a_time, summary.run_id, adopt))
        elif summary.owner == self._driver.owner and not self._runs.holds(summary.uid):
            # A write that has failed may have made it this kernel's all the same, or it has ended since it was looked
            # at; `bring_back` looks again (test_a_run_that_could_neither_be_taken_up_nor_released_is_taken_up_later).
            await self._tasks.finish(partial(self.bring_back, summary.run_id))

    async def _adopt(self, run_id: str) -> None:
        """Become the owner of an interrupted run and go on where it stopped."""
        # Refused before it is claimed, if it cannot go on here.
        await self._registry.for_run(await read_state(self._backend, await self._backend.load(run_id)), self._backend)
        claimed = await self._claim(run_id)
        if claimed.status not in LIVE:  # somebody has ended it between the two looks
            await self.releasing.give_up(claimed)
            return
        async with self._released_on_error(claimed):
            batch = await self._bring_up(claimed)
        if batch is not None:
            await batch.durable()

    async def _bring_up(self, owned: RunSummary) -> Batch | None:
        """Go on with a run of this kernel where it stopped, with the definition it was started with; return what is to
        be durable first, if anything."""
        state = await read_state(self._backend, owned)
        parent = await self._parent(state)
        if parent is not None and is_outlived(state, parent):
            asked = events.CancelRequested(abandoned_by(parent.run_id), f"run {parent.run_id}")
            run, facts = await self._cancelled(state, owned, asked)
        else:
            if parent is not None and self._runs.is_outside(parent.uid):
                # It may have given this child up without living to say so; then it does that now.
                self._recalls.ask(parent.run_id)
            chosen = self._runs.program_of(owned.uid) or await self._registry.for_run(state, self._backend)
            run = self._driver.make(state, chosen, owned.token)
            cleans_up = chosen.clean_up is not None
            facts = at_recovery(state, self._max_interruptions, takeover_of(owned), cleans_up=cleans_up)
        await self._part(owned, state, facts)
        batch = self._go_on(run, facts, await self._inbox.take_for(owned.uid))
        if children := given_up(state):
            self._tasks.spawn(partial(self._cancel_children, owned, children))
        return batch

    def begin_again(self, run: Recorder) -> None:
        """Go on with a run of which the store has forgotten what it had acknowledged, from what is there."""
        logger.error("run %s: the store has forgotten events that it had acknowledged", run.state.run_id)
        self._tasks.spawn(partial(self._begin_again, run.state.run_id, run.uid))

    async def _begin_again(self, run_id: str, uid: str) -> None:
        setbacks = Setbacks(self._clock, f"run {run_id} cannot begin again yet")
        while True:
            try:
                await self._driver.end_former_life(uid)
                await self.adopt(await self._backend.load(run_id))
                return
            except KernelClosedError:
                return
            except CorruptStoreError as error:
                logger.error("run %s does not begin again: %s", run_id, error)
                return
            except StoreError as error:
                await setbacks.wait_after(error)
            except FlujoError as error:
                logger.error("run %s does not begin again: %s", run_id, error)
                return

    def _without_program(self, state: WorkflowState, owned: RunSummary) -> LiveRun:
        return self._driver.make(state, Workflow(name=state.workflow, program=_no_program), owned.token)

    async def _parent(self, state: WorkflowState) -> RunSummary | None:
        """Return the run that has started this one, if it is there."""
        if state.parent_run_id is None:
            return None
        try:
            return await self._backend.load(state.parent_run_id)
        except RunNotFoundError:
            return None

    async def _part(self, owned: RunSummary, state: WorkflowState, facts: Sequence[Fact]) -> None:
        """Cancel the children that another kernel runs, if these facts are the end of their parent; raises StoreError,
        KernelClosedError."""
        if any(isinstance(fact, (events.RunCancelled, events.RunFailed)) for fact in facts):
            children = left_behind(state, self._clock.now())
            await self._driver.engine.child_runs.cancel_elsewhere(children, owned)

    async def _cancel_children(self, parent: RunSummary, children: Mapping[str, int]) -> None:
        """Cancel what a run has given up."""
        if children:
            await self._driver.engine.child_runs.cancel_given_up(children, parent)

    # -- resuming -----------------------------------------------------------------------------------------------

    async def resume(
        self, run_id: str, asked: Resumption, request: Fingerprint | None, *, only_paused: bool = False
    ) -> None:
        """See Kernel.resume; durable on return. With `only_paused` it raises RunNotPausedError for any other run."""
        work = partial(self._resume, run_id, asked, request, only_paused)
        await self._tasks.finish(partial(self._one_at_a_time, run_id, work))

    async def _resume(self, run_id: str, asked: Resumption, request: Fingerprint | None, only_paused: bool) -> None:
        asked_at = self._clock.now()
        if (live := self._runs.find(run_id)) is not None:
            if live.state.status in LIVE:
                if is_repeat(live.state, request):
                    await live.written()
                    return
                raise RunActiveError(run_id, self._driver.owner)
            await live.ended.wait()  # its end is on disk, only its task is not quite over
        seen = await self._backend.load(run_id)
        state = await read_state(self._backend, seen)
        if is_repeat(state, request):
            if await is_interrupted(self._backend, seen):
                await self.sweep([seen.uid])
                with suppress(RunActiveError):  # as adopt, but it is our turn already
                    await self._adopt(run_id)
            return
        if only_paused:
            require_paused(state)
        if state.cleaning_up is not None and asked.is_plain:  # it is to end, and first its clean-ups go on
            await self.sweep([seen.uid])
            _make_workspace(state, asked)
            await self._adopt(run_id)
            return
        chosen = (asked.workflow or await self._registry.for_run(state, self._backend)).as_started(state)
        facts = resumed(state, chosen, asked, request)
        is_apart = state.status in FINAL and chosen.on_overlap is not Overlap.ALLOW
        if is_apart:
            await self._require_alone(state, chosen)
        self._registry.remember(asked.workflow)
        claimed = await self._claim(run_id)
        if (claimed.uid, claimed.seq) != (seen.uid, seen.seq):
            # Somebody else was faster, and has left again: decide anew on what is there now.
            await self.releasing.give_up(claimed)
            await self._resume(run_id, asked, request, only_paused)
            return
        async with self._released_on_error(claimed):
            await self.sweep([claimed.uid])
            posts = await self._inbox.take_for(claimed.uid)
            void = [each.id for each in posts if is_overruled(each.request.kind) and each.request.at <= asked_at]
            run = self._driver.make(state, chosen, claimed.token)
            facts = [*at_takeover(state, takeover_of(claimed)), *facts]
            _make_workspace(state, asked)  # not before: a resume that is refused must leave none for the next one
            self._inbox.void(void, run)  # last: by a run that is never driven nothing is taken
            batch = self._go_on(run, facts, posts, definition=chosen.definition, taken=void, is_apart=is_apart)
            if children := given_up(state):  # by an owner that died before they were cancelled
                self._tasks.spawn(partial(self._cancel_children, claimed, children))
        assert batch is not None
        await batch.durable()
        if batch.refused.get(claimed.uid) is Refused.OVERLAPS:  # another one was started between the two looks
            await self.releasing.give_up(claimed)
            await self._require_alone(state, chosen)
            await self._resume(run_id, asked, request, only_paused)
        else:
            await self._require_recorded(batch, claimed)

    async def _require_alone(self, state: WorkflowState, chosen: Workflow) -> None:
        """Raise RunOverlapError if a run that has ended is not to go on beside another one of its workflow."""
        if (other := await unfinished_run(self._backend, state.workflow, but=state.uid)) is not None:
            raise overlap_of(other, chosen.on_overlap)

    # -- amending -----------------------------------------------------------------------------------------------

    async def amend(
        self, run_id: str, decide: Callable[[WorkflowState], list[Fact]], request: Fingerprint | None = None
    ) -> None:
        """Record what `decide` says on a run that nobody runs, and leave it as idle as it was; durable on return. Does
        nothing if the run has recorded this request, whoever runs it now.

        Raises what `decide` raises, RunNotFoundError, RunActiveError."""
        work = partial(self._amend, run_id, decide, request)
        await self._tasks.finish(partial(self._one_at_a_time, run_id, work))

    async def _amend(
        self, run_id: str, decide: Callable[[WorkflowState], list[Fact]], request: Fingerprint | None
    ) -> None:
        if (live := self._runs.find(run_id)) is not None:
            if live.state.status in LIVE:
                if is_repeat(live.state, request):
                    await live.written()
                    return
                raise RunActiveError(run_id, self._driver.owner)
            await live.ended.wait()
        state = await read_state(self._backend, await self._backend.load(run_id))
        if is_repeat(state, request):
            return
        decide(state)  # refused before anything is claimed
        claimed = await self._claim(run_id)
        async with self._released_on_error(claimed):
            await self.sweep([claimed.uid])
            state = await read_state(self._backend, claimed)
            facts = [] if is_repeat(state, request) else decide(state)
            # Before that is recorded: nobody else would look for the children if this process died in between. A parent
            # that waits for a child it has given up resumes it.
            await self._cancel_children(claimed, dict.fromkeys(_children_of(state, facts), self._clock.now()))
            run = self._without_program(state, claimed)
            batch: Batch | None = None
            for fact in [*at_takeover(state, takeover_of(claimed)), *facts]:
                batch = run.record(fact)
            batch = await self._record_late(run) or batch
            if batch is not None:
                await self._require_recorded(batch, claimed)
        await self.releasing.release(run_id, claimed.uid, claimed if batch is None else None)

    # -- ending -------------------------------------------------------------------------------------------------

    async def cancel(self, run_id: str, fact: events.CancelRequested) -> CancelOutcome:
        """End a run without a live owner, and the children it waits for, or have its clean-ups do so; raises
        RunActiveError when another kernel has just adopted it."""
        return await self._tasks.finish(partial(self._one_at_a_time, run_id, partial(self._cancel, run_id, fact)))

    async def _cancelled(
        self, state: WorkflowState, owned: RunSummary, asked: events.CancelRequested
    ) -> tuple[LiveRun, list[Fact]]:
        """Return a run that nobody runs and that is to be cancelled, and what is recorded of it first: that is its end,
        unless its workflow can be had here and has clean-ups."""
        first = [*at_takeover(state, takeover_of(owned)), *([] if is_repeat(state, asked.request) else [asked])]
        workflow = None
        if state.steps and state.cleaning_up is None:
            try:
                workflow = await self._registry.for_run(state, self._backend)
            except Exception as error:  # also of a loader of definitions: a run that is to end needs none
                logger.warning("run %s is cancelled without its clean-ups: %s", state.run_id, error)
        if workflow is not None and workflow.clean_up is not None:
            begun = at_clean_up(state, Stop.CANCEL)
            return self._driver.make(state, workflow, owned.token), [*first, begun]
        ended = [events.RunCancelled(asked.reason)] if state.cleaning_up is None else after_clean_up(state)
        return self._without_program(state, owned), [*first, *ended]

    async def _cancel(self, run_id: str, fact: events.CancelRequested, taken: Sequence[int] = ()) -> CancelOutcome:
        claimed = await self._claim(run_id)
        async with self._released_on_error(claimed):
            if claimed.status in FINAL:  # somebody ran it to its end between the two looks
                await self.releasing.give_up(claimed)
                return CancelOutcome.ALREADY_FINISHED
            await self.sweep([claimed.uid])
            state = await read_state(self._backend, claimed)
            run, facts = await self._cancelled(state, claimed, fact)
            await self._part(claimed, state, facts)
            posts = [posted for posted in await self._inbox.take_for(claimed.uid) if posted.id not in taken]
            batch = self._go_on(run, facts, posts, taken=taken)
        assert batch is not None
        await self._require_recorded(batch, claimed)
        # Before the answer: this process may end with it, and no other one need know the workflow of a child.
        await self._cancel_children(claimed, given_up(state))
        return cancel_answer(state)

    async def hand_over(self, run_id: str, end: Callable[[], Awaitable[Sequence[str]]]) -> None:
        """Give up the runs whose driving `end` has ended, for other kernels to take. Raises what `end` raises."""

        async def give_up() -> None:
            for uid in await end():
                claim: RunSummary | None = None
                if (former := self._runs.former_owner_of(uid)) is not None:  # never in memory here, as no child is then
                    claim = ClaimedRun.of(await self._backend.load(run_id), former)
                self._driver.disown(uid)
                await self.releasing.release(run_id, uid, claim)

        await self._one_at_a_time(run_id, give_up)

    # -- what came too late -------------------------------------------------------------------------------------

    async def take_along(self, ends: Sequence[End]) -> None:
        """Record what lies in the inboxes of runs that have ended or paused, and leave the runs as they are; durable on
        return. A cancel that came with the end goes, one that came with the pause ends the run.

        Without effect on a run that is gone, or that somebody has taken up since. Raises StoreError,
        KernelClosedError."""
        while ends:
            found = await self._backend.read_runs([end.run_id for end in ends], 0)
            for end, run in zip(ends, found, strict=False):  # the answer may be a part
                if isinstance(run, StoredRun) and run.summary.uid == end.uid and run.requests:
                    take_along = partial(self._take_along, end.run_id, end.uid)
                    with suppress(RunNotFoundError, RunReplacedError, RunActiveError):
                        await self._tasks.finish(partial(self._one_at_a_time, end.run_id, take_along))
            ends = ends[len(found) :]

    async def _take_along(self, run_id: str, uid: str) -> None:
        # Not claimed: whoever resumes the run just now must not find an owner. A commit to a run without one is refused
        # as soon as somebody has claimed it, and then that owner takes what lies in the inbox.
        summary = await self._backend.load(run_id)
        if summary.uid != uid or summary.owner is not None:
            return
        if summary.status == RunStatus.PAUSED:
            await self._end_paused(run_id, uid)
            return
        run = self._without_program(await read_state(self._backend, summary), summary)
        if (batch := await self._record_late(run)) is not None:
            await batch.durable()

    async def _end_paused(self, run_id: str, uid: str) -> None:
        """Cancel a paused run if its last owner did not see that this was asked for before it paused the run."""
        posts = await self._backend.requests(run_id, uid)
        if (asked := cancel_in(posts)) is not None:
            await self._cancel(run_id, asked, taken=overruled(posts))
        elif void := overruled(posts):
            await self._backend.discard(run_id, uid, void)

    async def _record_late(self, run: LiveRun) -> Batch | None:
        """Record what reached a run while it ended, unless it has not; its owner, or its next one, takes that. What has
        no meaning after the end goes: a cancel, a pause, and what is recorded already."""
        if run.state.status not in FINAL:
            return None
        batch: Batch | None = None
        posts = await self._backend.requests(run.state.run_id, run.uid)
        void = overruled(posts)
        for posted, fact in late(posts):
            if _is_repeat_or_reused(run.state, fact.request):
                void.append(posted.id)
            else:
                batch = run.record(fact, taken=[posted.id])
        if void:
            await self._backend.discard(run.state.run_id, run.uid, void)
        return batch

    # -- what they share ----------------------------------------------------------------------------------------

    async def _one_at_a_time(self, run_id: str, work: Callable[[], Awaitable[Result]]) -> Result:
        """Return what `work` returns or raises; one at a time for each run, so that a repeat finds what came of the
        first."""
        lock = self._locks.get(run_id)
        if lock is None:
            lock = self._locks[run_id] = anyio.Lock()
        async with lock:
            return await work()

    def under_way(self, run_id: str) -> Callable[[], Awaitable[None]] | None:
        """Return something to await until what is being done with a run here is over; None if nothing is."""
        lock = self._locks.get(run_id)
        return partial(self._one_at_a_time, run_id, checkpoint) if lock is not None and lock.locked() else None

    def _go_on(
        self,
        run: LiveRun,
        facts: list[Fact],
        posts: Sequence[Posted] = (),
        *,
        definition: StoredDefinition | None = None,
        taken: Sequence[int] = (),
        is_apart: bool = False,
    ) -> Batch | None:
        """Record what has to be recorded first, then what was asked of the run while nobody ran it, and drive it unless
        that has ended it.

        Nothing here waits: whatever is posted after `posts` were taken finds the run live."""
        batch: Batch | None = None
        for fact in facts:
            batch = run.record(fact, definition=definition, taken=taken)
        if is_apart:
            run.keep_apart(0)
        self._driver.drive(run, batch)
        self._inbox.answer(posts)
        return batch

    async def _require_recorded(self, batch: Batch, claimed: RunSummary) -> None:
        """Return once a batch is durable. Raises RunActiveError if it was refused for a run that we had claimed: this
        process was stopped so long meanwhile that another one has taken the run (tests/simulation/test_found.py)."""
        await batch.durable()
        if claimed.uid in batch.refused:
            raise RunActiveError(claimed.run_id, (await self._backend.load(claimed.run_id)).owner or "")

    async def _claim(self, run_id: str) -> RunSummary:
        """As StateBackend.claim. An error may mean that the run is ours all the same; then it is given up again, or
        nobody could take it before we close."""
        try:
            claimed = await self._backend.claim(run_id)
        except StoreError:
            with anyio.CancelScope(shield=True), suppress(StoreError, RunNotFoundError):
                summary = await self._backend.load(run_id)
                if summary.owner == self._driver.owner and not self._runs.holds(summary.uid):
                    await self.releasing.give_up(summary)
            raise
        await self._driver.end_former_life(claimed.uid)
        return claimed

    @asynccontextmanager
    async def _released_on_error(self, claimed: RunSummary) -> AsyncIterator[None]:
        """Bring a claimed run up inside; on an error it is given up again, or nobody could take it before we close.

        When we do close, that gives up every run, once what was recorded for it is written; not any earlier."""
        try:
            yield
        except KernelClosedError:
            raise
        except BaseException:
            await self.releasing.give_up(claimed)
            raise

    async def sweep(self, uids: Collection[str]) -> None:
        """Make sure that nothing of attempts that died is alive before the next ones start.

        Their guardian has seen to it as a rule; this finds what left its session. A store that does not survive its
        process has no runs of another one."""
        if uids and self._backend.capabilities.durable:
            await in_thread(partial(sweep, frozenset(uids)))


def _children_of(state: WorkflowState, facts: Sequence[Fact]) -> Sequence[str]:
    """Return the children that a run waits for in the steps that these facts settle."""
    steps = (state.steps.get(getattr(fact, "step", None) or "") for fact in facts)
    named = {step.child for step in steps if step is not None and step.child is not None}
    return sorted(named & awaited(state))


def _is_repeat_or_reused(state: WorkflowState, request: Sequence[str] | None) -> bool:
    """True for a request under an id that the run has recorded, for this or for another one: whoever left it here has
    gone on, and cannot be told."""
    try:
        return is_repeat(state, request)
    except RequestReusedError as error:
        logger.warning("run %s: %s; the request is dropped", state.run_id, error)
        return True


async def _no_program(ctx: Any, inputs: dict[str, Any]) -> None:
    raise AssertionError("a run that is only cancelled has no program")


def _make_workspace(state: WorkflowState, asked: Resumption) -> None:
    """Make the workspace of a run anew if a resume asks for that and it is gone. Where it cannot be made, the run will
    pause again, since it is gone."""
    workspace = state.environment.get("workspace")
    if not asked.empty_workspace or workspace is None:
        return
    try:
        if make_if_gone(str(workspace)):
            logger.warning("run %s: made the empty workspace %s", state.run_id, workspace)
    except OSError as error:
        logger.warning("run %s: cannot make the workspace %s: %s", state.run_id, workspace, error.strerror)
