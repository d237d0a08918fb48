"""Runs that a run has started: cancel goes down, failure goes up, and a retry resumes the failed child.

The parent records the id of its child before the child is created, so that every child is known. A child is an ordinary
run with `parent_run_id`; it is recovered, watched and cancelled like any other.

    resolve_child  which run the next attempt of a child step waits for, and how often that run has to be resumed for
                   its end to count
    outcome        starts it, takes it up or resumes it, and waits for its end
    abandoned      the parent no longer waits: if that is because the parent ends, so does the child

    part           the parent is about to end: no child of it goes on in another kernel

A kernel may die between the end of a parent and that of its child. So a kernel that takes a parent over looks for the
children it has given up, and one that takes a child over looks for the end of its parent (journal/children.py). Nobody
takes either over when the parent is final and its child has another owner, who lives: such a child is told before the
end of its parent is recorded.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from flujo.kernel.clock import Clock
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import (
    CorruptStoreError,
    FlujoError,
    KernelClosedError,
    RunActiveError,
    RunExistsError,
    RunInterrupted,
    RunNotFoundError,
    RunNotResumableError,
    StateIncompatibilityError,
    StoreError,
    WorkflowNotFoundError,
)
from flujo.kernel.journal.children import (
    abandoned_by,
    left_behind,
    was_abandoned,
    was_begun_for_parent,
)
from flujo.kernel.journal.decisions import Stop
from flujo.kernel.journal.events import Event, RunCreated
from flujo.kernel.journal.failures import recorded_names
from flujo.kernel.journal.state import FINAL, LIVE, Failure, RunStatus, StepState, StepStatus, WorkflowState
from flujo.kernel.journal.summaries import RunSummary, is_child
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.records import StoredRun

from .attempt_runner import Failed
from .begun_children import BegunChildren, begun
from .live_run import LiveRun
from .programs import Workflow

Result = TypeVar("Result")

logger = logging.getLogger("flujo.kernel")

LONGEST_ID = 100
_NOT_IN_IDS = r"[^A-Za-z0-9._-]+"


class ChildCall(NamedTuple):
    """What a program asks of a child. `adapt` makes of the workflow that is found what is started."""

    workflow: Workflow | str
    inputs: Mapping[str, Any]
    labels: Mapping[str, str]
    adapt: Callable[[Workflow], Workflow] = lambda found: found


class ParentKernel(Protocol):
    """What the kernel that owns a parent does for its children; `Kernel` documents each call."""

    @property
    def id(self) -> str: ...
    @property
    def backend(self) -> StateBackend: ...
    @property
    def clock(self) -> Clock: ...
    async def resume(self, run_id: str, *, by: str) -> object: ...
    async def cancel(self, run_id: str, reason: str, *, by: str) -> object: ...
    async def inspect(self, run_id: str) -> WorkflowState: ...
    async def wait(self, run_id: str) -> WorkflowState: ...
    def watch(self, run_id: str, after_seq: int) -> AsyncGenerator[Event, None]: ...


class ChildStarter(Protocol):
    """What starts and adopts the children; `ownership.starting.Starter` documents each call."""

    async def start_child(self, parent: WorkflowState, run_id: str, call: ChildCall) -> object: ...
    async def begins_with(self, created: RunCreated, call: ChildCall) -> bool: ...
    async def adopt(self, run_id: str) -> None: ...
    def know(self, workflow: Workflow | str) -> None: ...


class ChildRuns:
    """The children of the runs of one kernel."""

    def __init__(self, kernel: ParentKernel, starter: ChildStarter, is_here: Callable[[str], bool]) -> None:
        """`is_here` tells by its id whether the kernel has a run."""
        self._kernel = kernel
        self._starter = starter
        self._is_here = is_here

    # -- for a parent that waits --------------------------------------------------------------------------------

    async def resolve_child(
        self, parent: LiveRun, key: str, generation: int, step: StepState | None, call: ChildCall
    ) -> tuple[str, int]:
        """(run id, resumes) for the next attempt of a child step.

        The child of an earlier attempt, or of a generation that did not complete, goes on, unless it was started with
        other inputs. Otherwise the parent asks for a new run, whose id says so if the readable one is taken: by a run
        of somebody else, or by a child that the parent had in a former life."""
        return await self._retry_until_available(
            parent, partial(self._resolve_child, parent, key, generation, step, call)
        )

    async def was_called_with(self, parent: LiveRun, child: str, call: ChildCall) -> bool:
        """True if this completed child of the parent was started for this call, and if that cannot be known any
        more."""
        if not call.workflow:  # only looked for by a step whose run cannot be found any more (child_steps.py)
            return True
        return await self._retry_until_available(parent, partial(self._was_called_with, parent, child, call))

    async def _was_called_with(self, parent: LiveRun, child: str, call: ChildCall) -> bool:
        if parent.begun_children is None:
            parent.begun_children = BegunChildren(parent.state, self._kernel.backend)
        created = await parent.begun_children.take(child)
        return created is None or await self._starter.begins_with(created, call)

    async def _resolve_child(
        self, parent: LiveRun, key: str, generation: int, step: StepState | None, call: ChildCall
    ) -> tuple[str, int]:
        earlier = None if step is None or step.child is None else await self._mine(parent, step.child)
        if earlier is not None:
            if await self._starter.begins_with(await begun(self._kernel.backend, earlier), call):
                ended_badly = earlier.status in (RunStatus.FAILED, RunStatus.CANCELLED)
                return earlier.run_id, earlier.resume_count + ended_badly
            if earlier.status not in FINAL:
                parent.spawn(partial(self.cancel, [earlier.run_id], parent.state.run_id))
        plain = child_id(parent.state.run_id, key, generation)
        try:
            await self._kernel.backend.load(plain)
        except RunNotFoundError:
            if _is_free(parent, plain):
                return plain, 0
            life = hashlib.blake2b(f"{parent.uid}/{key}".encode(), digest_size=8).hexdigest()
        else:
            life = parent.uid
        return child_id(parent.state.run_id, key, generation, life), 0

    async def _mine(self, parent: LiveRun, child: str) -> RunSummary | None:
        """Return a child of this life of the parent, or None if it is not there."""
        try:
            summary = await self._kernel.backend.load(child)
        except RunNotFoundError:
            return None
        return summary if is_child(summary, parent.state.run_id, parent.state.created_at) else None

    async def outcome(self, parent: LiveRun, step: StepState, call: ChildCall) -> str | Failed:
        """Wait for the end of the child and return its output, as JSON text, or its failure."""
        assert step.child is not None
        try:
            state = await self._retry_until_available(
                parent, partial(self._ended, parent, step.child, step.child_resumes, call)
            )
        except KernelClosedError:
            raise
        except FlujoError as error:  # a workflow that is not there, inputs it does not take, an id that is taken
            return Failed(Failure(type(error).__name__, str(error), step.name, step.attempt), ())
        if state.status is RunStatus.COMPLETED:
            assert state.output_json is not None
            return state.output_json
        if state.status is RunStatus.CANCELLED:
            failure = Failure("RunCancelled", f"run {step.child} was cancelled", step.name, step.attempt)
            return Failed(failure, (("RunCancelled",),))
        assert state.error is not None
        message = f"run {step.child} failed: {state.error.message}"
        failure = Failure(state.error.type, message, step.name, step.attempt, state.error.details)
        return Failed(failure, (recorded_names(state.error.type),))

    async def _ended(self, parent: LiveRun, child: str, resumes: int, call: ChildCall) -> WorkflowState:
        """Wait until the child has ended in a way that counts, and return its state."""
        parent_id = parent.state.run_id
        if (summary := await self._mine(parent, child)) is None:
            await self._starter.start_child(parent.state, child, call)
            if (summary := await self._mine(parent, child)) is None:
                raise RunExistsError(child, "another parent")
        self._starter.know(call.workflow)  # an earlier process has started the child, and it was known there
        if summary.status in FINAL and summary.resume_count < resumes:
            await self._resume(parent_id, child)
        while True:
            await self._until_final(child)
            state = await self._kernel.inspect(child)
            if state.status is RunStatus.COMPLETED:
                return state
            if state.resume_count < resumes:
                await self._second()  # somebody else has it, and does not run it
            elif state.status is RunStatus.FAILED or not was_abandoned(state.cancel_reason, parent_id):
                return state
            # Otherwise its parent had given it up, and was resumed before the child had stopped; or it has done so in
            # another kernel, which owns it now. A child resumed here would be cancelled again, and so on for ever.
            await self._require_owned(parent)
            await self._resume(parent_id, child)

    async def _retry_until_available(self, parent: LiveRun, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Ask until the store answers, and return what `ask` returns: a store that is away is not the parent's
        failure."""
        while True:
            try:
                return await ask()
            except CorruptStoreError:
                raise
            except StoreError as error:
                logger.warning("run %s cannot reach its child and tries again: %s", parent.state.run_id, error)
            if parent.stopped is None:
                await self._second()
            if parent.stopped is not None:
                await parent.unwind()

    async def _require_owned(self, parent: LiveRun) -> None:
        """Leave the program of a parent that another kernel has taken over, which this one learns by its next write
        only."""
        try:
            summary = await self._kernel.backend.load(parent.state.run_id)
        except RunNotFoundError:
            is_ours = False
        else:
            is_ours = (summary.uid, summary.token) == (parent.uid, parent.token)
        if not is_ours:
            parent.stop(Stop.FENCED)
            await parent.unwind()

    async def _second(self) -> None:
        await self._kernel.clock.sleep_until(self._kernel.clock.now() + MICROSECONDS)

    async def _resume(self, parent: str, child: str) -> None:
        try:
            await self._kernel.resume(child, by=f"run {parent}")
        except (RunActiveError, RunNotResumableError):
            pass  # somebody else was faster, or it has even completed since

    async def _until_final(self, child: str) -> None:
        """Return when the child is final; one that nobody runs is taken up."""
        while True:
            seq = (await self._kernel.backend.load(child)).seq
            try:
                if (await self._kernel.wait(child)).status in FINAL:
                    return
            except RunInterrupted:
                try:
                    await self._starter.adopt(child)
                    continue
                except (WorkflowNotFoundError, StateIncompatibilityError) as error:
                    logger.warning("run %s waits for somebody who can run it: %s", child, error)
            # Paused, or beyond this kernel: until something happens to it.
            async with aclosing(self._kernel.watch(child, seq)) as events:
                async for _ in events:
                    break

    # -- for a parent that does not -----------------------------------------------------------------------------

    def abandoned(self, parent: LiveRun, key: str) -> None:
        """Cancel the child of a step that the program leaves, if the run or the program has cancelled that step.

        A program that was stopped before it was back at its child, after a restart, leaves none here: those are the
        orphans of its run (LiveRun.orphans)."""
        step = parent.state.steps.get(key)
        ends = parent.stopped is None or parent.stopped in (Stop.CANCEL, Stop.TIMEOUT)
        if step is not None and step.child is not None and step.status is StepStatus.WAITING and ends:
            parent.given_up.add(step.child)
            parent.spawn(partial(self._cancel_once_durable, parent, step.child))

    async def _cancel_once_durable(self, parent: LiveRun, child: str) -> None:
        """Cancel a child once it is durable that the parent has given it up. If that does not become durable, the next
        owner of the parent decides."""
        try:
            await parent.written()
        except (StoreError, KernelClosedError):
            return
        if not parent.is_lost:
            await self.cancel([child], parent.state.run_id)

    async def cancel(self, children: Iterable[str], parent: str) -> None:
        """Cancel children that a run has given up."""
        for child in children:
            try:
                await self._kernel.cancel(child, abandoned_by(parent), by=f"run {parent}")
            except RunNotFoundError:
                pass  # the parent was cancelled before it had created it
            except FlujoError as error:
                logger.warning("run %s was not cancelled with its parent: %s", child, error)

    async def cancel_given_up(self, children: Mapping[str, int], parent: RunSummary | WorkflowState) -> None:
        """Cancel those of the children that belong to this life of the parent and that nobody else has resumed since
        the instant they were given up."""
        for child, instant in children.items():
            try:
                state = await self._kernel.inspect(child)
            except FlujoError:
                continue  # it was never created, or this kernel closes: whoever recovers it will see to it
            if _is_left(state, parent, instant):
                await self.cancel([child], parent.run_id)

    async def part(self, parent: LiveRun, children: Iterable[str]) -> bool:
        """Cancel those of the children, and of those that the parent has given up, that another kernel runs, before the
        parent ends; False if its kernel closes, or has lost it, before that is done: then its end is left to the next
        owner."""
        now = self._kernel.clock.now()
        if not (left := {**dict.fromkeys(children, now), **left_behind(parent.state, now)}):
            return True
        with anyio.CancelScope(shield=True):
            while (told := await self._try_to_part(parent, left)) is None:
                if not (parent.is_lost or parent.is_closing):
                    with parent.waits():
                        await self._second()
                if parent.is_lost or parent.is_closing:
                    break
        return told is True

    async def _try_to_part(self, parent: LiveRun, children: Mapping[str, int]) -> bool | None:
        """Return whether those of the children that another kernel runs are cancelled; None if it is to be tried
        again."""
        try:
            await self.cancel_elsewhere(children, parent.state, parent.written)
        except KernelClosedError:
            return False
        except StoreError as error:
            logger.warning("run %s cannot end, it cannot reach its children: %s", parent.state.run_id, error)
            return None
        return True

    async def cancel_elsewhere(
        self,
        children: Mapping[str, int],
        parent: RunSummary | WorkflowState,
        written: Callable[[], Awaitable[None]] = checkpoint,
    ) -> None:
        """Cancel like `cancel_given_up` those of the children that another kernel runs, which lives, once it is
        `written` that the parent has given them up.

        Raises StoreError, KernelClosedError: the end of the parent must not be recorded then."""
        for child in await self._elsewhere([child for child in children if not self._is_here(child)]):
            try:
                await written()
                if _is_left(await self._kernel.inspect(child), parent, children[child]):
                    await self._kernel.cancel(child, abandoned_by(parent.run_id), by=f"run {parent.run_id}")
            except FlujoError as error:
                if isinstance(error, (StoreError, KernelClosedError)) and not isinstance(error, CorruptStoreError):
                    raise
                logger.warning("run %s was not cancelled with its parent: %s", child, error)

    async def _elsewhere(self, children: Sequence[str]) -> list[str]:
        """Return those of the children that another kernel runs, which lives."""
        found: list[str] = []
        while children:
            answer = await self._kernel.backend.read_runs(children, 0)
            for child, run in zip(children, answer, strict=False):  # the answer may be a part
                if not isinstance(run, StoredRun) or run.summary.status not in LIVE:
                    continue
                owner = run.summary.owner
                if owner not in (None, self._kernel.id) and await self._kernel.backend.is_alive(owner):
                    found.append(child)
            children = children[len(answer) :]
        return found


def _is_free(parent: LiveRun, child: str) -> bool:
    """Take the id of a child for it, and return True, unless another child of the parent has it in other letters: a
    store tells no ids apart by upper and lower case."""
    if parent.child_ids is None:
        begun = (step.child for step in parent.state.steps.values() if step.child is not None)
        parent.child_ids = {each.lower(): each for each in begun}
    return parent.child_ids.setdefault(child.lower(), child) == child


def _is_left(child: WorkflowState, parent: RunSummary | WorkflowState, instant: int) -> bool:
    """True if a child of this life of the parent goes on, and nobody else has resumed it since it was given up."""
    mine = is_child(child, parent.run_id, parent.created_at)
    return mine and was_begun_for_parent(child, instant) and not child.is_final


def child_id(parent: str, key: str, generation: int, life: str = "") -> str:
    """Return the id of the child of a step: readable where that fits, and the same on every replay. `life` is a uid
    that tells it from another run of the same id."""
    suffix = (f".{life[:8]}" if life else "") + ("" if generation == 1 else f".g{generation}")
    plain = f"{parent}.{re.sub(_NOT_IN_IDS, '-', key)}{suffix}"
    if len(plain) <= LONGEST_ID and not re.search(_NOT_IN_IDS, key):
        return plain
    digest = hashlib.blake2b(f"{parent}/{key}/{generation}/{life}".encode(), digest_size=8).hexdigest()
    return f"{plain[: LONGEST_ID - len(digest) - 1]}.{digest}"
