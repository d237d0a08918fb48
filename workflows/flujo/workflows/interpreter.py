"""The program a definition is: its steps in order, each rendered, called and checkpointed through the kernel's context.

Inputs are rendered inside the step's body, so that a bad value is that step's failure. A condition is judged before its
step begins and the verdict stays for that generation: a step that has begun is not judged again, a skipped one stays
skipped. The program decides nothing by the clock, so that a replay takes the same path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from flujo.kernel.attempt import current_attempt
from flujo.kernel.errors import FlujoError, StepFailed
from flujo.kernel.retry import NO_RETRY, RetryPolicy
from flujo.kernel.state import SETTLED

from .definitions import Definition, StepDefinition
from .registry import TaskCall
from .runlog import StepLog
from .sandbox import NotRun
from .templates import holds, render

NOT_RETRIED = (
    "flujo.workflows.templates.TemplateError",
    "flujo.workflows.templates.ConditionError",
    "flujo.workflows.registry.TaskInputError",
)
"""Failures of a step that come from what is recorded already: every further attempt would end in the same way."""


class Recorded(Protocol):
    """What is recorded of a step."""

    @property
    def status(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def output_json(self) -> str | None: ...


class RunContext(Protocol):
    """The part of flujo.kernel.context.Context the interpreter needs."""

    @property
    def run_id(self) -> str: ...
    @property
    def environment(self) -> Mapping[str, Any]: ...

    async def step(
        self,
        function: Callable[[], Awaitable[Any]],
        /,
        *,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
    ) -> Any: ...

    def skip(self, name: str, reason: str) -> None: ...

    def peek(self, name: str) -> Recorded | None: ...


async def interpret(definition: Definition, ctx: RunContext, inputs: Mapping[str, Any]) -> Any:
    """Run the steps of a definition; returns its rendered `outputs`, or null when it declares none.

    Raises StepFailed for a step that fails without `on_error: continue`, and TemplateError for outputs that cannot be
    rendered.
    """
    names = _Names(definition, ctx, inputs)
    for step in definition.steps:
        await _perform(step, ctx, names)
    return None if definition.outputs is None else render(definition.outputs, names.current())


async def _perform(step: StepDefinition, ctx: RunContext, names: _Names) -> None:
    recorded = ctx.peek(step.name)
    status = "pending" if recorded is None else str(recorded.status)
    failure: FlujoError | None = None
    if step.condition is not None and status not in SETTLED:
        try:
            if not holds(step.condition, names.current()) and status == "pending":
                ctx.skip(step.name, "its condition is false")
                names.skipped(step.name)
                return
        except FlujoError as error:
            failure = error  # the step's own failure, recorded as one
    attempt = 0 if recorded is None else recorded.attempt

    async def body() -> Any:
        nonlocal attempt
        attempt = current_attempt().attempt
        if failure is not None:
            raise failure
        return await _call(step, names)

    retry = step.retry
    if retry != NO_RETRY:
        retry = replace(retry, give_up_on=(*retry.give_up_on, *NOT_RETRIED))
    try:
        result = await ctx.step(body, name=step.name, retry=retry, timeout=step.timeout_seconds)
    except StepFailed as error:
        if not step.goes_on_after_failure:
            raise
        names.failed(step.name, error)
        return
    if recorded is not None and status == "skipped" and recorded.output_json is None:
        names.skipped(step.name)
    else:
        names.completed(step.name, result, attempt, "skipped" if status == "skipped" else "completed")


async def _call(step: StepDefinition, names: _Names) -> Any:
    """The body of one attempt."""
    context = names.current()
    inputs = step.task.checked(render(step.inputs, context))
    workspace = Path(context["workspace"])
    if step.task.needs_workspace:
        workspace.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - one system call
    attempt = current_attempt()
    log = StepLog(names.log_file, attempt.step, attempt.attempt)
    try:
        return await step.task.run(TaskCall(inputs, workspace, attempt, context, log))
    finally:
        log.close()


class _Names:
    """What templates see, as the steps of one run go by."""

    def __init__(self, definition: Definition, ctx: RunContext, inputs: Mapping[str, Any]) -> None:
        environment = ctx.environment
        log_file = environment.get("log_file")
        self.log_file = None if log_file is None else Path(log_file)
        self._error: dict[str, Any] | None = None
        self._steps: dict[str, Any] = {step.name: NotRun(step.name, "pending") for step in definition.steps}
        own = {
            "workspace": environment.get("workspace", ""),
            "run_number": environment.get("run_number", 1),
            "timestamp": environment.get("timestamp", ""),
            "workflow_name": definition.name,
            "workflow_file": environment.get("workflow_file", ""),
            "workflow_dir": environment.get("workflow_dir", ""),
            "start_dir": environment.get("start_dir", ""),
        }
        self._fixed: dict[str, Any] = {
            **inputs,
            **own,
            "args": dict(inputs),
            "env": dict(environment.get("env", {})),
            "settings": definition.settings,
            "workflow": {
                "name": definition.name,
                "version": definition.version,
                "file": own["workflow_file"],
                "dir": own["workflow_dir"],
            },
            "run": {"id": ctx.run_id, "number": own["run_number"], "started_at": own["timestamp"]},
        }

    def current(self) -> dict[str, Any]:
        """The names as they stand now; later steps do not change what was handed out."""
        return {**self._fixed, "steps": dict(self._steps), "error": self._error}

    def completed(self, name: str, result: Any, attempt: int, status: str) -> None:
        self._steps[name] = {"result": result, "status": status, "attempt": attempt, "error": None}

    def failed(self, name: str, error: StepFailed) -> None:
        told = {"type": error.type, "message": error.error}
        self._steps[name] = {"result": None, "status": "failed", "attempt": error.attempt, "error": told}
        self._error = {"step": name, **told}

    def skipped(self, name: str) -> None:
        self._steps[name] = NotRun(name, "skipped")
