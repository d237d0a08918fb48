"""Starting runs: new ones, children, and forks; and attaching to the run that exists under the id already."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

from flujo.kernel import traces
from flujo.kernel.clock import Clock, Identifiers
from flujo.kernel.durations import Duration, parse_duration
from flujo.kernel.errors import (
    FlujoError,
    InvalidNameError,
    InvalidValueError,
    RequestReusedError,
    RunExistsError,
    RunNotFoundError,
    RunOverlapError,
)
from flujo.kernel.execution.child_runs import ChildCall
from flujo.kernel.execution.committer import Batch
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.execution.programs import ASKED_TIMEOUT, RunStart, Workflow
from flujo.kernel.journal import events
from flujo.kernel.journal.events import Fact
from flujo.kernel.journal.fold import add_up
from flujo.kernel.journal.fork import history
from flujo.kernel.journal.overlap import IN_LINE, Overlap
from flujo.kernel.journal.requests import (
    REQUEST_KINDS,
    Fingerprint,
    check_request_id,
    fingerprint,
    id_for,
    is_repeat,
    without_request,
)
from flujo.kernel.journal.state import WorkflowState
from flujo.kernel.journal.step_choice import StepChoice, choice_in
from flujo.kernel.journal.summaries import RunSummary
from flujo.kernel.keys import check_run_id
from flujo.kernel.principals import principal
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.filters import check_labels, check_mapping, check_text
from flujo.kernel.store.overlaps import overlap_of, unfinished_run
from flujo.kernel.store.reading import read_journal, read_state
from flujo.kernel.store.records import Refused, RunFilter
from flujo.kernel.store.workspaces import Workspaces, workspace_in
from flujo.kernel.values import decode, encode, encode_given

from .resumption import require_fit
from .runtime import Runtime
from .workflow_registry import WorkflowRegistry

Inputs = Mapping[str, Any]
"""The inputs of a run, by name."""


class RunOptions(TypedDict, total=False):
    """The keywords of `Runs.run`."""

    run_id: str | None
    """The id of the run; by default a new one."""

    labels: Mapping[str, str] | None
    """Labels beside those of the workflow."""

    flow: str | None
    """Perform the steps of this flow of the definition, or `all`; by default the flow that it names itself."""

    skip_steps: Collection[str]
    """Skip these steps whenever they are reached."""

    start_from: str | None
    """Skip the steps that come before this one."""

    timeout: Duration | None
    """Let the run fail when it takes longer than this, counted from its start and again from each resume; by default
    what the workflow says. Recorded, so that a resume keeps it."""


class StartOptions(RunOptions, total=False):
    """The keywords of `Runs.start`."""

    request_id: str | None
    """Tells a repeat of this request from another one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)  # a half of what one takes to make
class Start:
    """The value of `StartOptions`, with the defaults of its parts. Raises InvalidNameError for a malformed request
    id."""

    run_id: str | None = None
    labels: Mapping[str, str] | None = None
    flow: str | None = None
    skip_steps: Collection[str] = ()
    start_from: str | None = None
    timeout: Duration | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        check_request_id(self.request_id)
        if self.timeout is not None and parse_duration(self.timeout) == 0:
            raise InvalidNameError("timeout", str(self.timeout), "longer than no time at all")
        for name in ("flow", "start_from"):
            check_text(name, getattr(self, name))

    @property
    def choice(self) -> StepChoice:
        """Return which steps the run is to perform."""
        return StepChoice(self.flow, tuple(self.skip_steps), self.start_from)

    @property
    def timeout_seconds(self) -> float | None:
        """Return the timeout that was asked for, in seconds."""
        return None if self.timeout is None else parse_duration(self.timeout)


class ForkOptions(TypedDict, total=False):
    """The keywords of `Runs.fork`."""

    from_step: str | None
    """Keep what a resume from this step would keep; by default everything but the failure that ended the run."""

    new_run_id: str | None
    """The id of the new run; by default a new one."""

    inputs: Mapping[str, Any] | None
    """Merge these over the recorded inputs."""

    labels: Mapping[str, str] | None
    """Merge these over the labels of the old run."""

    workflow: Workflow | None
    """With this definition; by default the one the run has stored, or the one registered under its name."""

    request_id: str | None
    """Tells a repeat of this request from another one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)  # a half of what one takes to make
class Fork:
    """The value of `ForkOptions`, with the defaults of its parts. Raises InvalidNameError for a malformed request
    id."""

    from_step: str | None = None
    new_run_id: str | None = None
    inputs: Mapping[str, Any] | None = None
    labels: Mapping[str, str] | None = None
    workflow: Workflow | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        check_request_id(self.request_id)

    def fingerprint(self, run_id: str) -> Fingerprint | None:
        """Return the fingerprint of the request to fork this run; None without a request id."""
        return fingerprint(
            self.request_id,
            "fork",
            run=run_id,
            from_step=self.from_step,
            inputs=check_mapping("inputs", self.inputs),
            labels=check_mapping("labels", self.labels),
            definition=_digest(self.workflow),
        )


class Started(NamedTuple):
    """The run that a start comes to; `created` is false when it was there already, else `summary` is what is durable of
    it then."""

    run_id: str
    created: bool = True
    summary: RunSummary | None = None


class Starter:
    """Starts the runs of one kernel. `workspaces` is where runs get a folder of their own, if their workflow wants
    one."""

    def __init__(
        self,
        backend: StateBackend,
        clock: Clock,
        identifiers: Identifiers,
        workspaces: Workspaces,
        registry: WorkflowRegistry,
        runtime: Runtime,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._identifiers = identifiers
        self._workspaces = workspaces
        self._registry = registry
        self._driver = runtime.driver
        self._takeover = runtime.takeover
        self._local_runs = runtime.local_runs

    async def start(
        self, workflow: Workflow | str, inputs: Mapping[str, Any] | None, asked: Start, *, detach: bool = False
    ) -> Started:
        """Start a run as Runs.start does, or leave it to others."""
        chosen = (await self._registry.find(workflow, self._backend)).with_steps(asked.choice)
        chosen = chosen.with_timeout(asked.timeout_seconds)
        inputs, labels = check_mapping("inputs", inputs), check_mapping("labels", asked.labels)
        request = fingerprint(
            asked.request_id,
            "start",
            workflow=chosen.name,
            definition=_digest(chosen),
            inputs=inputs,
            labels=labels,
            **({} if asked.choice.is_open else asked.choice._asdict()),
            **({} if asked.timeout is None else {"timeout_seconds": asked.timeout_seconds}),
        )
        name = self._new_id(asked.run_id, request)
        created = await self._creation(chosen, name, inputs, labels)
        created = created._replace(request=request, principal=principal())
        return await self._begin(chosen, name, created, detach=detach)

    async def start_child(self, parent: WorkflowState, run_id: str, call: ChildCall) -> Started:
        """Start a run as the child of another one, or attach to it if it is there."""
        chosen = call.adapt(await self._registry.find(call.workflow, self._backend))
        if chosen.on_overlap is Overlap.QUEUE:
            await self._require_no_ancestor(parent, chosen)
        created = await self._creation(chosen, run_id, dict(call.inputs), call.labels)
        if (caller := traces.parent_of(parent.environment)) is not None:
            span = traces.of_run(parent.uid, caller)
            created = created._replace(environment={**created.environment, **_traced(span)})
        created = created._replace(parent_run_id=parent.run_id)
        return await self._begin(chosen, run_id, created, not_before=parent.created_at)

    async def begins_with(self, created: events.RunCreated, call: ChildCall) -> bool:
        """True if a call begins a child as this one was begun, and if that cannot be known."""
        try:
            chosen = await self._registry.find(call.workflow, self._backend)
            inputs = encode_given("the inputs", chosen.check_inputs(dict(call.inputs)))
        except FlujoError:
            return True
        return created.workflow == chosen.name and decode(created.inputs) == decode(inputs)

    def know(self, workflow: Workflow | str) -> None:
        """Register the workflow that a program calls as its child, so that a run of it can be taken up; raises
        DeclarationError if another one has its name."""
        if isinstance(workflow, Workflow):
            self._registry.resolve(workflow)

    async def adopt(self, run_id: str) -> None:
        """Go on with a run of this kernel's workflows if it has no live owner."""
        await self._takeover.adopt(await self._backend.load(run_id))

    async def fork(self, run_id: str, asked: Fork) -> Started:
        """Start a run with the history of another one as Runs.fork does."""
        inputs, labels = check_mapping("inputs", asked.inputs), check_mapping("labels", asked.labels)
        request = asked.fingerprint(run_id)
        name = self._new_id(asked.new_run_id, request, forked_from=run_id)
        if (known := await self._made_before(name, request)) is not None:
            return known
        summary = await self._backend.load(run_id)
        journal = await read_journal(self._backend, summary)
        state = add_up(run_id, summary.uid, journal)
        chosen = (asked.workflow or await self._registry.for_run(state, self._backend)).as_started(state)
        sent = await self._signals_in_inbox(summary, state)
        facts = [without_request(fact) for fact in (*history(journal, state, asked.from_step), *sent)]
        inherited = chosen.inherited(state.inputs, state.environment)
        created = await self._creation(
            chosen, name, {**inherited, **inputs}, {**state.labels, **labels}, state.environment
        )
        kept = {getattr(fact, "step", None) for fact in facts}
        require_fit(
            state,
            chosen,
            invalidated=[name for name in state.steps if name not in kept],
            inputs=decode(created.inputs),
            given=inputs,
            is_fork=True,
        )
        self._registry.remember(asked.workflow)
        created = created._replace(forked_from=run_id, request=request, principal=principal())
        self._workspaces.make_own(name, created.environment)
        return await self._begin(chosen, name, created, facts)

    async def _signals_in_inbox(self, run: RunSummary, state: WorkflowState) -> Sequence[Fact]:
        """Return the signals that a run was sent and has not recorded: it would have, had it gone on instead."""
        found: list[Fact] = []
        for posted in await self._backend.requests(run.run_id, run.uid):
            kind = REQUEST_KINDS.get(posted.request.kind)
            if kind is None or kind.fact is not events.SignalReceived:
                continue
            with suppress(ValueError, RequestReusedError):  # what its owner will drop
                fact = kind.read(posted.request.body)
                found += [] if is_repeat(state, fact.request) else [fact]
        return found

    # -- what they share ----------------------------------------------------------------------------------------

    def _new_id(self, given: str | None, request: Fingerprint | None, forked_from: str = "") -> str:
        """Return the id of a run to be: the one given, else the one a request always comes to, else a fresh one."""
        if given is not None:
            return check_run_id(given)
        return self._identifiers.run_id() if request is None else id_for(request, forked_from)

    async def _creation(
        self,
        chosen: Workflow,
        run_id: str,
        inputs: dict[str, Any],
        labels: Mapping[str, str],
        origin: Mapping[str, Any] | None = None,
    ) -> events.RunCreated:
        complete = chosen.check_inputs(inputs)
        return events.RunCreated(
            workflow=chosen.name,
            inputs=encode_given("the inputs", complete),
            version=chosen.version,
            definition=_digest(chosen),
            plan=chosen.plan,
            labels=check_labels({**chosen.labels, **labels}),
            timeout_seconds=chosen.timeout_seconds,
            environment=_require_json(
                {
                    **await self._environment(chosen, run_id, complete, origin),
                    **chosen.defaulted(inputs),
                    **({} if chosen.asked_timeout is None else {ASKED_TIMEOUT: chosen.asked_timeout}),
                    **_traced(traces.starter()),
                    **({IN_LINE: chosen.on_overlap.value} if chosen.on_overlap is Overlap.QUEUE else {}),
                }
            ),
        )

    async def _environment(
        self, workflow: Workflow, run_id: str, inputs: Mapping[str, Any], origin: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        if workflow.environment is None:
            return {}
        number = 1 + await self._backend.count(RunFilter(workflow=workflow.name))
        workspace = workspace_in(self._workspaces.make().absolute(), run_id)
        return workflow.environment(RunStart(run_id, self._clock.now(), number, workspace, inputs, origin or {}))

    async def _begin(
        self,
        chosen: Workflow,
        run_id: str,
        created: events.RunCreated,
        history: Sequence[Fact] = (),
        *,
        not_before: int = 0,
        detach: bool = False,
    ) -> Started:
        """Bring a new run into being, with a history if it has one already, unless another run of its workflow is in
        the way. Its clock does not begin before an instant that it must not seem older than."""
        while True:
            run, batch = self._make(chosen, run_id, created, history, not_before, detach)
            await batch.durable()
            refusal = batch.refused.get(run.uid)
            if refusal is not Refused.OVERLAPS:
                break
            if (other := await unfinished_run(self._backend, chosen.name)) is not None:
                if chosen.on_overlap is not Overlap.QUEUE:
                    raise overlap_of(other, chosen.on_overlap)
                not_before = other.summary.created_at + 1  # its clock is ahead; this run stands behind it all the same
        if refusal is not Refused.EXISTS:
            return Started(run_id, summary=batch.summary_of(run.uid))
        if (known := await self._made_before(run_id, created.request)) is not None:
            return known
        if created.forked_from is not None:
            raise RunExistsError(run_id, "a history of its own; a fork is always a new run")
        return await self._attach(run_id, chosen, created)

    def _make(
        self,
        chosen: Workflow,
        run_id: str,
        created: events.RunCreated,
        history: Iterable[Fact],
        not_before: int,
        detach: bool,
    ) -> tuple[LiveRun, Batch]:
        """Drive a new run, once the batch is durable that it is returned with."""
        state = WorkflowState(run_id=run_id, uid=self._identifiers.uid(), updated_at=not_before)
        # From here to the task that drives the run nothing waits: a kernel that closes meanwhile refuses the run.
        is_owned = not detach and not self._driver.leaves_runs_to_others
        run = self._driver.make(state, chosen, token=1, is_owned=is_owned)
        batch = run.record(created, definition=chosen.definition)
        for fact in history:
            run.record(fact)
        if (alone_from := chosen.on_overlap.alone_from(state.created_at)) is not None:
            run.keep_apart(alone_from)
        self._driver.begin(run, batch)
        return run, batch

    async def _require_no_ancestor(self, parent: WorkflowState, workflow: Workflow) -> None:
        """Raise RunOverlapError for a child that would wait in line for a run that waits for it."""
        above: WorkflowState | RunSummary = parent
        while above.workflow != workflow.name:
            if above.parent_run_id is None:
                return
            try:
                above = await self._backend.load(above.parent_run_id)
            except RunNotFoundError:
                return
        raise RunOverlapError(workflow.name, above.run_id, str(above.status), workflow.on_overlap.value)

    async def _made_before(self, run_id: str, request: Sequence[str] | None) -> Started | None:
        """Return the run that this very request has made, after adopting it if it has no live owner."""
        if request is None:
            return None
        try:
            if await self._local_runs.recorded(run_id, request) is None:
                return None
        except RunNotFoundError:
            return None
        await self.adopt(run_id)
        return Started(run_id, created=False)

    async def _attach(self, run_id: str, workflow: Workflow, created: events.RunCreated) -> Started:
        """Return the run that has this id already, if it is the same run."""
        try:
            state = await read_state(self._backend, await self._backend.load(run_id))
        except RunNotFoundError:
            raise RunExistsError(run_id, "an id that differs only in upper and lower case") from None
        if state.workflow != workflow.name:
            raise RunExistsError(run_id, f"the workflow {state.workflow!r}")
        if decode(state.inputs_json) != decode(created.inputs):
            raise RunExistsError(run_id, "other inputs")
        if choice_in(state.environment) != choice_in(created.environment):
            raise RunExistsError(run_id, "another choice of steps")
        await self.adopt(run_id)
        return Started(run_id, created=False)


def _digest(workflow: Workflow | None) -> str | None:
    """Return the digest of a workflow's definition, if it has one."""
    return None if workflow is None or workflow.definition is None else workflow.definition.digest


def _traced(span: traces.TraceContext | None) -> Mapping[str, str]:
    """Return what a run records of the span that starts it."""
    return {} if span is None else {traces.RECORDED: span.header}


def _require_json(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the environment; raise InvalidValueError for what a journal cannot hold, such as text no UTF-8 can."""
    for name, value in environment.items():
        try:
            encode(value)
        except InvalidValueError as error:
            if not isinstance(value, str):
                raise InvalidValueError(f"environment.{name}", error.problem) from None
            refused = InvalidValueError(f"environment.{name}", f"{os.fsencode(value)!r} is not text in UTF-8")
            refused.hints = ("give the file or folder a name in UTF-8 with mv, and start the run there",)
            raise refused from None
    return environment
