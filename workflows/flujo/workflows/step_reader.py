"""One step of a definition, from its node: its task and inputs, its condition, and what it does besides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flujo.kernel.errors import DeclarationError

from .definition_keys import STEP_KEYS, STEP_KEYS_TO_COME, check_keys
from .definitions import StepDefinition
from .documents import Node, Position, Problems
from .failure_reader import FailureReader
from .reading import NodeReader, kind_of
from .registry import Task, Tasks
from .step_order import StepOrder
from .template_checks import TemplateChecks, has_template
from .wording import unknown


class StepReader(NodeReader):
    """Reads the steps of one definition, whose order is known."""

    def __init__(self, problems: Problems, tasks: Tasks, order: StepOrder, templates: TemplateChecks) -> None:
        super().__init__(problems)
        self._problems = problems
        self._tasks = tasks
        self._order = order
        self._templates = templates
        self._failures = FailureReader(problems, order, templates)

    def step(self, node: Node) -> StepDefinition | None:
        """Return the step of a node that is a mapping; None if it names no task that there is."""
        entries = node.value
        for key in ("name", "task"):
            if key not in entries:
                self._add(node.at, f"`{key}` is missing in this step")
        name = self._name(entries.get("name"), "step name")
        task = self._task(entries.get("task"))
        check_keys(node, self._problems, "a step", STEP_KEYS, STEP_KEYS_TO_COME, task)
        before = self._order.before(name)
        seen = len(self._templates.uses)
        inputs = self._read_inputs(node, task, before, name)
        condition = self._read_condition(entries.get("condition"), before, name)
        self._templates.mention_uses(name, seen)
        retry = self._failures.retry(entries.get("retry"))
        timeout_seconds = self._duration(entries.get("timeout"), "`timeout`")
        on_error, further = self._failures.on_error(node, before, name)
        always_run = self._boolean(entries.get("always_run"), "`always_run`")
        description = self._text(entries.get("description"), "`description`")
        if task is None:
            return None
        return StepDefinition(
            name=name,
            task=task,
            inputs=inputs,
            condition=condition,
            retry=further or retry,
            timeout_seconds=timeout_seconds,
            on_error=on_error,
            always_run=always_run,
            description=description,
        )

    def _task(self, node: Node | None) -> Task | None:
        name = self._text(node, "`task`")
        if node is None or name is None:
            return None
        try:
            task = self._tasks.find(name)
        except DeclarationError as error:
            self._add(node.at, error.message)
            return None
        if task is None:
            self._add(node.at, unknown("task", name, self._tasks.names()))
        return task

    def _read_inputs(self, step: Node, task: Task | None, before: Collection[str], name: str) -> dict[str, Any]:
        """Read the inputs of a step: `inputs:` and `params:` are two words for one mapping."""
        given: dict[str, tuple[Position, Node]] = {}
        for key in ("inputs", "params"):
            node = step.value.get(key)
            for each, value in self._mapping(node, f"`{key}`").items():
                if each in given:
                    self._add(node.keys[each], f"`{each}` is given under `inputs` and under `params`")
                elif key == "params" and each in STEP_KEYS_TO_COME:
                    self._add(node.keys[each], f"`{each}` is not supported by this release")
                else:
                    given[each] = node.keys[each], value
        for _, value in given.values():
            self._templates.check(value, before, name)
        plain = {each: value.plain() for each, (_, value) in given.items()}
        if task is not None:
            self._check_inputs(step, task, given)
            if task.mentions is not None:
                self._templates.mention(name, task.mentions(plain))
        return plain

    def _check_inputs(self, step: Node, task: Task, given: Mapping[str, tuple[Position, Node]]) -> None:
        written = {each: value.plain() for each, (_, value) in given.items() if not has_template(value)}
        wrong: set[str] = set()
        for each, (at, value) in given.items():
            parameter = task.input(each)
            if parameter is None and not task.takes_any_input and each in STEP_KEYS:
                self._add(at, f"`{each}` belongs to the step, beside `inputs`, and not among the inputs of a task")
            elif parameter is None and not task.takes_any_input:
                self._add(at, unknown(f"input of task `{task.name}`", each, [known.name for known in task.inputs]))
            elif parameter is not None and each in written:
                for problem in parameter.problems(written[each]):
                    wrong.add(each)
                    self._add(value.at, f"`{each}` {problem}")
        for problem in task.missing(given):
            at = step.value["task"].at
            self._add(at, f"task `{task.name}` {problem}")
        if task.check is not None:
            for each, problem in task.check({key: value for key, value in written.items() if key not in wrong}).items():
                self._add(given[each][1].at, f"`{each}` {problem}")

    def _read_condition(self, node: Node | None, before: Collection[str], name: str) -> bool | str | None:
        if node is None or node.value is None:
            return None
        if isinstance(node.value, bool):
            return node.value
        if not isinstance(node.value, str):
            self._add(node.at, f"`condition` must be true, false or an expression, not {kind_of(node)}")
            return None
        if node.value.strip().lower() not in ("true", "false"):
            self._templates.check_condition(node, before, name)
        return node.value
