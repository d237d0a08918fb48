"""Runs that a run has started: cancel goes down, failure goes up, and a retry resumes the failed child.

The parent records the id of its child before the child is created, so that there is never a child nobody knows of. A
child is an ordinary run with `parent_run_id`; it is recovered, watched and cancelled like any other.

    choose      which run the next attempt of a child step waits for, and how often that has to be resumed for its end
                to count
    outcome     start it, take it up or resume it, and wait for its end
    abandoned   the parent no longer waits: if that is because it ends, so does the child
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .attempts import Failed
from .errors import FlujoError, KernelClosedError, RunInterrupted, RunNotFoundError, StoreError
from .programs import Workflow
from .retry import recorded_names
from .runs import LiveRun
from .state import FINAL, Failure, RunStatus, StepState, StepStatus
from .transitions import Stop

if TYPE_CHECKING:
    from .kernel import Kernel

logger = logging.getLogger("flujo.kernel")

LONGEST_ID = 100
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._-]+")


class ChildCall(NamedTuple):
    """What a program asks of a child."""

    workflow: Workflow | str
    inputs: Mapping[str, Any]
    labels: Mapping[str, str]


class ChildRuns:
    """The children of the runs of one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    async def choose(self, parent: LiveRun, key: str, generation: int, step: StepState | None) -> tuple[str, int]:
        """(run id, resumes) for the next attempt of a child step.

        The child of an earlier attempt or generation goes on, unless it has completed: then the parent asks for another
        one. So does a parent that was started anew under its id, while a child of its former life is still there."""
        parent_id = parent.state.run_id
        child = (step.child if step is not None else None) or child_id(parent_id, key, 1)
        try:
            summary = await self._kernel.backend.load(child)
        except RunNotFoundError:
            return child, 0
        if summary.created_at < parent.state.created_at or summary.parent_run_id != parent_id:
            return child_id(parent_id, key, generation, parent.uid), 0
        if summary.status == RunStatus.COMPLETED:
            return child_id(parent_id, key, generation), 0
        if summary.status in (RunStatus.FAILED, RunStatus.CANCELLED):
            return child, summary.resume_count + 1
        return child, summary.resume_count

    async def outcome(self, parent: LiveRun, step: StepState, call: ChildCall) -> str | Failed:
        """The output of the child, as JSON text, or its failure, once it has ended."""
        assert step.child is not None
        try:
            await self._kernel.start_child(parent.state.run_id, step.child, call)
            summary = await self._kernel.backend.load(step.child)
            if summary.status in FINAL and summary.resume_count < step.child_resumes:
                await self._kernel.resume(step.child, by=f"run {parent.state.run_id}")
            await self._until_final(step.child)
            state = await self._kernel.inspect(step.child)
        except (StoreError, KernelClosedError):
            raise
        except FlujoError as error:  # a workflow that is not there, inputs it does not take, an id that is taken
            return Failed(Failure(type(error).__name__, str(error), step.name, step.attempt), ())
        if state.status is RunStatus.COMPLETED:
            assert state.output_json is not None
            return state.output_json
        if state.status is RunStatus.CANCELLED:
            failure = Failure("RunCancelled", f"run {step.child} was cancelled", step.name, step.attempt)
            return Failed(failure, ("RunCancelled",))
        assert state.error is not None
        message = f"run {step.child} failed: {state.error.message}"
        failure = Failure(state.error.type, message, step.name, step.attempt, state.error.details)
        return Failed(failure, recorded_names(state.error.type))

    async def _until_final(self, child: str) -> None:
        """Return when the child is final; one that nobody runs is taken up."""
        while True:
            try:
                if (await self._kernel.wait(child)).status in FINAL:
                    return
            except RunInterrupted:
                await self._kernel.take_up(child)
                continue
            async with aclosing(self._kernel.watch(child)) as events:  # paused: until somebody resumes it
                async for _ in events:
                    pass

    def abandoned(self, parent: LiveRun, key: str) -> None:
        """A child step is left. When the run, or the program, has cancelled it, the child is cancelled as well."""
        step = parent.state.steps.get(key)
        ends = parent.stopped is None or parent.stopped in (Stop.CANCEL, Stop.TIMEOUT)
        if step is not None and step.child is not None and step.status is StepStatus.WAITING and ends:
            parent.spawn(partial(self._cancel, step.child, parent.state.run_id))

    async def _cancel(self, child: str, parent: str) -> None:
        try:
            await self._kernel.cancel(child, f"its parent {parent} was cancelled", by=f"run {parent}")
        except FlujoError as error:
            logger.warning("run %s was not cancelled with its parent: %s", child, error)


def child_id(parent: str, key: str, generation: int, life: str = "") -> str:
    """The id of the child of a step: readable where that fits, and the same on every replay. `life` is a uid that tells
    it from a child of another run of the same id."""
    suffix = (f".{life[:8]}" if life else "") + ("" if generation == 1 else f".g{generation}")
    plain = f"{parent}.{_NOT_IN_IDS.sub('-', key)}{suffix}"
    if len(plain) <= LONGEST_ID and not _NOT_IN_IDS.search(key):
        return plain
    digest = hashlib.blake2b(f"{parent}/{key}/{generation}/{life}".encode(), digest_size=8).hexdigest()
    return f"{plain[: LONGEST_ID - len(digest) - 1]}.{digest}"
