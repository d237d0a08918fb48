"""The kernel: owns runs, drives their programs, and keeps the promise that what it acknowledged survives.

    async with Kernel(open_backend("sqlite:state.db"), workflows=[report]) as kernel:
        handle = await kernel.start(report, {"day": "2026-11-22"}, run_id="report-2026-11-22")
        print(await handle.result())

Entering it recovers the runs of its workflows that no live process runs. Leaving it stops in good order: attempts
in progress are recorded as interrupted, and the runs wait for whoever opens the store next."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from pydantic_core import from_json, to_json

from . import events
from .api import CancelOutcome, Delivery, RunHandle, check_labels, check_text, encode_given
from .backend import Posted, Refused, Request, RunFilter, RunSummary, StateBackend, StoredDefinition
from .clock import Clock, Identifiers, RandomBytes
from .committer import Batch, Committer
from .compatibility import differences
from .context import Context
from .durations import MICROSECONDS
from .errors import (
    CorruptStoreError,
    DeclarationError,
    FlujoError,
    InvalidValueError,
    KernelClosedError,
    RunActiveError,
    RunExistsError,
    RunFinishedError,
    RunInterrupted,
    RunNotFoundError,
    StateIncompatibilityError,
    StoreError,
    WorkflowNotFoundError,
)
from .events import Fact
from .keys import check_run_id, check_step_name
from .observer import Observer, result_of
from .processes import Children, sweep
from .programs import Beginning, Workflow
from .runs import LiveRun
from .state import FINAL, LIVE, RunStatus, WorkflowState
from .steps import StepRunner
from .transitions import Stop, at_recovery, at_resume, at_takeover
from .values import decode, encode

Result = TypeVar("Result")
Value = TypeVar("Value")

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
        max_interruptions: int = 3,
        workspaces: Path = Path(".flujo/workspaces"),
        load_definition: Callable[[StoredDefinition], Workflow] | None = None,
        clock: Clock | None = None,
        random: RandomBytes = os.urandom,
    ) -> None:
        """`max_steps` bounds how many step bodies run at once (default: no bound). `max_interruptions` is how many
        owners one step may outlive before its run is paused. `workspaces` is where runs get a folder of their own,
        if their workflow wants one. `load_definition` rebuilds a workflow from a stored text, for runs that were
        started with another one."""
        super().__init__(backend, workspaces=workspaces, clock=clock)
        self.workflows = {each.name: each for each in workflows}
        self._recover_at_start = recover
        self._max_interruptions = max_interruptions
        self._load_definition = load_definition
        self._identifiers = Identifiers(self.clock, random)
        self.id = f"{_host()}-{os.getpid()}-{self._identifiers.uid()[:8]}"
        self._slots = None if max_steps is None else anyio.Semaphore(max_steps, fast_acquire=True)
        self._live: dict[str, LiveRun] = {}  # by uid
        self._changes: dict[str, anyio.Event] = {}  # by uid, for watchers of live runs
        self._taking: set[int] = set()  # inbox requests on their way into the journal
        self._group: TaskGroup | None = None
        self._committer: Committer | None = None
        self._children: Children | None = None
        self._lifetime: AbstractAsyncContextManager[None] | None = None

    def __repr__(self) -> str:
        return f"<kernel {self.id} on {self.backend.url}, {len(self._live)} live runs>"

    @property
    def committer(self) -> Committer:
        """The committer; raises KernelClosedError outside of the context manager."""
        if self._committer is None or self._group is None:
            raise KernelClosedError
        return self._committer

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
        try:
            self._children = Children(self.backend.liveness_fd)
            self._committer = Committer(self.backend, self.clock, self._committed, self._lose_all)
            served = anyio.Event()
            async with anyio.create_task_group() as group:
                self._group = group
                group.start_soon(self._serve_commits, served)
                group.start_soon(self._serve_inbox)
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
                    group.start_soon(self._shut_down, served, group.cancel_scope)
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    if self._children is not None:
                        await self._children.close()
                finally:
                    await self.backend.close()
        if failure is not None:
            raise failure

    async def _serve_commits(self, served: anyio.Event) -> None:
        # Shielded: what is recorded has to be written however this kernel comes to its end.
        with anyio.CancelScope(shield=True):
            assert self._committer is not None  # not the property: this may begin only after closing has begun
            try:
                await self._committer.serve()
            finally:
                served.set()

    async def _shut_down(self, served: anyio.Event, rest: anyio.CancelScope) -> None:
        committer = self.committer
        self._group = None
        try:
            with anyio.CancelScope(shield=True):
                live = list(self._live.values())
                for run in live:
                    run.stop(Stop.CLOSE)
                for run in live:
                    await run.ended.wait()
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

    def _spawn(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._group is not None:
            self._group.start_soon(function)

    # -- starting -----------------------------------------------------------------------------------------------

    async def start(
        self,
        workflow: Workflow | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> RunHandle:
        """Start a run and return once it is durable; it goes on whatever becomes of the caller.

        The same `run_id` with the same workflow and inputs returns the run that exists (`created` is false), and
        takes it up if nobody runs it; with others it raises RunExistsError. Raises InvalidInputError,
        InvalidNameError, InvalidValueError, PayloadTooLargeError, WorkflowNotFoundError, StoreError."""
        chosen = self._register(workflow)
        given = encode_given("the inputs", chosen.check_inputs(dict(inputs or {})))
        name = self._identifiers.run_id() if run_id is None else check_run_id(run_id)
        state = WorkflowState(run_id=name, uid=self._identifiers.uid())
        fact = events.RunCreated(
            workflow=chosen.name,
            inputs=given,
            version=chosen.version,
            definition=None if chosen.definition is None else chosen.definition.digest,
            plan=chosen.plan,
            labels=check_labels({**chosen.labels, **(labels or {})}),
            timeout_seconds=chosen.timeout_seconds,
            environment=_require_json("environment", await self._environment(chosen, name)),
        )
        # From here to the task that drives the run nothing waits: a kernel that closes meanwhile refuses the run.
        run = self._live_run(state, chosen, token=1)
        batch = run.record(fact, definition=chosen.definition)
        self._bring_up(run, batch)
        await batch.durable()
        if batch.refused.get(run.uid) is Refused.EXISTS:
            return await self._attach(name, chosen, given)
        return RunHandle(self, name)

    async def run(
        self,
        workflow: Workflow | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Any:
        """Start a run and return its output: `start` and then `result`."""
        handle = await self.start(workflow, inputs, run_id=run_id, labels=labels)
        return await handle.result()

    async def _environment(self, workflow: Workflow, run_id: str) -> Mapping[str, Any]:
        if workflow.environment is None:
            return {}
        number = 1 + await self.backend.count(RunFilter(workflow=workflow.name))
        assert self.workspaces is not None
        workspace = self.workspaces.absolute() / run_id
        return workflow.environment(Beginning(run_id, self.clock.now(), number, workspace))

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
        if await self.is_interrupted(await self.backend.load(run_id)):
            await self._sweep([state.uid])
            try:
                await self._to_the_end(partial(self._adopt, run_id))
            except RunActiveError:
                pass  # somebody else was faster
        return RunHandle(self, run_id, created=False)

    def _register(self, workflow: Workflow | str) -> Workflow:
        if isinstance(workflow, Workflow):
            if workflow.definition is not None and self._load_definition is not None:
                return workflow  # its runs go on with the text they have stored, so there is nothing to remember
            known = self.workflows.setdefault(workflow.name, workflow)
            if known != workflow and workflow.definition is None:
                # A stored run knows its program by name only: it would go on with the wrong one.
                raise DeclarationError(
                    f"this kernel has another workflow called {workflow.name!r}", ["give one of them a name of its own"]
                )
            return workflow
        if workflow not in self.workflows:
            raise WorkflowNotFoundError(workflow, sorted(self.workflows))
        return self.workflows[workflow]

    # -- resuming and recovering --------------------------------------------------------------------------------

    async def resume(
        self,
        run_id: str,
        *,
        workflow: Workflow | None = None,
        from_step: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        accept_changes: bool = False,
        by: str | None = None,
    ) -> RunHandle:
        """Take up a run that is failed, paused, cancelled or interrupted, and return once that is durable.

        Completed steps keep their outputs. The failure that ended the run is tried afresh; `from_step` runs that
        step and every later one again, and is the only way to resume a completed run. `inputs` are merged over the
        recorded ones. `workflow` is the definition to go on with, by default the one the run has stored or the one
        registered under its name. Raises StateIncompatibilityError unless it fits (or `accept_changes`),
        RunActiveError, RunNotResumableError, StepNotFoundError, RunNotFoundError, WorkflowNotFoundError,
        InvalidInputError. After an error nothing has changed; a cancelled caller may find the run resumed."""
        check_text("by", by)
        return await self._to_the_end(
            partial(self._resume, run_id, workflow, from_step, inputs, accept_changes=accept_changes, by=by)
        )

    async def _resume(
        self,
        run_id: str,
        workflow: Workflow | None,
        from_step: str | None,
        inputs: Mapping[str, Any] | None,
        *,
        accept_changes: bool,
        by: str | None,
    ) -> RunHandle:
        asked_at = self.clock.now()
        if (live := self._find_live(run_id)) is not None:
            if live.state.status in LIVE:
                raise RunActiveError(run_id, live.owner)
            await live.ended.wait()  # its end is on disk, only its task is not quite over
        seen = await self.backend.load(run_id)
        state = await self._fold(seen)
        fact, chosen = await self._resumption(state, workflow, from_step, inputs, accept_changes, by)
        claimed = await self.backend.claim(run_id)
        if (claimed.uid, claimed.seq) != (seen.uid, seen.seq):
            # Somebody else was faster, and has left again: decide anew on what is there now.
            await self.backend.release([claimed.uid])
            return await self._resume(run_id, workflow, from_step, inputs, accept_changes=accept_changes, by=by)
        async with self._released_on_error(claimed.uid):
            await self._sweep([claimed.uid])
            posts = [posted for posted in await self.backend.take() if posted.uid == claimed.uid]
            # A cancel that was left in the inbox asked for the end of what is over now.
            void = [each.id for each in posts if each.request.kind == "cancel" and each.request.at <= asked_at]
            self._taking.update(void)
            run = self._live_run(state, chosen, token=claimed.token)
            batch = self._go_on(run, [*at_takeover(state), fact], posts, definition=chosen.definition, taken=void)
        assert batch is not None
        await batch.durable()
        return RunHandle(self, run_id, created=False)

    async def _resumption(
        self,
        state: WorkflowState,
        workflow: Workflow | None,
        from_step: str | None,
        inputs: Mapping[str, Any] | None,
        accept_changes: bool,
        by: str | None,
    ) -> tuple[events.RunResumed, Workflow]:
        """What a resume records, and the workflow it goes on with."""
        chosen = workflow or await self._workflow_of(state)
        if chosen.name != state.workflow:
            raise RunExistsError(state.run_id, f"the workflow {state.workflow!r}")
        reset = at_resume(state, from_step)
        found = differences(state, chosen.plan, invalidated=reset)
        if found and not accept_changes:
            raise StateIncompatibilityError(state.run_id, found, str(state.environment.get("workflow_file") or "FILE"))
        merged = None
        if inputs:
            merged = encode_given("the inputs", chosen.check_inputs({**state.inputs, **inputs}))
        digest = None if chosen.definition is None else chosen.definition.digest
        changed = digest is not None and digest != state.definition
        fact = events.RunResumed(
            reset=reset,
            from_step=from_step,
            inputs=merged,
            definition=digest if changed else None,
            plan=chosen.plan if changed else None,
            version=chosen.version if changed else None,
            by=by,
            timeout_seconds=None if chosen.timeout_seconds == state.timeout_seconds else chosen.timeout_seconds or 0.0,
        )
        return fact, chosen

    async def recover(self) -> int:
        """Take up every unfinished run of this kernel's workflows that nobody runs; returns how many."""
        count, page = 0, None
        while True:
            found = await self.backend.list(RunFilter(statuses=LIVE), limit=200, page=page)
            candidates = [each for each in found.runs if await self._is_ours_to_recover(each)]
            await self._sweep([each.uid for each in candidates])
            for summary in candidates:
                try:
                    await self._adopt(summary.run_id)
                    count += 1
                except CorruptStoreError as error:  # a damaged journal keeps nobody from the others
                    logger.error("run %s was not recovered: %s", summary.run_id, error)
                except StoreError:
                    raise
                except FlujoError as error:
                    logger.warning("run %s was not recovered: %s", summary.run_id, error)
            if (page := found.next) is None:
                return count

    async def _is_ours_to_recover(self, summary: RunSummary) -> bool:
        if summary.uid in self._live or not await self.is_interrupted(summary):
            return False
        if summary.workflow in self.workflows or summary.definition is not None:
            return True
        logger.warning("run %s waits for a workflow %r to be registered", summary.run_id, summary.workflow)
        return False

    async def _sweep(self, uids: Collection[str]) -> None:
        """Make sure that nothing of attempts that died is alive before the next ones start.

        Their guardian has seen to it as a rule; this finds what left its session. A store that does not survive its
        process has no runs of another one."""
        if uids and self.backend.capabilities.durable:
            await to_thread.run_sync(sweep, frozenset(uids))

    async def _adopt(self, run_id: str) -> None:
        """Become the owner of an interrupted run and go on where it stopped, with the definition it was started
        with."""
        chosen = await self._workflow_of(await self._fold(await self.backend.load(run_id)))
        claimed = await self.backend.claim(run_id)
        async with self._released_on_error(claimed.uid):
            state = await self._fold(claimed)
            posts = await self.backend.take()
            run = self._live_run(state, chosen, token=claimed.token)
            batch = self._go_on(run, at_recovery(state, self._max_interruptions), posts)
        if batch is not None:
            await batch.durable()

    @asynccontextmanager
    async def _released_on_error(self, uid: str) -> AsyncIterator[None]:
        """Bring a claimed run up inside; on an error it is given up again, or nobody could take it before we close."""
        try:
            yield
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(StoreError):
                await self.backend.release([uid])
            raise

    async def _to_the_end(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """What `work` returns or raises, done in a task of this kernel: a caller who is cancelled half-way must not
        leave a run claimed that nobody drives."""
        ended = anyio.Event()
        results: list[Result] = []
        failures: list[Exception] = []

        async def task() -> None:
            try:
                results.append(await work())
            except Exception as error:
                failures.append(error)
            finally:
                ended.set()

        if self._group is None:
            raise KernelClosedError
        self._group.start_soon(task)
        await ended.wait()
        if failures:
            raise failures[0]
        if not results:  # this kernel has closed meanwhile
            raise KernelClosedError
        return results[0]

    async def _workflow_of(self, state: WorkflowState) -> Workflow:
        """The workflow a stored run goes on with: the registered one if it is the same definition, or else the
        stored text."""
        registered = self.workflows.get(state.workflow)
        same = registered is not None and (
            registered.definition is None or registered.definition.digest == state.definition
        )
        if registered is not None and same:
            return registered
        if state.definition is not None and self._load_definition is not None:
            return self._load_definition(await self.backend.get_definition(state.definition))
        if registered is None:
            raise WorkflowNotFoundError(state.workflow, sorted(self.workflows))
        found = differences(state, registered.plan)
        if found:
            raise StateIncompatibilityError(state.run_id, found)
        return registered

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
        self._bring_up(run, batch)
        self._answer_all(posts)
        return batch

    # -- driving ------------------------------------------------------------------------------------------------

    def _live_run(self, state: WorkflowState, workflow: Workflow, token: int) -> LiveRun:
        return LiveRun(state, workflow, owner=self.id, token=token, committer=self.committer, spawn=self._spawn)

    def _bring_up(self, run: LiveRun, batch: Batch | None) -> None:
        """Drive the run in a task of its own, which outlives whoever asked for it."""
        self._live[run.uid] = run

        async def live() -> None:
            try:
                await self._drive(run, batch)
            finally:
                del self._live[run.uid]
                run.ended.set()
                self._committed(run)

        self._spawn(live)

    async def _drive(self, run: LiveRun, batch: Batch | None) -> None:
        if batch is not None:
            try:
                with anyio.CancelScope(shield=True):
                    await batch.durable()
            except (StoreError, KernelClosedError):
                return
        if run.stopped is not None and run.stopped in (Stop.FENCED, Stop.LOST):
            return
        if run.state.status in FINAL or run.state.status is RunStatus.PAUSED:
            return
        assert self._children is not None
        alarm = anyio.CancelScope()
        if run.state.timeout_seconds is not None:
            self._spawn(partial(self._time_out, run, run.state.timeout_seconds, alarm))
        try:
            await run.drive(Context(run, StepRunner(run, self.clock, self._children, self._slots)))
        finally:
            alarm.cancel()

    async def _time_out(self, run: LiveRun, seconds: float, alarm: anyio.CancelScope) -> None:
        with alarm:
            since = run.state.resumed_at or run.state.created_at
            await self.clock.sleep_until(since + round(seconds * MICROSECONDS))
            run.stop(Stop.TIMEOUT)

    def _committed(self, run: LiveRun) -> None:
        if (change := self._changes.pop(run.uid, None)) is not None:
            change.set()

    def _lose_all(self) -> None:
        """The store has failed: end every run, also those that had nothing to record."""
        for run in self._live.values():
            run.stop(Stop.LOST)

    def _find_live(self, run_id: str) -> LiveRun | None:
        return next((run for run in self._live.values() if run.state.run_id == run_id), None)

    # -- requests -----------------------------------------------------------------------------------------------

    async def signal(self, run_id: str, name: str, payload: Any = None, *, by: str | None = None) -> Delivery:
        """As Observer.signal; a run of this kernel has it in its journal on return."""
        check_text("by", by)
        run = self._find_live(run_id)
        if run is not None and run.takes_requests:
            payload_json = encode_given("the payload", payload)
            batch = run.receive(events.SignalReceived(check_step_name(name), payload_json, by))
            await batch.durable()
            if run.uid not in batch.refused and run.stopped is not Stop.FENCED:
                return Delivery.RECORDED
        return await super().signal(run_id, name, payload, by=by)

    async def cancel(self, run_id: str, reason: str | None = None, *, by: str | None = None) -> CancelOutcome:
        """Ask a run to stop; durable on return. A run that nobody runs is cancelled at once, and becomes this
        kernel's for that.

        Raises RunNotFoundError, StoreError.
        """
        check_text("reason", reason)
        check_text("by", by)
        fact = events.CancelRequested(reason, by)
        run = self._find_live(run_id)
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
                body = to_json({"reason": reason, "by": by}).decode()
                await self.backend.post(run_id, Request("cancel", body, self.clock.now()))
                return CancelOutcome.REQUESTED
            return await self._to_the_end(partial(self._cancel_unowned, run_id, fact))
        except RunFinishedError:
            return CancelOutcome.ALREADY_FINISHED
        except RunActiveError:  # somebody has just taken it up
            return await self.cancel(run_id, reason, by=by)

    async def _stop(self, run_id: str) -> None:
        with suppress(RunInterrupted):
            await self.cancel(run_id, "it is to be deleted")
            await self.wait(run_id)

    async def _cancel_unowned(self, run_id: str, fact: events.CancelRequested) -> CancelOutcome:
        claimed = await self.backend.claim(run_id)
        async with self._released_on_error(claimed.uid):
            if claimed.status in FINAL:  # somebody ran it to its end between the two looks
                await self.backend.release([claimed.uid])
                return CancelOutcome.ALREADY_FINISHED
            await self._sweep([claimed.uid])
            state = await self._fold(claimed)
            unowned = self._live_run(state, Workflow(name=state.workflow, program=_no_program), token=claimed.token)
            batch = self._go_on(unowned, [*at_takeover(state), fact, events.RunCancelled(fact.reason)])
        assert batch is not None
        await batch.durable()
        return CancelOutcome.CANCELLED

    async def _serve_inbox(self) -> None:
        while True:
            try:
                # In this order, so that what a failed look has not found is looked for again, whoever posts next.
                await self._take_posts()
                await self.backend.wait_for_posts()
            except StoreError as error:
                logger.warning("the inbox cannot be read: %s", error)
                await self.clock.sleep_until(self.clock.now() + MICROSECONDS)

    async def _take_posts(self) -> None:
        """Move what others have asked of our runs into their journals."""
        posts = await self.backend.take()
        self._taking &= {posted.id for posted in posts}
        self._answer_all(posts)

    def _answer_all(self, posts: Sequence[Posted]) -> None:
        for posted in posts:
            run = self._live.get(posted.uid)
            if posted.id not in self._taking and run is not None and run.takes_requests:
                self._taking.add(posted.id)
                self._answer(run, posted)

    def _answer(self, run: LiveRun, posted: Posted) -> None:
        body = from_json(posted.request.body)
        match posted.request.kind:
            case "signal":
                run.receive(events.SignalReceived(body["name"], body["payload"], body["by"]), taken=[posted.id])
            case "cancel":
                run.record(events.CancelRequested(body["reason"], body["by"]), taken=[posted.id])
                run.stop(Stop.CANCEL)
            case other:
                logger.warning("run %s: a request %r of a newer release is left alone", run.state.run_id, other)

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
        if (run := self._find_live(run_id)) is not None:
            await run.ended.wait()
            if run.failure is not None:
                raise run.failure
            if run.has_settled:
                return run.state
        return None

    def _change(self, uid: str) -> Callable[[], Awaitable[None]]:
        if uid not in self._live:
            return super()._change(uid)
        return self._changes.setdefault(uid, anyio.Event()).wait

    def _require_hope(self, summary: RunSummary) -> None:
        # What this kernel owns, nobody else takes up before it is closed; and it records nothing any more.
        if summary.owner == self.id and self._committer is not None and self._committer.failure is not None:
            raise self._committer.failure

    async def _is_abandoned(self, summary: RunSummary) -> bool:
        if summary.owner == self.id and summary.uid not in self._live:
            self._require_hope(summary)
            # Ended between the two looks: the next look sees how.
            return (await self.backend.load(summary.run_id)).owner == self.id
        return await super()._is_abandoned(summary)


def _host() -> str:
    """This machine, for people who read who owns a run; as a part of file names."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()).strip(".-")[:50] or "host"


def _require_json(what: str, value: Value) -> Value:
    """The value itself; raises InvalidValueError for what a journal cannot hold, such as text that is not UTF-8.

    `what` names the value in the message."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            _require_json(f"{what}.{name}", item)
    try:
        encode(value)
    except InvalidValueError as error:
        raise InvalidValueError(what, error.problem) from None
    return value


async def _no_program(ctx: Context, inputs: dict[str, Any]) -> None:
    raise AssertionError("a run that is only cancelled has no program")
