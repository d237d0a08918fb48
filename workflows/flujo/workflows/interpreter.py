"""The program a definition is: its steps, each rendered, called and checkpointed through the kernel's context.

    _in_order     a sequence: one step after the other, and where a failure jumps to
    _side_by_side a graph: each step once everything it waits for has settled
    _clean_up     the steps that always run, once nothing else will

Inputs are rendered inside the step's body, so that a bad value is that step's failure. A condition is judged before its
step begins and the verdict stays for that generation: a step that has begun is not judged again, a skipped one stays
skipped. The program decides nothing by the clock, and in a graph nothing by which step was faster, so that a replay
takes the same path.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import count, takewhile
from typing import Any, NoReturn, Protocol

import anyio

from flujo.kernel.errors import FlujoError, StepFailed
from flujo.kernel.programs import (
    MAX_MESSAGE,
    NO_RETRY,
    ChildCall,
    Loop,
    RetryPolicy,
    Rounds,
    Workflow,
    bounded,
    current_attempt,
    perform_child,
    plain_options,
    prepared,
)
from flujo.kernel.state import SETTLED

from .calls import Caller
from .child_workflows import ChildStart, LoadFile, child_start, load_nothing
from .definitions import Definition, LoopDefinition, Repeat, StepDefinition
from .graphs import Graph, Schedule
from .loops import failure_at_the_end, loop_for, sharing
from .names import Ending, StepNames, told
from .registry import LoopScope
from .secret_values import DEPTH, RECORDED, Secrets
from .template_places import TemplatePlaces
from .templates import TemplateError, holds, render
from .texts import as_text

NOT_RETRIED = (
    "flujo.workflows.interpreter.RepeatLimitError",
    "flujo.workflows.templates.TemplateError",
    "flujo.workflows.templates.ConditionError",
    "flujo.workflows.registry.TaskInputError",
    "flujo.workflows.secret_values.SecretError",
)
"""Failures of a step that come from what is recorded already: every further attempt would end in the same way."""


class JumpLimitError(FlujoError, RuntimeError):
    """A run has jumped back as often as it may."""

    reason = "STEP_FAILED"
    type = "JumpLimitError"

    def __init__(self, failure: StepFailed, target: str, limit: int) -> None:
        super().__init__(
            f"{failure.type}: {failure.error} (and the run has jumped back {limit} times, so it does not jump to "
            f"{target!r} again; `settings.max_jumps` is the limit)"
        )
        self.step, self.limit = failure.step, limit


class RepeatLimitError(FlujoError, RuntimeError):
    """A step was repeated as often as it may, and what it waits for has not come."""

    reason = "STEP_FAILED"
    type = "RepeatLimitError"

    def __init__(self, repeat: Repeat) -> None:
        super().__init__(
            f"after {repeat.rounds} rounds it is not so that {repeat.until.strip()}; `repeat.max` is the limit"
        )


class _NotRecorded(Exception):
    """Ends the way through what is recorded of a run that is over: the next round of a step has not happened."""


class Recorded(Protocol):
    """What is recorded of a step."""

    @property
    def status(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def output_json(self) -> str | None: ...
    @property
    def settled_seq(self) -> int | None: ...
    @property
    def call(self) -> str | None: ...


class RunContext(Protocol):
    """The part of flujo.kernel.context.Context the interpreter needs."""

    @property
    def run_id(self) -> str: ...
    @property
    def environment(self) -> Mapping[str, Any]: ...
    @property
    def ending(self) -> str | None: ...

    async def step(
        self,
        function: Callable[[], Awaitable[Any]],
        /,
        *,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
    ) -> Any: ...

    async def loop(self, loop: Loop, /, *, name: str) -> Any: ...
    async def rounds(self, rounds: Rounds, /, *, name: str) -> Any: ...
    async def run_child(
        self,
        workflow: Workflow | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        retry: RetryPolicy = NO_RETRY,
        adapt: Callable[[Workflow], Workflow] | None = None,
    ) -> Any: ...

    async def sleep(self, duration: float, *, name: str = "sleep") -> None: ...
    def skip(self, name: str, reason: str) -> None: ...

    async def pause_without_workspace(self) -> NoReturn: ...

    def peek(self, name: str) -> Recorded | None: ...


async def interpret(
    definition: Definition, ctx: RunContext, inputs: Mapping[str, Any], load: LoadFile = load_nothing
) -> Any:
    """Run the steps of a definition; returns its rendered `outputs`, or null when it declares none. `load` reads the
    definitions of its children.

    Raises StepFailed for a failure that nothing handles, an ExceptionGroup when further steps have failed besides,
    the first one first, and TemplateError for outputs that cannot be rendered.
    """
    steps = _Steps(ctx, definition, inputs, load)
    await steps.set_variables(definition.env)
    if definition.graph is None:
        failures = await _in_order(definition, steps)
    else:
        failures = await _SideBySide(definition, definition.graph, steps).perform()
    failures = await _clean_up(definition, steps, [*failures, *steps.deferred.values()])
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup(f"{len(failures)} steps failed", failures)
    return None if definition.outputs is None else await steps.outputs(definition.outputs)


async def clean_up(
    definition: Definition, ctx: RunContext, inputs: Mapping[str, Any], load: LoadFile = load_nothing
) -> None:
    """Run the clean-ups of a run that was cancelled or has taken too long: those that have not come to their end.

    What is recorded of the other steps is gone through once more, so that the templates of clean-ups see it."""
    steps = _Steps(ctx, definition, inputs, load)
    await steps.set_variables(definition.env)
    steps.only_recorded = True
    if definition.graph is None:
        failures = await _in_order(definition, steps)
    else:
        failures = await _recorded_in_graph(definition, steps)
    steps.only_recorded = False
    await _clean_up(definition, steps, failures, _CUT_SHORT[ctx.ending or "cancelled"])


# -- which step comes next --------------------------------------------------------------------------------------------


async def _in_order(definition: Definition, steps: _Steps) -> list[StepFailed]:
    """Perform a sequence, or as much of it as is recorded; returns the failure that ended it, if one did."""
    places = {step.name: place for place, step in enumerate(definition.steps)}
    place = jumps = 0
    while place < len(definition.steps):
        step = definition.steps[place]
        if steps.only_recorded and steps.status_of(step) not in SETTLED:
            return []
        try:
            failure = None if await steps.skip(step) else await steps.perform(step)
        except _NotRecorded:
            return []
        if failure is None or step.on_error.goes_on:
            target = place + 1
        else:
            return [failure]
        if failure is not None and step.on_error.next is not None:
            target = places[step.on_error.next]
            jumps += target <= place
            if jumps > definition.max_jumps:
                limit = JumpLimitError(failure, step.on_error.next, definition.max_jumps)
                return [StepFailed(failure.step, limit.type, limit.message, failure.attempt)]
            for passed in definition.steps[place + 1 : target]:
                await steps.pass_over(passed, f"step {step.name!r} has failed and goes on with {step.on_error.next!r}")
            steps.performed -= {each.name for each in definition.steps[target:]}  # they are performed anew
        place = target
    return []


async def _recorded_in_graph(definition: Definition, steps: _Steps) -> list[StepFailed]:
    """Go through the steps of a graph that have settled, in the order in which they did; returns the first failure that
    nothing handles."""
    failures: list[StepFailed] = []
    settled = [step for step in definition.steps if steps.status_of(step) in SETTLED]
    for step in sorted(settled, key=steps.settled_seq_of):
        failure = None if await steps.skip(step) else await steps.perform(step)
        if failure is not None and not step.on_error.goes_on:
            failures.append(failure)
    return failures[:1]


_CUT_SHORT = {
    "cancelled": Ending("cancelled", {"step": None, "type": "RunCancelled", "message": "the run was cancelled"}),
    "timeout": Ending("timeout", {"step": None, "type": "TimeoutError", "message": "the run took too long"}),
}
"""What clean-ups are told of a run that was cut short."""


async def _clean_up(
    definition: Definition, steps: _Steps, failures: list[StepFailed], ending: Ending | None = None
) -> list[StepFailed]:
    """Perform the steps that always run and have not run; returns their failures behind those there are."""
    if failures:
        ending = Ending("failed" if ending is None else ending.reason, told(failures[0]))
    for step in definition.steps:
        if not step.always_run or step.name in steps.performed or await steps.skip(step, ending=ending):
            continue
        failure = await steps.perform(step, ending)
        if failure is not None and not step.on_error.goes_on:
            failures = [*failures, failure]
    return failures


class _SideBySide:
    """One execution of a graph.

    After the first failure that nothing handles, no step begins. A replay has to know of that failure from the start,
    or a step could begin in the moment before it is handed out: which steps had begun is recorded, and only they go on.
    """

    def __init__(self, definition: Definition, graph: Graph, steps: _Steps) -> None:
        self._graph = graph
        self._steps = steps
        self._by_name = {step.name: step for step in definition.steps}
        self._handled = definition.handled
        self._left_out: dict[str, str] = {}  # steps that a handled failure leaves out, each with the reason
        self._failures: list[StepFailed] = []
        statuses = {step.name: steps.status_of(step) for step in definition.steps}
        settled = {name for name, status in statuses.items() if status in SETTLED}
        self._left_for_the_end = {step.name for step in definition.steps if definition.is_left_for_the_end(step)}
        self._is_over = any(statuses[step.name] == "failed" and not step.on_error.goes_on for step in definition.steps)
        # A clean-up that had begun goes on as the clean-up of what has failed; what it came to is just handed out.
        self._begun = {
            name for name, status in statuses.items() if status != "pending" and not self._by_name[name].always_run
        } | settled
        self._schedule = Schedule(graph, definition.max_parallel, unbounded=settled | self._left_for_the_end)

    async def perform(self) -> list[StepFailed]:
        """Perform the steps; returns the failures that ended it, in the order they happened."""
        async with anyio.create_task_group() as self._group:
            for step in await self._follow():
                self._group.start_soon(self._work, step)
        return self._failures

    async def _work(self, step: StepDefinition) -> None:
        """Perform a step and then what may start because of it: the first in this task, so that the outcome of one
        and the start of the next are one commit."""
        todo = [step]
        while todo:
            step, *others = todo
            for other in others:
                self._group.start_soon(self._work, other)
            failure = await self._steps.perform(step)
            if failure is not None:
                self._fail(step, failure)
            self._schedule.settle(step.name)
            todo = await self._follow()

    async def _follow(self) -> list[StepDefinition]:
        """Settle what needs no body; returns the steps that are to be performed now."""
        to_perform: list[StepDefinition] = []
        while (name := self._schedule.take()) is not None:
            step = self._by_name[name]
            if not self._may_start(name):
                self._schedule.drop(name)
            elif await self._steps.skip(step, self._reason_to_skip(name)):
                self._schedule.settle(name)
            elif self._may_start(name):  # still: a condition that a worker judges takes a moment
                to_perform.append(step)
            else:
                self._schedule.drop(name)
        return to_perform

    def _may_start(self, name: str) -> bool:
        if name in self._left_for_the_end:
            return False
        return name in self._begun or not (self._failures or self._is_over)

    def _reason_to_skip(self, name: str) -> str | None:
        if name in self._left_out:
            return self._left_out[name]
        if name in self._handled and not self._steps.names.has_failed(self._handled[name]):
            return "nothing it handles has failed"
        return None

    def _fail(self, step: StepDefinition, failure: StepFailed) -> None:
        handler = step.on_error.next
        if not step.on_error.goes_on:
            self._failures.append(failure)
        elif handler is not None:
            for name in self._graph.after(step.name) - self._graph.after(handler) - {handler}:
                if not self._by_name[name].always_run:
                    self._left_out[name] = f"step {step.name!r} has failed, and {handler!r} handles it"


# -- one step ---------------------------------------------------------------------------------------------------------


class _Steps:
    """Performs steps, and keeps what templates see of them."""

    def __init__(self, ctx: RunContext, definition: Definition, inputs: Mapping[str, Any], load: LoadFile) -> None:
        self._load = load
        self._secrets = Secrets(definition.secrets, ctx.environment.get(RECORDED, ()))
        self.names = StepNames(definition, ctx.run_id, ctx.environment, inputs)
        self.places = TemplatePlaces(definition.text, os.path.basename(ctx.environment.get("workflow_file", "")))
        self._caller = Caller(self.names, self._secrets, self.places)
        self.performed: set[str] = set()
        self.only_recorded = False  # what has not happened does not begin any more
        self.deferred: dict[str, StepFailed] = {}  # failures that the run goes on after, and fails with in the end
        self._ctx = ctx
        self._left_out = definition.left_out
        self._is_graph = definition.graph is not None
        self._passed_by = dict(definition.passed_by)
        self._has_workspace = False  # a step has worked in it, in this life of the run or another

    async def set_variables(self, written: Mapping[str, Any]) -> None:
        """Take the variables of the definition; raises TemplateError."""
        try:
            await self.names.set_variables(written)
        except TemplateError as error:
            raise self.places.told(error) from error

    def status_of(self, step: StepDefinition) -> str:
        """Return the recorded status of the next time this step is performed."""
        recorded = self._ctx.peek(step.name)
        return "pending" if recorded is None else str(recorded.status)

    def settled_seq_of(self, step: StepDefinition) -> int:
        """Return the number of the event with which a step has settled, 0 if it has not."""
        recorded = self._ctx.peek(step.name)
        return 0 if recorded is None else recorded.settled_seq or 0

    async def skip(self, step: StepDefinition, reason: str | None = None, ending: Ending | None = None) -> bool:
        """Record a step as skipped, for a reason given, since it was not chosen or since its condition is false; True
        if it was.

        A step that has begun goes on. One that was skipped stays so, unless a user gave it an output."""
        recorded = self._ctx.peek(step.name)
        status = "pending" if recorded is None else str(recorded.status)
        # A step that the run was to begin after has a record once somebody asks for it (`resume --from-step`).
        passed_by = self._passed_by.pop(step.name, None)
        reason = reason or self._left_out.get(step.name) or (passed_by if recorded is None else None)
        if status == "pending":
            if reason is None and await self._holds(step, ending):
                return False
        elif recorded is None or status != "skipped" or recorded.output_json is not None:
            return False
        self._ctx.skip(step.name, reason or "its condition is false")
        self.names.skipped(step.name)
        self.performed.add(step.name)
        return True

    async def pass_over(self, step: StepDefinition, reason: str) -> None:
        """Record a step as skipped that a jump leaves out. A clean-up is left for the end, whatever leads past it."""
        if not step.always_run:
            await self.skip(step, reason)

    async def _holds(self, step: StepDefinition, ending: Ending | None) -> bool:
        try:
            return step.condition is None or await holds(step.condition, self._seen(self.names.seen_by(step, ending)))
        except FlujoError:
            return True  # it is met again in the step's body, and is the step's own failure there

    async def perform(self, step: StepDefinition, ending: Ending | None = None) -> StepFailed | None:
        """Perform a step; returns its failure, told as its definition wants it told. `ending` says what ended the
        run."""
        self.performed.add(step.name)
        recorded = self._ctx.peek(step.name)
        attempt = 0 if recorded is None else recorded.attempt
        status = "skipped" if recorded is not None and recorded.status == "skipped" else "completed"

        if step.called.needs_workspace and ending is None and not step.always_run:
            await self._require_workspace(step, recorded)

        retry, rules = step.retry, step.text_rules

        async def body() -> Any:
            nonlocal attempt
            attempt = current_attempt().attempt
            seen = self.names.seen_by(step, ending)
            return await self._caller.call(
                step.task, step.inputs, seen, step.timeout_seconds, step.condition, outputs=step.outputs, rules=rules
            )

        if retry != NO_RETRY:
            retry = replace(retry, give_up_on=(*retry.give_up_on, *NOT_RETRIED))
        try:
            if step.repeat is not None:
                result = await self._perform_rounds(step, step.repeat, body, retry, ending)
            elif step.loop is not None:
                attempt = 1
                result = await self._perform_loop(step, step.loop, ending, retry)
            elif step.task.starts_run:
                result = await self._run_child(step, self._seen(self.names.seen_by(step, ending)), retry)
            else:
                bounded_body = prepared(body, plain_options(f"task:{step.task.name}"))
                result = await self._ctx.step(bounded_body, name=step.name, retry=retry, timeout=step.timeout_seconds)
        except StepFailed as error:
            failure = error
            self._has_workspace |= step.called.needs_workspace and attempt > 0
        else:
            self._has_workspace |= step.called.needs_workspace and attempt > 0
            self.names.completed(step.name, result, attempt, status)
            self.deferred.pop(step.name, None)
            is_to_fail = step.loop is not None and step.on_error.fails_at_the_end
            if is_to_fail and (deferred := failure_at_the_end(step.name, result)) is not None:
                self.deferred[step.name] = deferred
            return None
        if step.on_error.message is not None:
            seen = self._seen(self.names.seen_after(step, failure))
            message = await self._message(step, step.on_error.message, seen, failure)
            message = bounded(self._secrets.redactor.text(message), MAX_MESSAGE)
            failure = StepFailed(failure.step, failure.type, message, failure.attempt)
        self.names.failed(step.name, failure)
        if step.on_error.fails_at_the_end:
            self.deferred[step.name] = failure
        return failure

    async def _message(self, step: StepDefinition, template: str, seen: Mapping[str, Any], failure: StepFailed) -> str:
        """Return what a failure is told as. A message that cannot be rendered must not hide it."""
        try:
            return as_text(await render(template, seen))
        except TemplateError as error:
            told = self.places.told(error, step.name).message
            return f"{failure.error} (its `message` could not be rendered: {told})"

    async def _perform_rounds(
        self,
        step: StepDefinition,
        repeat: Repeat,
        body: Callable[[], Awaitable[Any]],
        retry: RetryPolicy,
        ending: Ending | None,
    ) -> Any:
        """Perform a step until its result is as wanted: each round, and each pause between two, is a repeat of the
        step, or in a graph an item of it, with a record of its own, so that none is a failure."""

        def round_body(number: int) -> Callable[[], Awaitable[Any]]:
            async def perform_round() -> Any:
                result = await body()
                try:
                    is_last = await self._is_done(step, repeat, ending, result)
                except FlujoError as error:
                    told = self.places.told(error, step.name) if isinstance(error, TemplateError) else error
                    self._secrets.fail(told, step.name, current_attempt().attempt)
                if number >= repeat.rounds and not is_last:
                    raise RepeatLimitError(repeat)
                return result

            return perform_round

        is_last = partial(self._is_last, step, repeat, ending)
        options = plain_options(f"task:{step.task.name}")
        if self._is_graph:
            options = options._replace(retry=retry, timeout_seconds=step.timeout_seconds)
            return await self._ctx.rounds(Rounds(round_body, options, is_last, repeat.seconds), name=step.name)
        numbers = count(1)
        while True:
            self._require_recorded(step)
            number = next(numbers)
            result = await self._ctx.step(
                prepared(round_body(number), options), name=step.name, retry=retry, timeout=step.timeout_seconds
            )
            if await is_last(result):
                return result
            self._require_recorded(step)
            await self._ctx.sleep(repeat.seconds, name=step.name)

    async def _is_last(self, step: StepDefinition, repeat: Repeat, ending: Ending | None, result: Any) -> bool:
        """`_is_done` of what is recorded, outside of an attempt."""
        try:
            return await self._is_done(step, repeat, ending, result)
        except TemplateError as error:
            told = self.places.told(error, step.name)
            raise type(error)(self._secrets.redactor.text(told.message)) from None

    async def _is_done(self, step: StepDefinition, repeat: Repeat, ending: Ending | None, result: Any) -> bool:
        names = self.names.seen_by(step, ending)
        own = {"result": result, "status": "completed", "attempt": 1, "error": None}
        return await holds(
            repeat.until, self._seen({**names, "result": result, "steps": {**names["steps"], step.name: own}})
        )

    def _require_recorded(self, step: StepDefinition) -> None:
        if self.only_recorded and self.status_of(step) not in SETTLED:
            raise _NotRecorded

    async def _perform_loop(
        self, step: StepDefinition, loop: LoopDefinition, ending: Ending | None, retry: RetryPolicy
    ) -> Any:
        async def start(seen: Mapping[str, Any]) -> ChildCall:
            try:
                return ChildCall(*await self._child_of(step, seen))
            except Exception as error:
                self._secrets.fail(error, step.name, 1)

        async def perform(scope: LoopScope | None) -> Any:
            async def call(seen: Mapping[str, Any]) -> Any:
                return await self._caller.call(
                    loop.task, loop.inputs, seen, step.timeout_seconds, scope=scope, rules=step.text_rules
                )

            performed = loop_for(step, loop, self._seen(self.names.seen_by(step, ending)), retry, call, start)
            performed = self.places.loop(step.name, performed)
            if self._secrets.are_any:
                performed = self._secrets.loop(step.name, performed)
            return await self._ctx.loop(performed, name=step.name)

        return await sharing(loop.task, perform)

    async def _run_child(self, step: StepDefinition, seen: Mapping[str, Any], retry: RetryPolicy) -> Any:
        async def start() -> ChildCall:
            return ChildCall(*await self._child_of(step, seen))

        async def wait(call: ChildCall) -> Any:
            return await self._ctx.run_child(
                call.workflow, call.inputs, name=step.name, labels=call.labels, retry=retry, adapt=call.adapt
            )

        async def fail(body: Callable[[], Awaitable[NoReturn]]) -> Any:
            async def redacted() -> NoReturn:
                try:
                    await body()
                except Exception as error:
                    self._secrets.fail(error, step.name, current_attempt().attempt)

            return await self._ctx.step(prepared(redacted, plain_options(f"task:{step.task.name}")), name=step.name)

        return await perform_child(self._ctx.peek(step.name), start, wait, fail)

    async def _child_of(self, step: StepDefinition, seen: Mapping[str, Any]) -> ChildStart:
        """Return what a step, or an item of a loop, starts."""
        self._secrets.require()
        try:
            start = await child_start(step, seen, self._load)
        except TemplateError as error:
            raise self.places.told(error, step.name) from error
        return start.begun_by(self._secrets, self._ctx.environment.get(DEPTH, 0))

    def _seen(self, names: dict[str, Any]) -> dict[str, Any]:
        """Return template names with the secrets, where there are any."""
        return self._secrets.seen(names) if self._secrets.names else names

    async def outputs(self, outputs: Mapping[str, Any]) -> Any:
        """Return the outputs of the run; raises TemplateError."""
        redactor = self._secrets.redactor if self._secrets.are_any else None
        try:
            rendered = await render(outputs, self._seen(self.names.seen_at_the_end()))
        except TemplateError as error:
            told = self.places.told(error)
            raise (told if redactor is None else TemplateError(redactor.text(told.message))) from None
        return rendered if redactor is None else redactor.value(rendered)

    async def _require_workspace(self, step: StepDefinition, recorded: Recorded | None) -> None:
        """Pause the run if its workspace is gone although an earlier step, or an item of this loop, has worked in it: a
        step that has not come to its end would work on nothing."""
        is_settled = recorded is not None and recorded.status in SETTLED
        if is_settled or not (self._has_workspace or (step.loop is not None and self._has_begun_items(step.name))):
            return
        if not os.path.isdir(self._ctx.environment["workspace"]):  # noqa: ASYNC240 - one system call
            await self._ctx.pause_without_workspace()

    def _has_begun_items(self, name: str) -> bool:
        """True if an item of a loop has been at work in an earlier life; those that are to be tried anew come first."""
        items = takewhile(bool, (self._ctx.peek(f"{name}[{index}]") for index in count()))
        return any(item is not None and item.attempt > 0 for item in items)
