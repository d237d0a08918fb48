"""A step as a loop, from its node: `for_each`, the task `batch`, and how often either reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .definition_keys import LOOP_KEYS, LOOP_TASK_KEYS, PROGRESS_KEYS, as_meant, check_keys
from .definitions import LoopDefinition, OnError
from .documents import Node, Position, Problems
from .input_reader import Given, InputReader, Scope
from .loops import not_a_list
from .marks import is_template
from .reading import NodeReader, has_value
from .registry import Task
from .tasks.batch import batch
from .template_checks import TemplateChecks, has_template
from .templates import LOOP_NAMES, ROOT_NAMES, gives_text
from .wording import nearest, shown, unknown

REPORT_SECONDS = 5.0
"""How often a loop reports its progress, unless `progress_interval` says otherwise."""

FindTask = Callable[[Node | None], Task | None]

_OF_BATCH = {
    **dict.fromkeys(("batch_size", "chunks"), "`chunk_size`: how many items are at work before the next ones begin"),
    **dict.fromkeys(("max_parallel", "concurrency", "limit", "workers"), "`max_workers`"),
    "parallel": "`max_workers: 1` for one item after the other, a higher number for several at once",
    **dict.fromkeys(("continue_on_error", "on_item_error"), "`on_error: continue` or `on_error: fail` beside `task`"),
    **dict.fromkeys(("retry", "timeout", "on_error", "condition"), "it beside `task: batch`, not under its inputs"),
    **dict.fromkeys(("processor", "function", "step", "steps"), "`task: {task: NAME, inputs: {…}}`"),
    **dict.fromkeys(("list", "over", "values", "for_each"), "`items`"),
    **dict.fromkeys(("as", "var", "variable", "item_name"), "`arg_name`"),
}
"""What other words for the inputs of `batch` are called here."""


class LoopReader(NodeReader):
    """Reads the loops of one definition."""

    def __init__(self, problems: Problems, inputs: InputReader, templates: TemplateChecks, find_task: FindTask) -> None:
        super().__init__(problems)
        self._problems = problems
        self._inputs = inputs
        self._templates = templates
        self._find_task = find_task

    def is_loop(self, step: Node, task: Task | None) -> bool:
        """True if a step is performed once per item."""
        return has_value(step, "for_each") or task is batch

    def loop(
        self, step: Node, task: Task | None, given: dict[str, tuple[Position, Node]], scope: Scope, on_error: OnError
    ) -> LoopDefinition | None:
        """Return the loop that a step with these inputs is; None if its items call no task that there is."""
        report_seconds = self._report_seconds(step, given)
        if task is not batch:
            found = self._for_each(step, task, given, scope)
        elif has_value(step, "for_each"):
            self._add(step.keys["for_each"], "`for_each` does not go with task `batch`, which is a loop itself")
            return None
        else:
            found = self._batch(step, given, scope)
        if found is None:
            return None
        if found["task"].starts_run and has_value(step, "timeout"):
            told = "a workflow has a `timeout` of its own, at the top of its file; write it there"
            if task is batch:  # of any other step that is told already
                self._add(step.value["timeout"].at, told)
        is_batch_by_default = task is batch and not has_value(step, "on_error")
        goes_on = is_batch_by_default or (on_error.goes_on and on_error.next is None)
        return LoopDefinition(**found, goes_on=goes_on, report_seconds=report_seconds)

    def refuse_progress(self, step: Node, given: dict[str, tuple[Position, Node]]) -> None:
        """Note each setting of progress on a step that is no loop, and take it out of its inputs."""
        for key in PROGRESS_KEYS:
            for at in [step.keys[key]] if key in step.value else []:
                self._add(at, f"`{key}` is for loops: a step with `for_each`, or of the task `batch`")
            if key in given:
                self._add(given.pop(key)[0], f"`{key}` is for loops: a step with `for_each`, or of the task `batch`")

    # -- the two forms ------------------------------------------------------------------------------------------

    def _for_each(self, step: Node, task: Task | None, given: Given, scope: Scope) -> dict[str, Any] | None:
        node = step.value["for_each"]
        settings: dict[str, Node] = {"items": node}
        if isinstance(node.value, dict):
            check_keys(node, self._problems, "`for_each`", LOOP_KEYS)
            node = as_meant(node, "`for_each`", LOOP_KEYS)
            settings = node.value
            if not has_value(node, "items"):
                self._add(node.at, "`for_each` needs `items`, the list")
        read = self._settings(settings, "`for_each`", scope)
        inside = self._inside(read["arg_name"], scope)
        at = step.value["task"].at if "task" in step.value else step.at
        inputs = self._inputs.read(task, at, given, inside)
        return None if task is None else {**read, "task": task, "inputs": inputs, "told_items": "`for_each`"}

    def _batch(self, step: Node, given: Given, scope: Scope) -> dict[str, Any] | None:
        given = dict(given)
        for key, (at, value) in [*given.items()]:
            if batch.input(key) is None:
                if (meant := _meant_of_batch(key)) is not None and meant not in given:
                    given[meant] = at, value  # what would be missing without it is no mistake of its own
                known = [each.name for each in batch.inputs]
                hint = f"write {_OF_BATCH[key]}" if key in _OF_BATCH else unknown("input of task `batch`", key, known)
                self._add(at, f"task `batch` has no input `{key}`; {hint}" if key in _OF_BATCH else hint)
        for problem in batch.missing(given):
            self._add(step.value["task"].at, f"task `batch` {problem}")
        read = self._settings({key: node for key, (_, node) in given.items()}, "`items`", scope)
        inside = self._inside(read["arg_name"], scope)
        if "task" not in given:
            return None
        called = self._called(given["task"][1], read["arg_name"], inside)
        return None if called is None else {**read, "task": called[0], "inputs": called[1], "told_items": "`items`"}

    def _called(self, node: Node, arg_name: str, scope: Scope) -> tuple[Task, dict[str, Any]] | None:
        """Return what a batch calls for each item: `{task: NAME, inputs: {…}}`, or the name of a task alone."""
        given: dict[str, tuple[Position, Node]] = {}
        name: Node | None = node
        if isinstance(node.value, dict):
            name = node.value.get("task")
            task = None if name is None else self._find_task(name)
            check_keys(node, self._problems, "`task` of a batch", LOOP_TASK_KEYS, (), task)
            if name is None:
                self._add(node.at, "`task` of a batch is `{task: NAME, inputs: {…}}`; `task` is missing in it")
            for key in ("inputs", "params"):
                for each, value in self._mapping(node.value.get(key), f"`{key}`").items():
                    given[each] = node.value[key].keys[each], value
        else:
            task = self._find_task(node)
        if task is batch:
            self._add(name.at if name else node.at, "a batch cannot call `batch`; make one list of all items")
            return None
        passes_item = task is not None and arg_name not in given and _takes(task, arg_name)
        if passes_item:
            given[arg_name] = node.at, Node("{{ item }}", node.at)
        inputs = self._inputs.read(task, node.at if name is None else name.at, given, scope)
        return None if task is None else (task, inputs)

    # -- settings -----------------------------------------------------------------------------------------------

    def _settings(self, entries: dict[str, Node], told: str, scope: Scope) -> dict[str, Any]:
        """Read what both forms say in the same words."""
        for key in ("items", "max_workers", "chunk_size"):
            if key in entries:
                self._templates.check(entries[key], scope.before, scope.name)
        return {
            "items": self._items(entries.get("items"), told),
            "arg_name": self._arg_name(entries.get("arg_name")),
            "max_workers": self._count(entries.get("max_workers"), "max_workers"),
            "chunk_size": self._count(entries.get("chunk_size"), "chunk_size"),
        }

    def _items(self, node: Node | None, told: str) -> Any:
        if node is None:
            return []
        if isinstance(node.value, str) and is_template(node.value):
            if gives_text(node.value):
                told_text = "text is never split, so write one `{{ … }}` that gives a list, and nothing around it"
                self._add(node.at, f"{told} gives text, since it is more than one expression; {told_text}")
        elif not isinstance(node.value, list):
            hint = ""
            if isinstance(node.value, str) and node.value.startswith(("args.", "steps.", "steps[")):
                hint = f'; for what `{node.value}` gives write "{{{{ {node.value} }}}}"'
            self._add(node.at, f"{told} must be a list or one `{{{{ … }}}}`, {not_a_list(node.plain())}{hint}")
        return node.plain()

    def _arg_name(self, node: Node | None) -> str:
        name = self._text(node, "`arg_name`")
        if node is None or name is None:
            return "item"
        if not name.isidentifier():
            self._add(node.at, f"`arg_name` must be a name of letters, digits and _, not {shown(name)}")
        elif name in ROOT_NAMES or name in ("index", "batch"):
            self._add(node.at, f"`arg_name` cannot be `{name}`, which is another name already")
        return name

    def _count(self, node: Node | None, key: str) -> int | str | None:
        if node is not None and isinstance(node.value, str) and has_template(node):
            return node.value
        return self._number(node, key)

    def _inside(self, arg_name: str, scope: Scope) -> Scope:
        return scope._replace(of_loop=frozenset({*LOOP_NAMES, arg_name}))

    def _report_seconds(self, step: Node, given: dict[str, tuple[Position, Node]]) -> float | None:
        """Read `progress_update` and `progress_interval`, beside the task or among its inputs, and take them out of
        these."""
        found: dict[str, Node] = {key: step.value[key] for key in PROGRESS_KEYS if key in step.value}
        for key in PROGRESS_KEYS:
            if key in given:
                at, node = given.pop(key)
                if key in found:
                    self._add(at, f"`{key}` is given twice, beside `task` and under it")
                found[key] = node
        update = found.get("progress_update")
        is_on = update is None or update.value is None or self._boolean(update, "`progress_update`")
        interval = self._duration(found.get("progress_interval"), "`progress_interval`")
        return (interval or REPORT_SECONDS) if is_on else None


def _meant_of_batch(key: str) -> str | None:
    """Return the input of `batch` that another word stands for."""
    known = [each.name for each in batch.inputs]
    if key not in _OF_BATCH:
        return nearest(key, known)
    return next((each for each in known if _OF_BATCH[key].startswith((f"`{each}`", f"`{each}:"))), None)


def _takes(task: Task, name: str) -> bool:
    return task.takes_any_input or task.input(name) is not None
