"""One step of a definition, from its node: its task and inputs, its condition, and what it does besides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flujo.kernel.errors import DeclarationError, InvalidNameError
from flujo.kernel.keys import check_step_name

from .definition_keys import REPEAT_KEYS, RULES, STEP_KEYS, STEP_KEYS_TO_COME, as_meant, check_keys
from .definitions import LoopDefinition, Repeat, StepDefinition
from .documents import Node, Position, Problems
from .failure_reader import FailureReader
from .input_reader import InputReader, Scope
from .loop_reader import LoopReader
from .other_systems import TASKS_OF_OTHER_SYSTEMS
from .proposed_names import proposed_name
from .reading import NodeReader, kind_of
from .registry import BUILT_IN, Task, Tasks
from .settings_reader import RETRIED_BY, WITHOUT_RESULT, WITHOUT_RETRY
from .step_order import StepOrder
from .template_checks import TemplateChecks
from .wording import shown, unknown

INTERVAL = 10.0
ROUNDS = 1000
"""Of a repeated step, unless it says otherwise."""

NOTHING_FOR_ALL: Mapping[str, Node] = {}

_OUTPUTS = "{size: '{{ result.stdout | int }}'}"
_REPEAT = "{until: result.json.state == 'done', interval: 10s, max: 100}"


class StepReader(NodeReader):
    """Reads the steps of one definition, whose order is known. `of_all` is what `defaults` says, by key."""

    def __init__(
        self,
        problems: Problems,
        tasks: Tasks,
        order: StepOrder,
        templates: TemplateChecks,
        of_all: Mapping[str, Node] = NOTHING_FOR_ALL,
    ) -> None:
        super().__init__(problems)
        self._of_all = of_all
        self._problems = problems
        self._tasks = tasks
        self._order = order
        self._templates = templates
        self._proposed: set[str] = set()
        self._failures = FailureReader(problems, order, templates)
        self._inputs = InputReader(problems, templates)
        self._loops = LoopReader(problems, self._inputs, templates, self._task)

    def _name(self, node: Node | None) -> str:
        text = self._text(node, "`name`")
        if node is None or text is None:
            return "unnamed"
        try:
            return check_step_name(text)
        except InvalidNameError as error:
            names = list(self._order.steps)
            number = names.index(text) + 1 if text in names else len(names) + 1
            proposed = proposed_name(text, number, {*names, *self._proposed})
            self._proposed.add(proposed)
            self._add(node.at, f"{shown(text)} is not a valid step name: {error.rule}; for example {proposed}")
            return text

    def step(self, node: Node) -> StepDefinition | None:
        """Return the step of a node that is a mapping; None if it names no task that there is."""
        entries = node.value
        if len(entries) == 1 and not entries.keys() & {*STEP_KEYS} and isinstance((*entries.values(),)[0].value, dict):
            (name,) = entries
            self._add(node.at, f"a step of a list begins with its name, and has its keys beside it: `- name: {name}`")
            return None
        for key in ("name", "task"):
            if key not in entries:
                self._add(node.at, f"`{key}` is missing in this step")
        name = self._name(entries.get("name"))
        task = self._task(entries.get("task"))
        check_keys(node, self._problems, "a step", STEP_KEYS, STEP_KEYS_TO_COME, task)
        before = self._order.before(name)
        retry = self._failures.retry(entries.get("retry"))
        timeout_seconds = self._duration(entries.get("timeout"), "`timeout`")
        if task is not None and task.starts_run and timeout_seconds is not None:
            self._add(
                entries["timeout"].at, "a workflow has a `timeout` of its own, at the top of its file; write it there"
            )
        on_error, further = self._failures.on_error(node, before, name)
        condition = self._read_condition(entries.get("condition"), before, name)
        given = self._given(node, task)
        inputs = {each: value.plain() for each, (_, value) in given.items()}
        loop: LoopDefinition | None = None
        scope = Scope(before, name)
        if self._loops.is_loop(node, task):
            loop = self._loops.loop(node, task, given, scope, on_error)
        else:
            self._loops.refuse_progress(node, given)
            inputs = self._inputs.read(task, entries["task"].at if "task" in entries else node.at, given, scope)
        self._refuse_rules(task if loop is None else loop.task, entries.get("retry"))
        self._refuse_retry(task if loop is None else loop.task, entries, further is not None)
        repeat = self._read_repeat(node, task, before, name)
        outputs = self._read_outputs(node, task, scope)
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
            loop=loop,
            at=entries["task"].at,
            repeat=repeat,
            outputs=outputs,
        )

    def _refuse_retry(self, task: Task | None, entries: Mapping[str, Node], is_action: bool) -> None:
        """Note that a step waits for something and is to be tried again, which no wait is, and what its `retry` says
        of failures that its task never has. What holds for all steps is for those that it can be for."""
        retry = entries.get("retry")
        if task is None or (retry is not None and retry is self._of_all.get("retry")):
            return
        if task.name in WITHOUT_RETRY:
            told = f"no wait is tried again: `on_error` of task `{task.name}` says what follows when it was in vain"
            if retry is not None and retry.value:
                self._add(retry.at, told)
            if is_action:
                self._add(entries["on_error"].at, told)
            return
        if retry is None or not isinstance(retry.value, dict) or task.starts_run:
            return
        for key, names in RETRIED_BY.items():
            if key in retry.value and task.name in BUILT_IN and task.name not in names:
                told = f"`{key}` says nothing of task `{task.name}`, only of {', '.join(f'`{name}`' for name in names)}"
                self._add(retry.keys[key], f"{told}; name what it fails with, as in `on_error: [TimeoutError]`")

    def _refuse_rules(self, called: Task | None, retry: Node | None) -> None:
        """Note each rule for what a task itself has come to, where it is another run that is tried again."""
        if called is None or not called.starts_run or retry is None or not isinstance(retry.value, dict):
            return
        if retry is self._of_all.get("retry"):
            return
        for key in retry.value.keys() & {*RULES}:
            self._add(retry.keys[key], f"`{key}` is for the steps of the workflow that is started; write it there")

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
            meant = TASKS_OF_OTHER_SYSTEMS.get(name)
            told = unknown("task", name, self._tasks.names()) if meant is None else None
            self._add(node.at, told or f"there is no task `{name}`; it is {meant} here")
        return task

    def _read_outputs(self, step: Node, task: Task | None, scope: Scope) -> dict[str, Any] | None:
        """Read what a step makes of the result of its task."""
        node = step.value.get("outputs")
        if node is None or node.value is None:
            return None
        if not isinstance(node.value, dict):
            told = "what the task returns is `steps.NAME.result` without them"
            self._add(node.at, f"`outputs` of a step are a mapping such as {_OUTPUTS}, not {kind_of(node)}; {told}")
            return None
        if self._loops.is_loop(step, task):
            self._add(step.keys["outputs"], "`outputs` do not go with a loop, whose result is that of all items")
        elif task is not None and task.name in WITHOUT_RESULT:
            self._add(step.keys["outputs"], f"`outputs` do not go with task `{task.name}`")
        self._templates.check(node, scope.before, scope.name, also=frozenset({"result"}))
        return {key: value.plain() for key, value in node.value.items()}

    def _read_repeat(self, step: Node, task: Task | None, before: Collection[str], name: str) -> Repeat | None:
        node = step.value.get("repeat")
        if node is None or node.value is None:
            return None
        if not isinstance(node.value, dict):
            self._add(node.at, f"`repeat` must be a mapping such as {_REPEAT}, not {kind_of(node)}")
            return None
        check_keys(node, self._problems, "`repeat`", REPEAT_KEYS)
        node = as_meant(node, "`repeat`", REPEAT_KEYS)
        until = node.value.get("until")
        if until is None or not isinstance(until.value, str):
            self._add(node.at if until is None else until.at, f"`repeat` needs `until`, a condition, as in {_REPEAT}")
        else:
            self._templates.check_condition(until, {*before, name}, name, frozenset({"result"}))
        if self._loops.is_loop(step, task):
            self._add(step.keys["repeat"], "`repeat` does not go with a loop over items")
        elif task is not None and task.name in WITHOUT_RESULT:
            self._add(
                step.keys["repeat"], f"`repeat` does not go with task `{task.name}`, which has no result to look at"
            )
        seconds = self._duration(node.value.get("interval"), "`interval`", zero=True)
        rounds = self._number(node.value.get("max"), "max")
        return Repeat(
            until="true" if until is None else str(until.value),
            seconds=INTERVAL if seconds is None else seconds,
            rounds=rounds or ROUNDS,
        )

    def _given(self, step: Node, task: Task | None) -> dict[str, tuple[Position, Node]]:
        """Return the inputs of a step: `inputs:` and `params:` are two words for one mapping, and the `env` of a
        command may stand beside them."""
        given: dict[str, tuple[Position, Node]] = {}
        for key in ("inputs", "params"):
            node = step.value.get(key)
            for each, value in self._mapping(node, f"`{key}`").items():
                if each in given:
                    self._add(node.keys[each], f"`{each}` is given under `inputs` and under `params`")
                else:
                    given[each] = node.keys[each], value
        for key in step.value.keys() - {*STEP_KEYS} if task is not None else ():
            if task is not None and task.input(key) is not None:  # which is told, and not missing besides
                given.setdefault(key, (step.keys[key], step.value[key]))
        if "env" in step.value:
            at = step.keys["env"]
            if "env" in given:
                self._add(at, "`env` is given under `inputs` too")
            elif task is not None and task.input("env") is None:
                self._add(at, f"task `{task.name}` runs no command that could see `env`")
            else:
                given["env"] = at, step.value["env"]
        return given

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
