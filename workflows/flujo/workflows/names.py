"""What templates see as the steps of one run go by.

In a sequence a step sees everything that has happened. In a graph it sees only what it waits for, so that what a
template gives never depends on which of two steps was faster.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flujo.kernel.errors import StepFailed
from flujo.kernel.programs import planned_name

from .definitions import Definition, StepDefinition
from .parameters import Parameter
from .seen import NotRun, Variables
from .templates import TemplateError, render
from .texts import as_argument

Failure = dict[str, Any]
"""`step`, `type` and `message`: what templates see as `error`."""


class Ending(NamedTuple):
    """Why clean-ups run although not all steps have: `failed`, `cancelled` or `timeout`, and what they see as
    `error`."""

    reason: str
    error: Failure


class StepNames:
    """The names of one run. One owner: the interpreter that runs it."""

    def __init__(
        self, definition: Definition, run_id: str, environment: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> None:
        log_file = environment.get("log_file")
        self.log_file = None if log_file is None else Path(log_file)
        self.variables: Mapping[str, str] = environment.get("variables", {})
        self._graph = definition.graph
        self._handled = definition.handled
        self._steps: dict[str, Any] = {step.name: NotRun(step.name, "pending") for step in definition.steps}
        self._steps |= {name: NotRun(name, "pending") for name in definition.outside}
        self._failures: dict[str, Failure] = {}  # in the order they happened
        inputs = {**inputs, **_paths(definition, inputs, environment.get("start_dir", ""))}
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
            "env": Variables(environment.get("env", {})),
            "settings": definition.settings,
            "workflow": {
                "name": definition.name,
                "version": definition.version,
                "file": own["workflow_file"],
                "dir": own["workflow_dir"],
            },
            "run": {"id": run_id, "number": own["run_number"], "started_at": own["timestamp"], "reason": None},
        }

    async def set_variables(self, written: Mapping[str, Any]) -> None:
        """Take the variables of the definition, which see everything but steps; raises TemplateError."""
        if not written:
            return
        rendered = await render(written, {**self._fixed, "steps": {}, "error": None})
        given: dict[str, str] = {}
        for name, value in rendered.items():
            try:
                given[name] = as_argument(value, f"`{name}` in `env`")
            except TypeError as error:
                raise TemplateError(str(error), str(written[name])) from None
        self.variables = {**self.variables, **given}
        self._fixed["env"] = Variables({**self._fixed["env"], **given})

    def seen_by(self, step: StepDefinition, ending: Ending | None = None) -> dict[str, Any]:
        """Return the names as they stand when a step starts; later steps do not change what was handed out.

        `error` is what ended the run, if that is over (`ending`), or a failure that the definition goes on after: in a
        sequence the last one; for a handler the first it handles and else the last the step waits for, by their order
        in the file.
        """
        before: Collection[str] | None = None
        if self._graph is not None and self._graph.waits_for[step.name]:
            before = self._graph.before(step.name)
        if ending is not None:
            run = {**self._fixed["run"], "reason": ending.reason}
            return {**self._names(ending.error, before), "run": run}
        if self._graph is None:
            error = self._last_failure()
        elif handled := self._handled.get(step.name):
            error = self._failures_among(handled)[0] if self.has_failed(handled) else None
        else:
            error = next(reversed(self._failures_among(before or ())), None)
        return self._names(error, before)

    def seen_at_the_end(self) -> dict[str, Any]:
        """Return the names that `outputs` see."""
        if self._graph is None:
            return self._names(self._last_failure())
        return self._names(next(reversed(self._failures_among(self._steps)), None))

    def seen_after(self, step: StepDefinition, failure: StepFailed) -> dict[str, Any]:
        """Return the names that the message of a step's failure sees."""
        return {**self.seen_by(step), "error": _told(step.name, failure)}

    def has_failed(self, names: Collection[str]) -> bool:
        """True if any of these steps has failed."""
        return bool(self._failures_among(names))

    def _names(self, error: Failure | None, before: Collection[str] | None = None) -> dict[str, Any]:
        steps = dict(self._steps)
        if before is not None:
            steps = {name: each if name in before else NotRun(name, "pending") for name, each in steps.items()}
        return {**self._fixed, "steps": steps, "error": error}

    def _last_failure(self) -> Failure | None:
        return next(reversed(self._failures.values()), None)

    def _failures_among(self, names: Collection[str]) -> list[Failure]:
        """Return the failures among these steps, by their order in the file."""
        return [self._failures[name] for name in self._steps if name in names and name in self._failures]

    def completed(self, name: str, result: Any, attempt: int, status: str) -> None:
        """Note the result of a step; a user may have given one to a step that was `skipped`."""
        self._failures.pop(name, None)
        self._steps[name] = {"result": result, "status": status, "attempt": attempt, "error": None}

    def failed(self, name: str, failure: StepFailed) -> None:
        """Note that a step has failed for good: it has no result that is defined."""
        told = _told(name, failure)
        error = {"type": told["type"], "message": told["message"]}
        self._steps[name] = {"status": "failed", "attempt": failure.attempt, "error": error}
        self._failures.pop(name, None)  # the last one that happened stands last
        self._failures[name] = told

    def skipped(self, name: str) -> None:
        """Note that a step was skipped."""
        self._failures.pop(name, None)
        self._steps[name] = NotRun(name, "skipped")


def told(failure: StepFailed) -> Failure:
    """Return a failure as templates see it."""
    return _told(planned_name(failure.step), failure)


def _told(name: str, failure: StepFailed) -> Failure:
    return {"step": name, "type": failure.type, "message": failure.error}


def _paths(definition: Definition, inputs: Mapping[str, Any], start_dir: str) -> dict[str, Any]:
    """Return the inputs that are paths, or lists of them, counted from where the run was started."""

    def read(parameter: Parameter, value: Any) -> Any:
        if parameter.format == "path" and isinstance(value, str):
            return os.path.normpath(os.path.join(start_dir, value))
        if parameter.items is not None and isinstance(value, list):
            items = parameter.items
            return [read(items, each) for each in value] if _has_paths(items) else value
        return value

    with_paths = [each for each in definition.parameters if _has_paths(each) and each.name in inputs]
    return {each.name: read(each, inputs[each.name]) for each in with_paths}


def _has_paths(parameter: Parameter) -> bool:
    """True if a parameter, or an item of it, is a path."""
    return parameter.format == "path" or (parameter.items is not None and _has_paths(parameter.items))
