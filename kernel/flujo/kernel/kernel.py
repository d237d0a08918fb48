"""The kernel: owns runs, drives their programs, and keeps the promise that what it acknowledged survives.

    async with Kernel(open_backend("sqlite:state.db"), workflows=[report]) as kernel:
        handle = await kernel.start(report, {"day": "2026-11-22"}, run_id="report-2026-11-22")
        print(await handle.result())

Entering it recovers the runs of its workflows that no live process runs. Leaving it stops in good order: attempts
in progress are recorded as interrupted, and the runs wait for whoever opens the store next.

    residents   the runs it has in memory, and the tasks that drive them
    takeover    becoming the owner of a run: recovery, resume, cancelling what nobody runs
    inbox       what other processes ask of its runs
    catalogue   the workflows it knows
    retention   forgetting old runs in the background
    committer   everything recorded, on its way to the store"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack, overload

import anyio

from .api import R, RunHandle, result_of
from .clock import Clock, Identifiers, RandomBytes
from .errors import (
    FlujoError,
    InvalidValueError,
    KernelClosedError,
    RunActiveError,
    RunExistsError,
    RunFinishedError,
    RunInterrupted,
    RunNotFoundError,
    RunNotPausedError,
    RunReplacedError,
    StoreError,
)
from .execution.child_runs import ChildCall, ChildRuns
from .execution.committer import Committer
from .execution.current_attempt import account
from .execution.live_run import LiveRun
from .execution.programs import RunStart, Workflow
from .execution.subprocesses import Children
from .journal import amendments, events
from .journal.amendments import Amendment
from .journal.decisions import Stop, set_output, skip
from .journal.events import Fact
from .journal.explanation import Explanation, explain
from .journal.fold import add_up
from .journal.fork import history
from .journal.requests import Mark, cancel_answer, id_for, is_repeat, mark, pause_answer, unmarked
from .journal.rest import Rest
from .journal.state import FINAL, PauseReason, RunStatus, WorkflowState
from .journal.summaries import RunSummary
from .keys import check_run_id, check_step_name, check_variable_name
from .observer import Observer
from .outcomes import CancelOutcome, Delivery, PauseOutcome
from .ownership.inbox import Inbox
from .ownership.live_runs import Limits, Residents
from .ownership.resting import RestReader
from .ownership.resumption import ResumeOptions, Resumption, require_fit
from .ownership.takeover import Takeover
from .ownership.timers import Timers
from .ownership.workflow_registry import Catalogue
from .store.backend import Refused, RunFilter, StateBackend, StoredDefinition
from .store.filters import check_labels, check_mapping, check_text
from .store.reading import read_journal
from .store.retention import Retention, Sweeper
from .values import decode, encode, encode_given

logger = logging.getLogger("flujo.kernel")


class Kernel(Observer):
    """Runs workflows on one backend. An async context manager, to be entered once."""

    def __init__(
        self,
        backend: StateBackend,
        workflows: Iterable[Workflow] = (),
        *,
        recover: bool = True,
        max_steps: int | None = None,
        max_runs: int | None = None,
        max_resident: int = 1000,
        limits: Mapping[str, int] | None = None,
        max_interruptions: int = 3,
        workspaces: Path = Path(".flujo/workspaces"),
        retention: Retention | None = None,
        load_definition: Callable[[StoredDefinition], Workflow] | None = None,
        clock: Clock | None = None,
        random: RandomBytes = os.urandom,
    ) -> None:
        """`max_steps` bounds how many step bodies run at once, `max_runs` how many runs are at work at once: further
        ones wait for their turn in the store (default: no bounds). `limits` bounds, by name, the bodies of the steps
        that name a limit; those of a YAML step are under `task:NAME`. `max_resident` is how many runs are held in
        memory; beyond that, those that only wait are not, and come back when their time has come. `max_interruptions`
        is how many owners one step may outlive before its run is paused. `workspaces` is where runs get a folder of
        their own, if their workflow wants one. `retention` says which old runs the kernel forgets by itself, of
        workflows that have no rule of their own. `load_definition` rebuilds a workflow from a stored text, for runs
        that were started with another one. Raises ValueError for a limit below 1."""
        super().__init__(backend, workspaces=workspaces, clock=clock)
        self._recover_at_start = recover
        self._identifiers = Identifiers(self.clock, random)
        self.id = f"{_host()}-{os.getpid()}-{self._identifiers.uid()[:8]}"
        self._catalogue = Catalogue(workflows, load_definition)
        bounds = Limits(max_steps, max_runs, max_resident, limits or {})
        self._residents = Residents(self.id, self.clock, random, bounds)
        self._inbox = Inbox(backend, self.clock, self._residents)
        self._timers = Timers(backend, self.clock, self._residents, self._revive)
        self._takeover = Takeover(
            backend,
            self.clock,
            self._catalogue,
            self._residents,
            self._inbox,
            max_interruptions,
            self._timers.note,
        )
        own_rules = {name: each.retention for name, each in self.workflows.items() if each.retention is not None}
        self._sweeper = Sweeper(backend, self.clock, own_rules, retention, self._remove_files)
        self._inbox.revive, self._residents.room = self._revive, self._bring_back
        self._residents.left = self._has_left
        self._rests = RestReader(backend, self.clock, self.inspect, self._residents.get, self._catalogue.may_know)
        self._committer: Committer | None = None
        self._lifetime: AbstractAsyncContextManager[None] | None = None

    def __repr__(self) -> str:
        return f"<kernel {self.id} on {self.backend.url}, {len(self._residents)} live runs>"

    @property
    def workflows(self) -> Mapping[str, Workflow]:
        """The workflows that can be started by name."""
        return self._catalogue.registered

    def accept_definitions(self, load: Callable[[StoredDefinition], Workflow]) -> None:
        """Rebuild workflows from stored texts with `load`, unless the kernel was given a way to do so."""
        self._catalogue.load = self._catalogue.load or load

    @property
    def committer(self) -> Committer:
        """The committer; raises KernelClosedError outside of the context manager."""
        return self._residents.committer

    # -- opening and closing ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._lifetime = self._live_once()
        await self._lifetime.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lifetime is not None
        await self._lifetime.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _live_once(self) -> AsyncIterator[None]:
        await self.backend.open(self.id)
        failure: BaseException | None = None
        children: Children | None = None
        try:
            children = Children(self.backend.liveness_fd, account)
            committer = Committer(self.backend, self.clock, self._residents.committed, self._residents.lose_all)
            self._committer = committer
            served = anyio.Event()
            async with anyio.create_task_group() as group:
                self._residents.open(group, committer, children, ChildRuns(self))
                group.start_soon(_serve_commits, committer, served)
                group.start_soon(self._inbox.serve)
                group.start_soon(self._timers.serve)
                if self._sweeper.has_rules:
                    group.start_soon(self._forget_old_runs)
                try:
                    if self._recover_at_start:
                        await self.recover()
                    yield
                except (Exception, KeyboardInterrupt, SystemExit) as error:
                    # Kept out of the task group, which would hand it on inside an ExceptionGroup.
                    failure = error
                finally:
                    # In a task of its own: this one may be cancelled a second time by what knows no shield, such as
                    # asyncio's Task.cancel(), and then the committer would be waited for and never told to end.
                    group.start_soon(self._shut_down, committer, served, group.cancel_scope)
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    if children is not None:
                        await children.close()
                finally:
                    await self.backend.close()
        if failure is not None:
            raise failure

    async def _shut_down(self, committer: Committer, served: anyio.Event, rest: anyio.CancelScope) -> None:
        self._residents.close()
        try:
            with anyio.CancelScope(shield=True):
                await self._residents.stop_all()
                committer.close()
                await served.wait()
                if not isinstance(committer.failure, StoreError):
                    try:
                        await self.backend.release(None)
                    except StoreError as error:
                        # Only a courtesy: this owner is not alive any more once the backend is closed.
                        logger.warning("runs were not released: %s", error)
        finally:
            # Also when a second Ctrl-C lands just here: nobody else would tell the committer to end.
            committer.close()
            rest.cancel()

    async def _forget_old_runs(self) -> None:
        await self._sweeper.serve()

    async def _revive(self, run_id: str) -> None:
        await self._bring_back(run_id)

    async def _bring_back(self, run_id: str) -> bool:
        """Have a run in memory again if it can go on here; False when the store does not answer."""
        try:
            await self._takeover.revive(run_id)
        except (RunNotFoundError, KernelClosedError):
            pass
        except StoreError as error:
            logger.warning("run %s could not be brought back: %s", run_id, error)
            return False
        return True

    def _has_left(self, run: LiveRun) -> None:
        if (instant := run.state.timeout_at) is not None:
            self._timers.note_timeout(instant, run.uid, run.state.run_id)
        if run.uid in self._residents.in_line:
            pass  # called when its turn comes
        elif run.state.status is RunStatus.WAITING:
            self._timers.note(run.state.wake_at)
        else:  # something came in the tick in which it was told to leave
            self._residents.spawn(partial(self._revive, run.state.run_id))
        self._inbox.look_again()

    # -- starting -----------------------------------------------------------------------------------------------

    @overload
    async def start(
        self,
        workflow: Workflow[R],
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self,
        workflow: Workflow | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> RunHandle: ...
    async def start(
        self,
        workflow: Workflow | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> RunHandle:
        """Start a run and return once it is durable; it goes on whatever becomes of the caller.

        The same `run_id` with the same workflow and inputs returns the run that exists (`created` is false), and
        takes it up if nobody runs it; with others it raises RunExistsError. So does the same `request_id` without a
        `run_id`, which is then made from it; with others it raises RequestReusedError. Raises InvalidInputError,
        InvalidNameError, InvalidValueError, PayloadTooLargeError, WorkflowNotFoundError, StoreError."""
        inputs, labels = check_mapping("inputs", inputs), check_mapping("labels", labels)
        chosen = self._catalogue.choose(workflow)
        request = mark(
            request_id,
            "start",
            workflow=chosen.name,
            definition=_digest(chosen),
            inputs=inputs,
            labels=labels,
        )
        name = self._new_id(run_id, request)
        created = await self._creation(chosen, name, inputs, labels)
        handle = await self._start(chosen, name, created._replace(request=request))
        return replace(handle, workflow=chosen if isinstance(workflow, Workflow) else None)

    def _new_id(self, given: str | None, request: Mark | None, forked_from: str = "") -> str:
        """The id of a run to be: the one given, else the one a request always comes to, else a fresh one."""
        if given is not None:
            return check_run_id(given)
        return self._identifiers.run_id() if request is None else id_for(request, forked_from)

    async def start_child(self, parent: WorkflowState, run_id: str, call: ChildCall) -> RunHandle:
        """Start a run as the child of another one, or attach to it if it is there; for the kernel's own use."""
        chosen = self._catalogue.choose(call.workflow)
        created = await self._creation(chosen, run_id, dict(call.inputs), call.labels)
        created = created._replace(parent_run_id=parent.run_id)
        return await self._start(chosen, run_id, created, not_before=parent.created_at)

    async def was_called_with(self, run: RunSummary, call: ChildCall) -> bool:
        """Whether a child was started for this call; also when that cannot be known. For the kernel's own use."""
        (row,) = await self.backend.read_events(run.run_id, run.uid, 0, 1)
        created = events.decode(row).fact
        assert isinstance(created, events.RunCreated)
        try:
            chosen = self._catalogue.choose(call.workflow)
            inputs = encode_given("the inputs", chosen.check_inputs(dict(call.inputs)))
        except FlujoError:
            return True
        return created.workflow == chosen.name and decode(created.inputs) == decode(inputs)

    async def _creation(
        self, chosen: Workflow, run_id: str, inputs: dict[str, Any], labels: Mapping[str, str]
    ) -> events.RunCreated:
        return events.RunCreated(
            workflow=chosen.name,
            inputs=encode_given("the inputs", chosen.check_inputs(inputs)),
            version=chosen.version,
            definition=_digest(chosen),
            plan=chosen.plan,
            labels=check_labels({**chosen.labels, **labels}),
            timeout_seconds=chosen.timeout_seconds,
            environment=_require_json({**await self._environment(chosen, run_id), **chosen.defaulted(inputs)}),
        )

    async def _start(
        self,
        chosen: Workflow,
        run_id: str,
        created: events.RunCreated,
        history: Iterable[Fact] = (),
        *,
        not_before: int = 0,
    ) -> RunHandle:
        """Bring a new run into being, with a history if it has one already. Its clock does not begin before an instant
        that it must not seem older than."""
        state = WorkflowState(run_id=run_id, uid=self._identifiers.uid(), updated_at=not_before)
        # From here to the task that drives the run nothing waits: a kernel that closes meanwhile refuses the run.
        run = self._residents.make(state, chosen, token=1)
        batch = run.record(created, definition=chosen.definition)
        for fact in history:
            run.record(fact)
        if self._residents.is_full:
            self._residents.line_up(run, batch)
        else:
            self._residents.bring_up(run, batch)
        await batch.durable()
        if batch.refused.get(run.uid) is Refused.EXISTS:
            if (known := await self._made_before(run_id, created.request)) is not None:
                return known
            if created.forked_from is not None:
                raise RunExistsError(run_id, "a history of its own; a fork is always a new run")
            return await self._attach(run_id, chosen, created.inputs)
        return RunHandle(self, run_id)

    async def fork(
        self,
        run_id: str,
        *,
        from_step: str | None = None,
        new_run_id: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        workflow: Workflow | None = None,
        request_id: str | None = None,
    ) -> RunHandle:
        """Start a new run that has everything a resume of this one from `from_step` would keep; by default
        everything but the failure that ended it. The old run stays as it is, and the new one gets a workspace of its
        own.

        The same `request_id` again returns the fork that exists (`created` is false), and takes it up if nobody runs
        it. Raises RunNotFoundError, StepNotFoundError, RunExistsError, StateIncompatibilityError,
        WorkflowNotFoundError, InvalidInputError, InvalidNameError, PayloadTooLargeError, RequestReusedError."""
        inputs, labels = check_mapping("inputs", inputs), check_mapping("labels", labels)
        request = mark(
            request_id,
            "fork",
            run=run_id,
            from_step=from_step,
            inputs=inputs,
            labels=labels,
            definition=_digest(workflow),
        )
        name = self._new_id(new_run_id, request, forked_from=run_id)
        if (known := await self._made_before(name, request)) is not None:
            return known
        summary = await self.backend.load(run_id)
        journal = await read_journal(self.backend, summary)
        state = add_up(run_id, summary.uid, journal)
        chosen = workflow or await self._catalogue.of(state, self.backend)
        facts = [unmarked(fact) for fact in history(journal, state, from_step)]
        inherited = chosen.inherited(state.inputs, state.environment)
        created = await self._creation(chosen, name, {**inherited, **inputs}, {**state.labels, **labels})
        kept = {getattr(fact, "step", None) for fact in facts}
        require_fit(state, chosen, invalidated=[name for name in state.steps if name not in kept])
        return await self._start(chosen, name, created._replace(forked_from=run_id, request=request), facts)

    async def _made_before(self, run_id: str, request: Sequence[str] | None) -> RunHandle | None:
        """The run that this very request has made, taken up if nobody runs it."""
        if request is None:
            return None
        try:
            if await self._recorded(run_id, request) is None:
                return None
        except RunNotFoundError:
            return None
        await self.take_up(run_id)
        return RunHandle(self, run_id, created=False)

    @overload
    async def run(
        self,
        workflow: Workflow[R],
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> R: ...
    @overload
    async def run(
        self,
        workflow: Workflow | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Any: ...
    async def run(
        self,
        workflow: Workflow | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Any:
        """Start a run and return its output, as RunHandle.result does."""
        handle = await self.start(workflow, inputs, run_id=run_id, labels=labels)
        return await handle.result()

    async def _environment(self, workflow: Workflow, run_id: str) -> Mapping[str, Any]:
        if workflow.environment is None:
            return {}
        number = 1 + await self.backend.count(RunFilter(workflow=workflow.name))
        assert self.workspaces is not None
        workspace = self.workspaces.absolute() / run_id
        return workflow.environment(RunStart(run_id, self.clock.now(), number, workspace))

    async def _attach(self, run_id: str, workflow: Workflow, inputs: str) -> RunHandle:
        """The run that has this id already, if it is the same run."""
        try:
            state = await self.inspect(run_id)
        except RunNotFoundError:
            raise RunExistsError(run_id, "an id that differs only in upper and lower case") from None
        if state.workflow != workflow.name:
            raise RunExistsError(run_id, f"the workflow {state.workflow!r}")
        if decode(state.inputs_json) != decode(inputs):
            raise RunExistsError(run_id, "other inputs")
        await self._takeover.take_up(await self.backend.load(run_id))
        return RunHandle(self, run_id, created=False)

    # -- resuming and recovering --------------------------------------------------------------------------------

    async def resume(self, run_id: str, **options: Unpack[ResumeOptions]) -> RunHandle:
        """As Runs.resume."""
        asked = Resumption(**options)
        await self._takeover.resume(run_id, asked, asked.mark())
        return RunHandle(self, run_id, created=False)

    async def take_up(self, run_id: str) -> None:
        """Go on with a run of this kernel's workflows if nobody runs it."""
        await self._takeover.take_up(await self.backend.load(run_id))

    async def recover(self) -> int:
        """Take up every unfinished run of this kernel's workflows that nobody runs; returns how many."""
        return await self._takeover.recover()

    # -- requests -----------------------------------------------------------------------------------------------

    async def _present(self, run_id: str) -> LiveRun | None:
        """The live run of this id, brought back if it is away; None if it is not ours, or cannot be reached."""
        run = self._residents.find(run_id)
        if run is None and self._residents.away:
            summary = await self.backend.load(run_id)
            if summary.uid in self._residents.away:
                await self._takeover.bring_back(run_id)
                run = self._residents.find(run_id)
        return run

    async def _recorded(self, run_id: str, request: Sequence[str] | None) -> WorkflowState | None:
        # Does not wait for a run of ours that has not recorded it: whoever asks may record it in the same tick.
        run = None if request is None else self._residents.find(run_id)
        if run is not None and not run.is_lost:
            if not is_repeat(run.state, request):
                return None
            await run.written()
            if not run.is_lost:
                return run.state
        return await super()._recorded(run_id, request)

    async def signal(
        self, run_id: str, name: str, payload: Any = None, *, by: str | None = None, request_id: str | None = None
    ) -> Delivery:
        """As Observer.signal; a run of this kernel has it in its journal on return."""
        check_text("by", by)
        run = await self._present(run_id)
        if run is not None and run.takes_requests:
            payload_json = encode_given("the payload", payload)
            request = mark(request_id, "signal", name=check_step_name(name), payload=payload, by=by)
            if await self._recorded(run_id, request) is not None:
                return Delivery.RECORDED
            batch = run.receive(events.SignalReceived(check_step_name(name), payload_json, by, request))
            await batch.durable()
            if run.uid not in batch.refused and run.stopped is not Stop.FENCED:
                return Delivery.RECORDED
        return await super().signal(run_id, name, payload, by=by, request_id=request_id)

    async def cancel(
        self, run_id: str, reason: str | None = None, *, by: str | None = None, request_id: str | None = None
    ) -> CancelOutcome:
        """Ask a run to stop; durable on return. A run that nobody runs is cancelled at once, and becomes this
        kernel's for that.

        Raises RunNotFoundError, RequestReusedError, StoreError.
        """
        check_text("reason", reason)
        check_text("by", by)
        request = mark(request_id, "cancel", reason=reason, by=by)
        fact = events.CancelRequested(reason, by, request)
        run = await self._present(run_id)
        if (state := await self._recorded(run_id, request)) is not None:
            return cancel_answer(state)
        if run is not None and run.takes_requests:
            batch = run.record(fact)
            run.stop(Stop.CANCEL)
            await batch.durable()
            if run.uid not in batch.refused and run.stopped is not Stop.FENCED:
                return CancelOutcome.REQUESTED
        summary = await self.backend.load(run_id)
        if summary.status in FINAL:
            return CancelOutcome.ALREADY_FINISHED
        if run is not None and run.stopped is Stop.CANCEL and summary.owner == self.id:
            return CancelOutcome.REQUESTED  # it is stopping already
        try:
            if summary.owner is not None and await self.backend.is_alive(summary.owner):
                await self._post(run_id, "cancel", {"reason": reason, "by": by}, request)
                return CancelOutcome.REQUESTED
            return await self._takeover.cancel(run_id, fact)
        except RunFinishedError:
            return CancelOutcome.ALREADY_FINISHED
        except RunActiveError:  # somebody has just taken it up
            return await self.cancel(run_id, reason, by=by, request_id=request_id)

    async def pause(
        self, run_id: str, reason: str | None = None, *, by: str | None = None, request_id: str | None = None
    ) -> PauseOutcome:
        """Ask a run to pause, durable on return: running bodies end and are recorded, nothing else begins. A run that
        nobody runs is paused at once.

        Raises RunNotFoundError, RunFinishedError, RequestReusedError, StoreError."""
        check_text("reason", reason)
        check_text("by", by)
        request = mark(request_id, "pause", reason=reason, by=by)
        fact = events.PauseRequested(reason, by, request)
        run = await self._present(run_id)
        if (state := await self._recorded(run_id, request)) is not None:
            return pause_answer(state)
        if run is not None and run.takes_requests:
            batch = run.record(fact)
            await batch.durable()
            if run.uid not in batch.refused and run.stopped is not Stop.FENCED:
                return PauseOutcome.REQUESTED
        summary = await self.backend.load(run_id)
        if summary.status == RunStatus.PAUSED:
            return PauseOutcome.ALREADY_PAUSED
        if summary.status in FINAL:
            raise RunFinishedError(run_id, summary.status)
        if run is not None and run.stopped is Stop.PAUSE and summary.owner == self.id:
            return PauseOutcome.REQUESTED  # it is stopping already
        if summary.owner is not None and await self.backend.is_alive(summary.owner):
            await self._post(run_id, "pause", {"reason": reason, "by": by}, request)
            return PauseOutcome.REQUESTED
        try:
            await self._takeover.amend(run_id, lambda state: _paused(state, fact), request)
        except RunActiveError:  # somebody has just taken it up
            return await self.pause(run_id, reason, by=by, request_id=request_id)
        return PauseOutcome.PAUSED

    async def unpause(self, run_id: str, *, by: str | None = None, request_id: str | None = None) -> RunHandle:
        """Let a paused run go on; raises RunNotPausedError, and what `resume` raises."""
        check_text("by", by)
        request = mark(request_id, "unpause", by=by)
        summary = await self.backend.load(run_id)
        if summary.status != RunStatus.PAUSED and await self._recorded(run_id, request) is None:
            raise RunNotPausedError(run_id, summary.status)
        await self._takeover.resume(run_id, Resumption(by=by), request, only_paused=True)
        return RunHandle(self, run_id, created=False)

    async def skip(
        self,
        run_id: str,
        step: str,
        output: Any = None,
        *,
        reason: str | None = None,
        by: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Mark a step of a run that nobody runs as skipped, with an output if it needs one; the next resume goes on
        from there. Raises RunNotFoundError, RunActiveError, RunFinishedError, StepNotFoundError, StepCompletedError,
        InvalidValueError, PayloadTooLargeError, RequestReusedError."""
        recorded = None if output is None else encode_given("the output", output)
        check_text("reason", reason)
        check_text("by", by)
        request = mark(request_id, "skip", step=step, output=output, reason=reason, by=by)

        def decide(state: WorkflowState) -> list[Fact]:
            return [skip(_unfinished(state), step, recorded, by, (), reason)._replace(request=request)]

        await self._takeover.amend(run_id, decide, request)

    async def set_output(
        self,
        run_id: str,
        step: str,
        output: Any,
        *,
        reason: str | None = None,
        by: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Give a step of a run that nobody runs its output, as if it had completed. Raises as `skip`."""
        recorded = encode_given("the output", output)
        check_text("reason", reason)
        check_text("by", by)
        request = mark(request_id, "set_output", step=step, output=output, reason=reason, by=by)

        def decide(state: WorkflowState) -> list[Fact]:
            return [set_output(_unfinished(state), step, recorded, by, reason)._replace(request=request)]

        await self._takeover.amend(run_id, decide, request)

    async def set_variable(
        self,
        run_id: str,
        name: str,
        value: Any,
        *,
        reason: str | None = None,
        by: str | None = None,
        request_id: str | None = None,
    ) -> Delivery:
        """Set a variable of a run, durable on return. Raises RunNotFoundError, RunFinishedError, InvalidNameError,
        InvalidValueError, PayloadTooLargeError, RequestReusedError."""
        recorded = encode_given("the value", value)
        check_variable_name(name)
        check_text("reason", reason)
        check_text("by", by)
        request = mark(request_id, "set_variable", name=name, value=value, reason=reason, by=by)
        fact = events.VariableSet(name, recorded, reason=reason, by=by, request=request)
        run = await self._present(run_id)
        if await self._recorded(run_id, request) is not None:
            return Delivery.RECORDED
        if run is not None and run.takes_requests:
            batch = run.record(fact)
            await batch.durable()
            if run.uid not in batch.refused and run.stopped is not Stop.FENCED:
                return Delivery.RECORDED
        summary = await self.backend.load(run_id)
        if summary.owner is not None and await self.backend.is_alive(summary.owner):
            body = {"name": name, "value": recorded, "reason": reason, "by": by}
            await self._post(run_id, "set_variable", body, request)
            return Delivery.POSTED
        try:
            await self._takeover.amend(run_id, lambda state: [_for_unfinished(state, fact)], request)
        except RunActiveError:
            return await self.set_variable(run_id, name, value, reason=reason, by=by, request_id=request_id)
        return Delivery.RECORDED

    async def amend(
        self,
        run_id: str,
        changes: Sequence[Amendment],
        *,
        uid: str | None = None,
        reason: str | None = None,
        by: str | None = None,
    ) -> None:
        """Carry out several changes in a run that nobody runs, in one commit: all of them or none. With `uid`, only in
        that life of the run.

        Raises RunNotFoundError, RunReplacedError, RunActiveError, RunFinishedError, StepNotFoundError,
        StepCompletedError, InvalidNameError, InvalidValueError, PayloadTooLargeError."""
        check_text("reason", reason)
        check_text("by", by)

        def decide(state: WorkflowState) -> list[Fact]:
            if uid is not None and state.uid != uid:
                raise RunReplacedError(run_id)
            return amendments.decide(state, changes, by=by, reason=reason)

        await self._takeover.amend(run_id, decide)

    async def explain(self, run_id: str) -> Explanation:
        """As Observer.explain; this kernel also knows which workflows it has, and what waits for its turn."""
        state = await self.inspect(run_id)
        queued = self._residents.queued(state.uid)
        return explain(
            state,
            self.clock.now(),
            known=self._catalogue.may_know(state.workflow, state.definition),
            queued=sorted(queued),
            limits={step: limit for step, limit in queued.items() if limit is not None},
            is_queued=run_id in self._residents.queue,
        )._replace(rest=await self._rests.rest(run_id))

    async def suspend(self, run_id: str) -> Rest | None:
        """End the driving of a run and its children if nothing of them can happen before an instant or a signal.

        Returns what they wait for; None, and nothing has changed, if something can happen now. No body is ended. The
        runs stay this kernel's until it is closed, and then wait in the store. Raises RunNotFoundError, StoreError."""
        return await self._rests.suspend(run_id)

    async def _stop(self, run_id: str) -> None:
        with suppress(RunInterrupted):
            await self.cancel(run_id, "it is to be deleted")
            await self.wait(run_id)

    # -- what an observer cannot know ---------------------------------------------------------------------------

    async def wait(self, run_id: str) -> WorkflowState:
        """As Observer.wait; a run of this kernel is not looked at in the store before it has ended."""
        settled = await self._settled_here(run_id)
        return await super().wait(run_id) if settled is None else deepcopy(settled)

    async def result(self, run_id: str) -> Any:
        """As Observer.result."""
        settled = await self._settled_here(run_id)
        return await super().result(run_id) if settled is None else result_of(settled)

    async def _settled_here(self, run_id: str) -> WorkflowState | None:
        """The run's own state once it has settled, to be read only; None if it is not live in this kernel, or leaves it
        in another way."""
        if (run := self._residents.find(run_id)) is not None:
            await run.ended.wait()
            if run.failure is not None:
                raise run.failure
            if run.has_settled:
                return run.state
        return None

    def _change(self, uid: str) -> Callable[[], Awaitable[None]]:
        if not self._residents.has(uid):
            return super()._change(uid)
        return self._residents.change(uid)

    def _require_hope(self, summary: RunSummary) -> None:
        # What this kernel owns, nobody else takes up before it is closed; and it records nothing any more.
        if summary.owner == self.id and self._committer is not None and self._committer.failure is not None:
            raise self._committer.failure.with_traceback(None)

    async def _is_abandoned(self, summary: RunSummary) -> bool:
        self._require_hope(summary)
        if summary.owner == self.id and not self._residents.has(summary.uid):
            # Ended between the two looks: the next look sees how.
            return (await self.backend.load(summary.run_id)).owner == self.id
        return await super()._is_abandoned(summary)


def _digest(workflow: Workflow | None) -> str | None:
    """That of the definition of a workflow, if it has one."""
    return None if workflow is None or workflow.definition is None else workflow.definition.digest


def _unfinished(state: WorkflowState) -> WorkflowState:
    """The state itself; raises RunFinishedError for a run that has completed and takes no amendment."""
    if state.status is RunStatus.COMPLETED:
        raise RunFinishedError(state.run_id, state.status)
    return state


def _paused(state: WorkflowState, fact: events.PauseRequested) -> list[Fact]:
    """What pauses a run that nobody runs; it may have ended since it was looked at."""
    if state.status in FINAL:
        raise RunFinishedError(state.run_id, state.status)
    return [] if state.status is RunStatus.PAUSED else [fact, events.RunPaused(PauseReason.REQUESTED)]


def _for_unfinished(state: WorkflowState, fact: Fact) -> Fact:
    _unfinished(state)
    return fact


async def _serve_commits(committer: Committer, served: anyio.Event) -> None:
    # Shielded: what is recorded has to be written however this kernel comes to its end.
    with anyio.CancelScope(shield=True):
        try:
            await committer.serve()
        finally:
            served.set()


def _host() -> str:
    """This machine, for people who read who owns a run; as a part of file names."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()).strip(".-")[:50] or "host"


def _require_json(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    """The environment itself; raises InvalidValueError for what a journal cannot hold, such as text no UTF-8 can."""
    for name, value in environment.items():
        try:
            encode(value)
        except InvalidValueError as error:
            raise InvalidValueError(f"environment.{name}", error.problem) from None
    return environment
