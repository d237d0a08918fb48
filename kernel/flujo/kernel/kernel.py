"""The kernel: owns runs, drives their programs, and keeps the promise that what it acknowledged survives.

    async with Kernel(open_backend("sqlite:state.db"), workflows=[report]) as kernel:
        handle = await kernel.start(report, {"day": "2026-11-22"}, run_id="report-2026-11-22")
        print(await handle.result())

Entering it recovers the runs of its workflows that have no live owner. Leaving it stops in good order: attempts in
progress are recorded as interrupted, and the runs wait for the kernel that opens the store next.

`Kernel` only puts the parts together; each is a module of the room `ownership`:

    live_runs          the runs it owns, and where each of them is
    driver             the tasks that drive them; admission, eviction and recalls beside it
    starting           new runs, children, forks
    takeover           becoming the owner of a run: reload, adopt, resume, amend, cancel; recovery does it for all
    run_requests       the one ladder for what is asked of a run
    inbox              what other processes ask of its runs
    timers             waking runs when their time has come
    many_runs          the same for each of many runs
    workflow_registry  the workflows it knows
    stored_workflows   those that the store has by name
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack, overload

from .api import R, RunHandle
from .checked_calls import Count, CountOrZero, checked
from .clock import Clock, Identifiers, RandomBytes, SystemClock
from .errors import Difference, RunFinishedError, RunInterrupted, RunNotPausedError, RunReplacedError
from .execution.programs import Workflow
from .journal import amendments, events
from .journal.amendments import Amendment
from .journal.decisions import set_output, skip
from .journal.events import Fact
from .journal.explanation import Explanation
from .journal.requests import cancel_answer, pause_answer
from .journal.rest import Rest
from .journal.state import FINAL, RunStatus, WorkflowState
from .journal.summaries import RunSummary
from .keys import check_step_name, check_variable_name
from .lifetimes import Lifetime, until_first
from .observer import DELETED, Observed, Observer
from .outcomes import CancelOutcome, Delivery, PauseOutcome
from .ownership.draining import Draining
from .ownership.driver import Limits
from .ownership.many_runs import HasManyRuns, ManyRuns
from .ownership.resting import RestReader
from .ownership.resumption import ResumeOptions, Resumption, differences_with
from .ownership.run_requests import Answers, RunRequests, paused, unfinished
from .ownership.runtime import Runtime, kernel_id
from .ownership.starting import Fork, ForkOptions, Inputs, RunOptions, Start, Starter, StartOptions
from .ownership.stored_workflows import HasStoredWorkflows, StoredWorkflows
from .ownership.workflow_registry import WorkflowRegistry
from .principals import principal
from .store.asking import Asked, ReasonedOptions, RequestOptions
from .store.backend import StateBackend
from .store.deletion import Deletion
from .store.filters import check_text
from .store.reading import post
from .store.records import StoredDefinition
from .store.retention import Retention, Sweeper
from .store.workspaces import Workspaces
from .values import encode_given

logger = logging.getLogger("flujo.kernel")


@checked
class Kernel(Observed, HasManyRuns, HasStoredWorkflows):
    """Runs workflows on one backend. `api.Runs` documents its calls; those that only read, or prune, are its
    observer's, and those for many runs and for stored workflows stand with these.

    `async with` opens and closes it, or `open` and `close`, which may be called from different tasks. Entering an open
    kernel shares it: the last `async with` that is left closes it, unless `open` has opened it."""

    def __init__(
        self,
        backend: StateBackend,
        workflows: Iterable[Workflow] = (),
        *,
        recover: bool = True,
        max_steps: Count | None = None,
        max_runs: Count | None = None,
        max_resident: CountOrZero = 1000,
        limits: Mapping[str, Count] | None = None,
        max_interruptions: CountOrZero = 3,
        max_threads: Count = 40,
        workspaces: Path = Path(".flujo/workspaces"),
        retention: Retention | None = None,
        load_definition: Callable[[StoredDefinition], Workflow] | None = None,
        load_program: Callable[[WorkflowState], Workflow | None] | None = None,
        clock: Clock | None = None,
        random: RandomBytes = os.urandom,
    ) -> None:
        """`max_steps` bounds how many step bodies run at once, `max_runs` how many runs are at work at once: further
        ones wait for their turn in the store (default: no bounds). `limits` bounds, by name, the bodies of the steps
        that name a limit; those of a YAML step are under `task:NAME`. `max_resident` is how many runs are held in
        memory; beyond that, those that only wait are not, and come back when their time has come. `max_interruptions`
        is how many owners one step may outlive before its run is paused. Plain functions run in `max_threads` threads
        of the kernel's own. `workspaces` is where runs get a folder of their own, if their workflow wants one.
        `retention` says which old runs the kernel forgets by itself, of workflows that have no rule of their own.
        `load_definition` rebuilds a workflow from a stored text, for runs that were started with another one.
        `load_program` finds the program of a run whose workflow the kernel was not given, by what the run has recorded.
        Raises InvalidNameError for a limit below 1."""
        self.backend = backend
        self.workspaces = workspaces
        self.clock: Clock = clock or SystemClock()
        self._follows_store = clock is None and backend.capabilities.several_hosts
        self._files = Workspaces(workspaces, backend)
        self._random = random
        self._recover_at_start = recover
        self._registry = WorkflowRegistry(workflows, load_definition, load_program)
        self._limits = Limits(max_steps, max_runs, max_resident, limits or {}, max_interruptions, max_threads)
        own_rules = {name: each.retention for name, each in self.workflows.items() if each.retention is not None}
        self._sweeper = Sweeper(backend, self.clock, own_rules, retention, self._files.remove)
        self._assemble()

    def _assemble(self) -> None:
        """Put the parts together, under an id of this process."""
        backend, clock, registry = self.backend, self.clock, self._registry
        identifiers = Identifiers(clock, self._random)
        self.id = kernel_id(identifiers.uid())
        self._process = os.getpid()
        self._was_open = False
        runtime = Runtime(backend, clock, self._random, self.id, registry, self._limits)
        self._runtime, self._takeover = runtime, runtime.takeover
        self._observer = Observer(backend, workspaces=self.workspaces, clock=clock, local=runtime.local_runs)
        self._many_runs = ManyRuns(self, clock, self._require_here)
        self._stored_workflows = StoredWorkflows(registry, backend, self._require_here)
        self._requests = RunRequests(backend, clock, runtime.runs, runtime.local_runs, runtime.takeover)
        self._starter = Starter(backend, clock, identifiers, self._files, registry, runtime)
        slots = runtime.driver.awaited_slots
        self._rests = RestReader(backend, clock, self.inspect, runtime.runs.get, slots, registry.may_know)
        self._draining = Draining(
            backend, clock, runtime.runs, runtime.driver, runtime.takeover, self._rests.suspend_own
        )
        self._lifetime = Lifetime(f"kernel {self.id}", self._live)

    def __repr__(self) -> str:
        return f"<kernel {self.id} on {self.backend.url}, {len(self._runtime.runs)} live runs>"

    @property
    def url(self) -> str:
        """Return the URL of the store."""
        return self.backend.url

    @property
    def workflows(self) -> Mapping[str, Workflow]:
        """Return the workflows that can be started by name."""
        return self._registry.registered

    def accept_definitions(self, load: Callable[[StoredDefinition], Workflow]) -> None:
        """Rebuild workflows from stored texts with `load`, unless the kernel was given a way to do so."""
        self._registry.load = self._registry.load or load

    # -- opening and closing ------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Open the kernel, as entering it does, until `close`. An open kernel stays as it is.

        Any task of this event loop may close it. Raises StoreError, and WrongEventLoopError if it is open in another
        event loop."""
        await self._own_lifetime().open()
        return self

    async def close(self) -> None:
        """Close the kernel and return when it is closed: what is in progress is recorded as interrupted. Nothing
        happens if it is closed. A caller that is cancelled meanwhile is told so after that; a run of this kernel does
        not wait. Raises WrongEventLoopError."""
        await self._lifetime.close()

    async def wait_closed(self) -> None:
        """Return when the kernel is closed, and raise what has ended it if nobody has closed it, a bug of flujo, or
        StoreError once its store has failed: no run goes on here after that. Runs go on where they stood once the
        kernel is closed and opened again, and its store works. Raises WrongEventLoopError."""
        await until_first(self._lifetime.wait_closed, self._runtime.driver.raise_once_failed)

    async def __aenter__(self) -> Self:
        await self._own_lifetime().enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._lifetime.leave(error)

    def _require_here(self) -> None:
        self._lifetime.require_here()

    def _own_lifetime(self) -> Lifetime:
        """Return what opens this kernel. Its parts are put together anew if it was open before, since they belong to
        the event loop of that time, and if it was made before a fork: two processes under one id would take each
        other's runs for theirs."""
        is_fresh = self._process == os.getpid() and not self._was_open
        if not is_fresh and not self._lifetime.has_begun:
            self._assemble()
        return self._lifetime

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        self._was_open = True
        self._files.claim()
        background = [self._forget_old_runs] if self._sweeper.has_rules else []
        if self.backend.capabilities.several_hosts:
            background.append(self._draining.serve)
        async with self._runtime.live(
            self, self._starter, background, recover=self._recover_at_start, follow=self._follow_store
        ):
            yield

    def _follow_store(self) -> None:
        """Go by the clock of a store that several hosts share: an instant that one has reckoned is for all of them."""
        if self._follows_store and isinstance(self.clock, SystemClock):
            self.clock.follow(self.backend.time_ns)

    async def _forget_old_runs(self) -> None:
        await self._sweeper.serve()

    async def drain(self) -> None:
        """Take no more runs, hand those over that wait to other kernels, and return when none is left here: what is at
        work ends, or comes to wait. Runs that are started here meanwhile are left to others.

        Where all kernels are on one host there is nobody to take them: raises StoreError."""
        await self.backend.drain(self.id)
        await self._draining.drain()

    # -- starting and resuming ----------------------------------------------------------------------------------

    @overload
    async def start(
        self, workflow: Workflow[R], inputs: Inputs | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle[R]: ...
    @overload
    async def start(
        self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle: ...
    async def start(
        self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle:
        """See Runs.start."""
        started = await self._starter.start(workflow, inputs, Start(**options))
        known = workflow if isinstance(workflow, Workflow) else None
        return RunHandle(self, started.run_id, started.created, known, started.summary)

    async def submit(
        self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[StartOptions]
    ) -> RunHandle:
        """Start a run as `start` does, and leave it to whichever kernel has room for it; this one may take it too.

        Where kernels are on several hosts, one of them takes it within moments. On a store of one host it waits for the
        next kernel that opens it. Raises as `start`."""
        started = await self._starter.start(workflow, inputs, Start(**options), detach=True)
        return RunHandle(self, started.run_id, started.created, as_started=started.summary)

    @overload
    async def run(self, workflow: Workflow[R], inputs: Inputs | None = None, **options: Unpack[RunOptions]) -> R: ...
    @overload
    async def run(
        self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[RunOptions]
    ) -> Any: ...
    async def run(self, workflow: Workflow | str, inputs: Inputs | None = None, **options: Unpack[RunOptions]) -> Any:
        """See Runs.run."""
        return await (await self.start(workflow, inputs, **options)).result()

    async def fork(self, run_id: str, **options: Unpack[ForkOptions]) -> RunHandle:
        """See Runs.fork; the new run gets a workspace of its own."""
        started = await self._starter.fork(run_id, Fork(**options))
        return RunHandle(self, started.run_id, started.created, as_started=started.summary)

    async def resume(self, run_id: str, **options: Unpack[ResumeOptions]) -> RunHandle:
        """See Runs.resume."""
        asked = Resumption(**options)
        await self._takeover.resume(run_id, asked, asked.fingerprint())
        return RunHandle(self, run_id, created=False)

    async def unpause(self, run_id: str, **asked: Unpack[RequestOptions]) -> RunHandle:
        """See Runs.unpause."""
        told = Asked(**asked)
        request = told.fingerprint("unpause")
        summary = await self.backend.load(run_id)
        if summary.status != RunStatus.PAUSED and await self._runtime.local_runs.recorded(run_id, request) is None:
            raise RunNotPausedError(run_id, summary.status)
        await self._takeover.resume(run_id, Resumption(by=told.by), request, only_paused=True)
        return RunHandle(self, run_id, created=False)

    async def recover(self) -> int:
        """Adopt every unfinished run of this kernel's workflows without a live owner; return how many."""
        return await self._runtime.recovery.recover()

    # -- requests -----------------------------------------------------------------------------------------------

    async def signal(self, run_id: str, name: str, payload: Any = None, **asked: Unpack[RequestOptions]) -> Delivery:
        """See Runs.signal; a run of this kernel has it in its journal on return."""
        told = Asked(**asked)
        request = told.fingerprint("signal", name=check_step_name(name), payload=payload)
        fact = events.SignalReceived(name, encode_given("the payload", payload), told.by, request, principal())

        async def store(_: RunSummary) -> Delivery:
            await post(self.backend, run_id, fact, self.clock.now())
            return Delivery.STORED

        answers = Answers(lambda state: Delivery.RECORDED, Delivery.RECORDED, Delivery.POSTED)
        return await self._requests.deliver(run_id, fact, answers, store)

    async def cancel(self, run_id: str, reason: str | None = None, **asked: Unpack[RequestOptions]) -> CancelOutcome:
        """See Runs.cancel. A run without a live owner is cancelled at once, and becomes this kernel's for that
        and for its clean-ups."""
        told = Asked(reason=reason, **asked)
        fact = events.CancelRequested(reason, told.by, told.fingerprint("cancel"), principal())

        async def end(summary: RunSummary) -> CancelOutcome:
            over = summary.status in FINAL
            return CancelOutcome.ALREADY_FINISHED if over else await self._takeover.cancel(run_id, fact)

        answers = Answers(cancel_answer, CancelOutcome.REQUESTED, CancelOutcome.REQUESTED)
        try:
            return await self._requests.deliver(run_id, fact, answers, end)
        except RunFinishedError:  # between the two looks
            return CancelOutcome.ALREADY_FINISHED

    async def pause(self, run_id: str, reason: str | None = None, **asked: Unpack[RequestOptions]) -> PauseOutcome:
        """See Runs.pause. A run without a live owner is paused at once."""
        told = Asked(reason=reason, **asked)
        request = told.fingerprint("pause")
        fact = events.PauseRequested(reason, told.by, request, principal())

        async def hold(summary: RunSummary) -> PauseOutcome:
            if summary.status == RunStatus.PAUSED:
                return PauseOutcome.ALREADY_PAUSED
            await self._takeover.amend(run_id, lambda state: paused(state, fact), request)
            return PauseOutcome.PAUSED

        answers = Answers(pause_answer, PauseOutcome.REQUESTED, PauseOutcome.REQUESTED)
        return await self._requests.deliver(run_id, fact, answers, hold)

    async def set_variable(self, run_id: str, name: str, value: Any, **asked: Unpack[ReasonedOptions]) -> Delivery:
        """See Runs.set_variable."""
        recorded = encode_given("the value", value)
        check_variable_name(name)
        told = Asked(**asked)
        request = told.fingerprint("set_variable", name=name, value=value)
        fact = events.VariableSet(
            name, recorded, reason=told.reason, by=told.by, request=request, principal=principal()
        )

        async def amend(_: RunSummary) -> Delivery:
            await self._takeover.amend(run_id, lambda state: [fact] if unfinished(state) else [], request)
            return Delivery.RECORDED

        answers = Answers(lambda state: Delivery.RECORDED, Delivery.RECORDED, Delivery.POSTED)
        return await self._requests.deliver(run_id, fact, answers, amend)

    async def skip(self, run_id: str, step: str, output: Any = None, **asked: Unpack[ReasonedOptions]) -> None:
        """See Runs.skip."""
        recorded = None if output is None else encode_given("the output", output)
        told = Asked(**asked)
        request = told.fingerprint("skip", step=step, output=output)

        def decide(state: WorkflowState) -> list[Fact]:
            skipped = skip(unfinished(state), step, recorded, told.by, (), told.reason)
            return [skipped._replace(request=request, principal=principal())]

        await self._takeover.amend(run_id, decide, request)

    async def set_output(self, run_id: str, step: str, output: Any, **asked: Unpack[ReasonedOptions]) -> None:
        """See Runs.set_output."""
        recorded = encode_given("the output", output)
        told = Asked(**asked)
        request = told.fingerprint("set_output", step=step, output=output)

        def decide(state: WorkflowState) -> list[Fact]:
            given = set_output(unfinished(state), step, recorded, told.by, told.reason)
            return [given._replace(request=request, principal=principal())]

        await self._takeover.amend(run_id, decide, request)

    # -- changes of a run that nobody runs ----------------------------------------------------------------------

    async def amend(
        self,
        run_id: str,
        changes: Sequence[Amendment],
        *,
        uid: str | None = None,
        reason: str | None = None,
        by: str | None = None,
    ) -> None:
        """Carry out several changes in a run without a live owner, in one commit: all of them or none. With `uid`, only
        in that life of the run.

        Raises RunNotFoundError, RunReplacedError, RunActiveError, RunFinishedError, StepNotFoundError,
        StepCompletedError, InvalidNameError, InvalidValueError, PayloadTooLargeError."""
        check_text("reason", reason)
        check_text("by", by)

        def decide(state: WorkflowState) -> list[Fact]:
            if uid is not None and state.uid != uid:
                raise RunReplacedError(run_id)
            return amendments.decide(state, changes, by=by, reason=reason)

        await self._takeover.amend(run_id, decide)

    # -- forgetting ---------------------------------------------------------------------------------------------

    async def delete(self, run_id: str, *, force: bool = False, uid: str | None = None) -> None:
        """See Runs.delete."""
        await Deletion(self.backend, self._files, self._stop).delete(run_id, force=force, uid=uid)

    async def _stop(self, run_id: str) -> None:
        with suppress(RunInterrupted):
            await self.cancel(run_id, DELETED)
            await self.wait(run_id)

    # -- reading ------------------------------------------------------------------------------------------------

    async def diff(self, run_id: str, workflow: Workflow | None = None) -> Sequence[Difference]:
        """See Runs.diff."""
        state = await self.inspect(run_id)
        current = workflow or await self._registry.find(state.workflow, self.backend)
        if current.definition is None and state.differences:
            return [Difference(*row) for row in state.differences]
        return differences_with(state, current)

    async def explain(self, run_id: str) -> Explanation:
        """See Runs.explain; a kernel also knows which workflows it has, and what waits for a free slot."""
        explanation = await self._runtime.explain(*await self._observer.inspect_with_untaken(run_id))
        return explanation._replace(rest=await self._rests.rest(run_id))

    async def suspend(self, run_id: str) -> Rest | None:
        """End the driving of a run and its children if nothing of them can happen before an instant or a signal.

        Returns what they wait for; None, and nothing has changed, if something can happen now. No body is ended. The
        runs stay this kernel's until it is closed, and then wait in the store. Raises RunNotFoundError, StoreError."""
        return await self._rests.suspend(run_id)
