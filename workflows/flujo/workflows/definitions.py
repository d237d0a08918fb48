"""A definition: what a YAML text says, checked as far as it can be before anything runs.

`read_definition` goes through the tree once and notes every problem with its line and column: keys that do not
belong, wrong types, unknown tasks and inputs, templates that are malformed or mention what does not exist or runs
later. What it returns is frozen and needs no further checks.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flujo.kernel.durations import parse_duration
from flujo.kernel.errors import DeclarationError, InvalidDurationError, InvalidNameError
from flujo.kernel.keys import check_step_name
from flujo.kernel.retry import NO_RETRY, RetryPolicy

from .documents import Node, Position, Problems, read_document
from .parameters import Parameter, declare, keyword_problems, shown, unknown
from .registry import Task, Tasks
from .templates import (
    ROOT_NAMES,
    STEP_FIELDS,
    References,
    TemplateError,
    condition_references,
    is_template,
    references,
)

TOP_KEYS = ("name", "description", "version", "params", "steps", "outputs", "labels", "timeout", "settings")
STEP_KEYS = ("name", "task", "inputs", "params", "description", "condition", "retry", "timeout", "on_error")
RETRY_KEYS = ("max_attempts", "delay", "backoff", "max_delay", "jitter", "on_error", "give_up_on", "max_elapsed")

TOP_KEYS_TO_COME = ("flows", "imports", "secrets", "max_parallel", "retention")
STEP_KEYS_TO_COME = ("depends_on", "for_each", "always_run", "outputs", "progress_update", "progress_interval")

_PLACES = {
    "the top level": (*TOP_KEYS, *TOP_KEYS_TO_COME),
    "a step": (*STEP_KEYS, *STEP_KEYS_TO_COME),
    "`retry`": RETRY_KEYS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDefinition:
    """One step as it is written. `digest` covers its task, inputs and condition, unrendered, and nothing else."""

    name: str
    task: Task
    inputs: Mapping[str, Any]
    condition: bool | str | None
    retry: RetryPolicy
    timeout_seconds: float | None
    goes_on_after_failure: bool
    description: str | None

    @property
    def digest(self) -> str:
        written = json.dumps([self.task.name, self.inputs, self.condition], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(written.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A valid definition. `outputs` None: none are declared. `env_names`: the variables its templates mention."""

    name: str
    text: str
    steps: tuple[StepDefinition, ...]
    description: str | None = None
    version: str | None = None
    parameters: tuple[Parameter, ...] = ()
    outputs: Mapping[str, Any] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    env_names: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_definition(text: str, file: str, tasks: Tasks) -> Definition:
    """The definition in `text`; raises DefinitionError with every problem there is."""
    problems = Problems(file)
    root = read_document(text, problems)
    definition = None if root is None else _Reader(problems, tasks).definition(root, text)
    problems.raise_if_any()
    assert definition is not None
    return definition


class _Reader:
    """Turns nodes into values and notes what is wrong with them; a value that is wrong becomes a harmless one."""

    def __init__(self, problems: Problems, tasks: Tasks) -> None:
        self._add = problems.add
        self._tasks = tasks
        self._parameters: dict[str, Parameter] = {}
        self._steps: dict[str, Position] = {}
        self._env_names: set[str] = set()

    # -- the parts of a definition ------------------------------------------------------------------------------

    def definition(self, root: Node, text: str) -> Definition | None:
        if not isinstance(root.value, dict):
            self._add(root.at, f"a workflow is a mapping with `name` and `steps`, not {_kind(root)}")
            return None
        self._check_keys(root, TOP_KEYS, TOP_KEYS_TO_COME, "the top level")
        top = root.value
        for key in ("name", "steps"):
            if key not in top:
                self._add(Position(1, 1), f"`{key}` is missing")
        self._parameters = self._read_parameters(top.get("params"))
        steps = self._read_steps(top.get("steps"))
        return Definition(
            name=self._name(top.get("name"), "workflow name"),
            text=text,
            steps=steps,
            description=self._text(top.get("description"), "`description`"),
            version=self._text(top.get("version"), "`version`"),
            parameters=tuple(self._parameters.values()),
            outputs=self._read_outputs(top.get("outputs")),
            labels=self._read_labels(top.get("labels")),
            timeout_seconds=self._duration(top.get("timeout"), "`timeout`"),
            settings={key: node.plain() for key, node in self._mapping(top.get("settings"), "`settings`").items()},
            env_names=frozenset(self._env_names),
        )

    def _read_parameters(self, node: Node | None) -> dict[str, Parameter]:
        read: dict[str, Parameter] = {}
        for name, declaration in self._mapping(node, "`params`").items():
            assert node is not None
            if not name.isidentifier():
                self._add(node.keys[name], f"`{name}` is not a parameter name: letters, digits and _, no digit first")
            read[name] = Parameter(name=name)
            if declaration.value is None:
                continue
            if not isinstance(declaration.value, dict):
                self._add(
                    declaration.at,
                    f"parameter `{name}` must be a mapping such as {{type: string, default: x}}, "
                    f"not {_kind(declaration)}",
                )
                continue
            keywords = declaration.plain()
            found = keyword_problems(keywords)
            for keyword, problem in found.items():
                known = declaration.value[keyword]
                unknown_keyword = problem.startswith("there is no")
                self._add(declaration.keys[keyword] if unknown_keyword else known.at, f"parameter `{name}`: {problem}")
            if not found:
                read[name] = declare(name, keywords)
        return read

    def _read_outputs(self, node: Node | None) -> dict[str, Any] | None:
        if node is None:
            return None
        outputs = self._mapping(node, "`outputs`")
        self._check_templates(node, list(self._steps))
        return {key: value.plain() for key, value in outputs.items()}

    def _read_labels(self, node: Node | None) -> dict[str, str]:
        labels: dict[str, str] = {}
        for key, value in self._mapping(node, "`labels`").items():
            if isinstance(value.value, (dict, list)) or value.value is None:
                self._add(value.at, f"label `{key}` must be text, not {_kind(value)}")
            labels[key] = value.source
        return labels

    def _read_steps(self, node: Node | None) -> tuple[StepDefinition, ...]:
        if node is None:
            return ()
        if not isinstance(node.value, list):
            self._add(node.at, f"`steps` must be a list, not {_kind(node)}")
            return ()
        if not node.value:
            self._add(node.at, "`steps` must have at least one step")
        mappings: list[Node] = []
        for item in node.value:
            if isinstance(item.value, dict):
                mappings.append(item)
                self._note_step_name(item)
            else:
                self._add(item.at, f"a step is a mapping with `name` and `task`, not {_kind(item)}")
        steps = [self._read_step(item) for item in mappings]
        return tuple(step for step in steps if step is not None)

    def _note_step_name(self, step: Node) -> None:
        node = step.value.get("name")
        if node is None or not isinstance(node.value, str):
            return
        if (first := self._steps.get(node.value)) is not None:
            self._add(node.at, f"there are two steps called `{node.value}`, the first one in line {first.line}")
        else:
            self._steps[node.value] = node.at

    def _read_step(self, node: Node) -> StepDefinition | None:
        entries = node.value
        for key in ("name", "task"):
            if key not in entries:
                self._add(node.at, f"`{key}` is missing in this step")
        name = self._name(entries.get("name"), "step name")
        task = self._task(entries.get("task"))
        self._check_keys(node, STEP_KEYS, STEP_KEYS_TO_COME, "a step", task)
        before = list(self._steps)
        if name in before:
            before = before[: before.index(name)]
        inputs = self._read_inputs(node, task, before, name)
        condition = self._read_condition(entries.get("condition"), before, name)
        retry = self._read_retry(entries.get("retry"))
        timeout_seconds = self._duration(entries.get("timeout"), "`timeout`")
        goes_on = self._read_on_error(entries.get("on_error"))
        description = self._text(entries.get("description"), "`description`")
        if task is None:
            return None
        return StepDefinition(
            name=name,
            task=task,
            inputs=inputs,
            condition=condition,
            retry=retry,
            timeout_seconds=timeout_seconds,
            goes_on_after_failure=goes_on,
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

    def _read_inputs(self, step: Node, task: Task | None, before: list[str], name: str) -> dict[str, Any]:
        """`inputs:` and `params:` are two words for one mapping."""
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
            self._check_templates(value, before, name)
        plain = {each: value.plain() for each, (_, value) in given.items()}
        if task is not None:
            self._check_inputs(step, task, given)
            if task.env_names is not None:
                self._env_names |= set(task.env_names(plain))
        return plain

    def _check_inputs(self, step: Node, task: Task, given: Mapping[str, tuple[Position, Node]]) -> None:
        written = {each: value.plain() for each, (_, value) in given.items() if not _has_template(value)}
        wrong: set[str] = set()
        for each, (at, value) in given.items():
            parameter = task.input(each)
            if parameter is None and not task.takes_any_input:
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

    def _read_condition(self, node: Node | None, before: list[str], name: str) -> bool | str | None:
        if node is None or node.value is None:
            return None
        if isinstance(node.value, bool):
            return node.value
        if not isinstance(node.value, str):
            self._add(node.at, f"`condition` must be true, false or an expression, not {_kind(node)}")
            return None
        if node.value.strip().lower() not in ("true", "false"):
            self._check_references(node, condition_references, before, name)
        return node.value

    def _read_retry(self, node: Node | None) -> RetryPolicy:
        if node is None or node.value is None:
            return NO_RETRY
        if isinstance(node.value, int) and not isinstance(node.value, bool):
            if node.value < 0:
                self._add(node.at, "`retry` must not be negative")
            return RetryPolicy(max_attempts=max(node.value, 0) + 1)
        if not isinstance(node.value, dict):
            self._add(node.at, f"`retry` must be a number of further attempts or a mapping, not {_kind(node)}")
            return NO_RETRY
        self._check_keys(node, RETRY_KEYS, (), "`retry`")
        chosen: dict[str, Any] = {}
        for key, value in node.value.items():
            if key in RETRY_KEYS and (read := self._read_retry_key(key, value)) is not None:
                chosen[key] = read
        return RetryPolicy(**chosen)

    def _read_retry_key(self, key: str, node: Node) -> Any:
        if key in ("delay", "max_delay", "max_elapsed"):
            return self._duration(node, f"`{key}`", zero=True)
        if key in ("on_error", "give_up_on"):
            names = [node] if isinstance(node.value, str) else node.value
            if isinstance(names, list) and all(isinstance(each.value, str) for each in names):
                return tuple(each.value for each in names)
            self._add(node.at, f"`{key}` must be a list of error names such as [ConnectionError]")
            return None
        for problem in _RETRY_NUMBERS[key].problems(node.value):
            self._add(node.at, f"`{key}` {problem}")
            return None
        return node.value

    def _read_on_error(self, node: Node | None) -> bool:
        if node is None or node.value in ("fail", "continue"):
            return node is not None and node.value == "continue"
        if isinstance(node.value, dict):
            self._add(
                node.at, "the mapping form of `on_error` is not supported by this release; write fail or continue"
            )
        else:
            self._add(node.at, f"`on_error` must be fail or continue, not {shown(node.plain())}")
        return False

    # -- templates ----------------------------------------------------------------------------------------------

    def _check_templates(self, node: Node, before: list[str], name: str | None = None) -> None:
        for scalar in node.scalars():
            if isinstance(scalar.value, str) and is_template(scalar.value):
                self._check_references(scalar, references, before, name)

    def _check_references(
        self, node: Node, read: Callable[[str], References], before: list[str], name: str | None
    ) -> None:
        try:
            mentioned = read(node.value)
        except TemplateError as error:
            self._add(node.at, error.message)
            return
        self._env_names |= mentioned.env
        known = {*ROOT_NAMES, *self._parameters}
        for root in sorted(mentioned.roots - known - {"range", "dict"}):
            self._add(node.at, f"{unknown('name', root, known)} (in a template)")
        for parameter in sorted(mentioned.parameters - self._parameters.keys()):
            self._add(node.at, f"{unknown('parameter', parameter, self._parameters)} (in a template)")
        for step in sorted(mentioned.steps):
            if (problem := self._problem_with_step(step, before, name)) is not None:
                self._add(node.at, problem)
        for step, each in sorted(mentioned.fields):
            if step in self._steps and each not in STEP_FIELDS:
                self._add(node.at, f"`steps.{step}` has no `{each}`; it has: {', '.join(STEP_FIELDS)}")
        if mentioned.computed_env:
            self._add(node.at, "the name of a variable in `env` must be written out, so that it can be recorded")

    def _problem_with_step(self, step: str, before: list[str], name: str | None) -> str | None:
        if step in before:
            return None
        if step == name:
            return f"step `{step}` cannot refer to itself"
        if step in self._steps:
            return f"step `{step}` runs later than this one"
        longer = [each for each in self._steps if each.startswith((f"{step}-", f"{step}."))]
        if longer:
            return f"there is no step `{step}`; for `{longer[0]}` write steps['{longer[0]}']"
        return unknown("step", step, self._steps)

    # -- values -------------------------------------------------------------------------------------------------

    def _check_keys(
        self, node: Node, known: Iterable[str], to_come: Iterable[str], place: str, task: Task | None = None
    ) -> None:
        for key in node.value:
            if key in known:
                continue
            at = node.keys[key]
            elsewhere = [where for where, keys in _PLACES.items() if key in keys]
            if key in to_come:
                self._add(at, f"`{key}` is not supported by this release")
            elif task is not None and task.input(key) is not None:
                self._add(at, f"`{key}` is an input of task `{task.name}`; put it under `inputs`")
            elif elsewhere:
                self._add(at, f"`{key}` belongs to {elsewhere[0]}, not to {place}")
            elif near := difflib.get_close_matches(key, list(known), 1):
                self._add(at, f"{place} has no key `{key}`; did you mean `{near[0]}`?")
            else:
                self._add(at, f"{place} has no key `{key}`; it has: {', '.join(known)}")

    def _mapping(self, node: Node | None, what: str) -> dict[str, Node]:
        if node is None or node.value is None:
            return {}
        if not isinstance(node.value, dict):
            self._add(node.at, f"{what} must be a mapping, not {_kind(node)}")
            return {}
        return node.value

    def _text(self, node: Node | None, what: str) -> str | None:
        if node is None:
            return None
        if isinstance(node.value, str):
            return node.value
        if isinstance(node.value, (dict, list)) or node.value is None:
            self._add(node.at, f"{what} must be text, not {_kind(node)}")
        else:
            self._add(node.at, f'{what} must be text, not {_kind(node)}; quote it: "{node.source}"')
        return None

    def _name(self, node: Node | None, what: str) -> str:
        text = self._text(node, "`name`")
        if node is None or text is None:
            return "unnamed"
        try:
            return check_step_name(text)
        except InvalidNameError as error:
            self._add(node.at, f"{shown(text)} is not a valid {what}: {error.rule}")
            return text

    def _duration(self, node: Node | None, what: str, *, zero: bool = False) -> float | None:
        if node is None or node.value is None:
            return None
        try:
            seconds = parse_duration(node.value)
        except InvalidDurationError as error:
            self._add(node.at, f"{what}: {shown(node.plain())} is not a duration; {error.hints[0]}")
            return None
        if seconds == 0 and not zero:
            self._add(node.at, f"{what} must be longer than nothing")
            return None
        return seconds


_RETRY_NUMBERS = {
    "max_attempts": Parameter(name="max_attempts", types=("integer",), minimum=1),
    "backoff": Parameter(name="backoff", types=("number",), minimum=1),
    "jitter": Parameter(name="jitter", types=("number",), minimum=0, maximum=1),
}


def _has_template(node: Node) -> bool:
    return any(isinstance(each.value, str) and is_template(each.value) for each in node.scalars())


def _kind(node: Node) -> str:
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return f"the value {node.source}"
    if isinstance(node.value, str):
        return f"the text {shown(node.value)}"
    return f"the number {node.source}"
