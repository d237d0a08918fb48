"""From a YAML text to a definition, checked as far as it can be before anything runs.

`read_definition` goes through the tree once and notes every problem with its line and column: keys that do not
belong, wrong types, unknown tasks and inputs, steps that wait for each other, templates that are malformed or mention
what does not exist or runs later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from flujo.kernel.errors import DeclarationError, Problem
from flujo.kernel.programs import ANY, NO_RETRY, Retention, RetryPolicy
from flujo.kernel.programs import KEYS as RETENTION_KEYS

from .definitions import Definition, OnError, StepDefinition
from .documents import Node, Position, Problems, read_document
from .evaluation import is_template
from .graphs import Graph
from .missing_values import Use, needed_env, uses_of_optional_results
from .other_systems import OF_OTHER_SYSTEMS
from .parameters import Parameter, declare, keyword_problems
from .reading import NUMBERS, NodeReader, has_value, is_text, is_true, kind_of
from .registry import Mention, Task, Tasks
from .templates import (
    ROOT_NAMES,
    STEP_FIELDS,
    References,
    TemplateError,
    condition_references,
    references,
)
from .wording import named, nearest, shown, unknown

TOP_KEYS = (
    *("name", "description", "version", "params", "steps", "outputs", "labels"),
    *("timeout", "max_parallel", "settings", "retention"),
)
STEP_KEYS = (
    *("name", "task", "inputs", "params", "description", "depends_on", "condition"),
    *("retry", "timeout", "on_error", "always_run"),
)
ON_ERROR_KEYS = ("action", "retry", "delay", "next", "message")
RETRY_KEYS = ("max_attempts", "delay", "backoff", "max_delay", "jitter", "on_error", "give_up_on", "max_elapsed")

TOP_KEYS_TO_COME = ("flows", "imports", "secrets")
STEP_KEYS_TO_COME = ("for_each", "outputs", "progress_update", "progress_interval")

MAX_TEMPLATES = 20_000
"""Parts of all templates of a definition: reading takes about 30 µs for each."""

_PLACES = {
    "the top level": (*TOP_KEYS, *TOP_KEYS_TO_COME),
    "a step": (*STEP_KEYS, *STEP_KEYS_TO_COME),
    "`retry`": RETRY_KEYS,
    "`on_error`": ON_ERROR_KEYS,
    "`retention`": RETENTION_KEYS,
}


def read_definition(text: str, file: str, tasks: Tasks) -> Definition:
    """Return the definition in `text`; raises DefinitionError with every problem there is."""
    problems = Problems(file)
    root = read_document(text, problems)
    reader = _Reader(problems, tasks)
    definition = None if root is None else reader.definition(root, text)
    problems.raise_if_any()
    assert definition is not None
    optional = uses_of_optional_results(definition, reader.uses)
    return replace(
        definition,
        needed_env=needed_env(definition, reader.uses),
        warnings=tuple(dict.fromkeys(Problem(file, *at, message) for at, message in optional)),
    )


class _Reader(NodeReader):
    """Turns nodes into values and notes what is wrong with them; a value that is wrong becomes a harmless one."""

    def __init__(self, problems: Problems, tasks: Tasks) -> None:
        super().__init__(problems)
        self._tasks = tasks
        self._parameters: dict[str, Parameter] = {}
        self._steps: dict[str, Position] = {}
        self._graph: Graph | None = None
        self._clean_ups: set[str] = set()
        self._left_for_the_end: list[str] = []  # clean-ups of a graph that wait for nothing in particular
        self._env_names: set[str] = set()
        self._mentions: dict[str, set[Mention]] = {}  # by step, in its inputs and condition
        self._parts_of_templates = 0
        self.uses: list[Use] = []  # the templates, in the order of the file

    # -- the parts of a definition ------------------------------------------------------------------------------

    def definition(self, root: Node, text: str) -> Definition | None:
        if not isinstance(root.value, dict):
            self._add(root.at, f"a workflow is a mapping with `name` and `steps`, not {kind_of(root)}")
            return None
        self._check_keys(root, TOP_KEYS, TOP_KEYS_TO_COME, "the top level")
        top = root.value
        for key in ("name", "steps"):
            if key not in top:
                self._add(Position(1, 1), f"`{key}` is missing")
        self._parameters = self._read_parameters(top.get("params"))
        steps = self._read_steps(top.get("steps"))
        settings = self._read_settings(top.get("settings"))
        version = self._text(top.get("version"), "`version`")
        return Definition(
            name=self._title(top.get("name")),
            text=text,
            steps=tuple(self._with_mentions(step, settings, version) for step in steps),
            graph=self._graph,
            max_parallel=self._number(top.get("max_parallel"), "max_parallel"),
            description=self._text(top.get("description"), "`description`"),
            version=version,
            parameters=tuple(self._parameters.values()),
            outputs=self._read_outputs(top.get("outputs")),
            labels=self._read_labels(top.get("labels")),
            timeout_seconds=self._duration(top.get("timeout"), "`timeout`"),
            settings=settings,
            retention=self._read_retention(top.get("retention")),
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
                    f"not {kind_of(declaration)}",
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

    def _read_settings(self, node: Node | None) -> dict[str, Any]:
        settings = self._mapping(node, "`settings`")
        self._number(settings.get("max_jumps"), "max_jumps")
        self._duration(settings.get("clean_up_timeout"), "`clean_up_timeout`")
        return {key: value.plain() for key, value in settings.items()}

    def _read_retention(self, node: Node | None) -> Retention | None:
        given = self._mapping(node, "`retention`")
        if node is None or not isinstance(node.value, dict):
            return None
        self._check_keys(node, RETENTION_KEYS, (), "`retention`")
        last = self._number(given.get("last"), "last")
        ages = {key: self._duration(given.get(key), f"`{key}`", zero=True) for key in RETENTION_KEYS if key != "last"}
        if not any(has_value(node, key) for key in RETENTION_KEYS):
            self._add(node.at, "`retention` says nothing; it has: " + ", ".join(RETENTION_KEYS))
        if last is None and all(age is None for age in ages.values()):
            return None
        return Retention(last=last, **ages)

    def _read_labels(self, node: Node | None) -> dict[str, str]:
        labels: dict[str, str] = {}
        for key, value in self._mapping(node, "`labels`").items():
            if isinstance(value.value, (dict, list)) or value.value is None:
                self._add(value.at, f"label `{key}` must be text, not {kind_of(value)}")
            labels[key] = value.source
        return labels

    def _read_steps(self, node: Node | None) -> tuple[StepDefinition, ...]:
        if node is None:
            return ()
        if not isinstance(node.value, list):
            self._add(node.at, f"`steps` must be a list, not {kind_of(node)}")
            return ()
        if not node.value:
            self._add(node.at, "`steps` must have at least one step")
        mappings: list[Node] = []
        for item in node.value:
            if isinstance(item.value, dict):
                mappings.append(item)
                self._note_step_name(item)
            else:
                self._add(item.at, f"a step is a mapping with `name` and `task`, not {kind_of(item)}")
        self._read_graph(mappings)
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
            if is_true(step.value.get("always_run")):
                self._clean_ups.add(node.value)

    def _read_step(self, node: Node) -> StepDefinition | None:
        entries = node.value
        for key in ("name", "task"):
            if key not in entries:
                self._add(node.at, f"`{key}` is missing in this step")
        name = self._name(entries.get("name"), "step name")
        task = self._task(entries.get("task"))
        self._check_keys(node, STEP_KEYS, STEP_KEYS_TO_COME, "a step", task)
        before = self._before(name)
        seen = len(self.uses)
        inputs = self._read_inputs(node, task, before, name)
        condition = self._read_condition(entries.get("condition"), before, name)
        for use in self.uses[seen:]:
            self._mention(name, use.mentioned.members)
            self._mention(name, (("args", root) for root in use.mentioned.roots & self._parameters.keys()))
        retry = self._read_retry(entries.get("retry"))
        timeout_seconds = self._duration(entries.get("timeout"), "`timeout`")
        on_error, further = self._read_on_error(node, before, name)
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
            self._check_templates(value, before, name)
        plain = {each: value.plain() for each, (_, value) in given.items()}
        if task is not None:
            self._check_inputs(step, task, given)
            if task.mentions is not None:
                self._mention(name, task.mentions(plain))
        return plain

    def _with_mentions(self, step: StepDefinition, settings: Mapping[str, Any], version: str | None) -> StepDefinition:
        """Return a step with the parameters that it mentions, and what it reads of the definition itself."""
        mentioned = self._mentions.get(step.name, set())
        parameters = {ANY if name is None else name for root, name in mentioned if root == "args"}
        wanted = {name for root, name in mentioned if root == "settings"}
        reads = {f"settings.{name}": value for name, value in settings.items() if wanted & {name, None}}
        if version is not None and mentioned & {("workflow", "version"), ("workflow", None)}:
            reads["workflow.version"] = version
        return replace(step, mentions=frozenset(parameters), reads=reads)

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

    def _read_condition(self, node: Node | None, before: Collection[str], name: str) -> bool | str | None:
        if node is None or node.value is None:
            return None
        if isinstance(node.value, bool):
            return node.value
        if not isinstance(node.value, str):
            self._add(node.at, f"`condition` must be true, false or an expression, not {kind_of(node)}")
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
            self._add(node.at, f"`retry` must be a number of further attempts or a mapping, not {kind_of(node)}")
            return NO_RETRY
        self._check_keys(node, RETRY_KEYS, (), "`retry`")
        chosen: dict[str, Any] = {}
        for key, value in node.value.items():
            if key in RETRY_KEYS and (read := self._read_retry_key(key, value)) is not None:
                chosen[key] = read
        if "delay" in chosen and "max_delay" in chosen and chosen["max_delay"] < chosen["delay"]:
            self._add(node.value["max_delay"].at, "`max_delay` is below `delay`; leave it out, or make it longer")
            del chosen["max_delay"]
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
        for problem in NUMBERS[key].problems(node.plain()):
            self._add(node.at, f"`{key}` {problem}")
            return None
        return node.value

    # -- graphs and failures ------------------------------------------------------------------------------------

    def _read_graph(self, steps: list[Node]) -> None:
        """Read what waits for what: what `depends_on` says, else the step before; a handler for what it handles."""
        if not any(has_value(step, "depends_on") for step in steps):
            return
        named = [(step.value["name"].value, step) for step in steps if is_text(step.value.get("name"))]
        edges: dict[str, dict[str, Position]] = {name: {} for name, _ in named}
        for name, step in named:
            if name in self._clean_ups and not (has_value(step, "depends_on") and step.value["depends_on"].value):
                self._left_for_the_end.append(name)
        for name, step in named:
            for other, at in self._read_depends_on(step.value.get("depends_on"), name):
                edges[name].setdefault(other, at)
        for name, step in named:
            handler = _next_of(step)
            if handler is not None and handler.value in edges and handler.value != name:
                edges[handler.value].setdefault(name, handler.at)
        unsaid = self._wait_for_the_step_before(named, edges)
        self._graph = Graph(edges)
        for cycle in self._graph.cycles():
            first = next((name for name in cycle if name in unsaid), None)
            hint = (
                "" if first is None else f"; `{first}` says nothing and waits for the step before it, `depends_on: []`"
            )
            self._add(edges[cycle[0]][cycle[1]], f"these steps wait for each other: {' → '.join(cycle)}{hint}")

    def _wait_for_the_step_before(
        self, named: list[tuple[str, Node]], edges: dict[str, dict[str, Position]]
    ) -> set[str]:
        """Let each step that says nothing wait for the step before it; return these steps."""
        unsaid: set[str] = set()
        before: str | None = None
        for name, step in named:
            if name in self._left_for_the_end:
                continue
            if before is not None and not has_value(step, "depends_on") and not edges[name]:
                edges[name][before] = step.value["name"].at
                unsaid.add(name)
            before = name
        return unsaid

    def _read_depends_on(self, node: Node | None, name: str) -> Iterable[tuple[str, Position]]:
        if node is None or node.value is None:
            return
        if not isinstance(node.value, (str, list)):
            self._add(node.at, f"`depends_on` must be a list of step names such as [fetch], not {kind_of(node)}")
            return
        seen: set[str] = set()
        for item in [node] if isinstance(node.value, str) else node.value:
            if not isinstance(item.value, str):
                self._add(item.at, f"`depends_on` must list the names of steps, not {kind_of(item)}")
            elif item.value == name:
                self._add(item.at, f"step `{name}` cannot depend on itself")
            elif item.value not in self._steps:
                self._add(item.at, unknown("step", item.value, self._steps))
            elif item.value in seen:
                self._add(item.at, f"`{item.value}` is here twice")
            elif item.value in self._left_for_the_end:
                self._add(item.at, f"{_AT_THE_END.format(item.value)}, so nothing can depend on it")
            else:
                seen.add(item.value)
                yield item.value, item.at

    def _before(self, name: str) -> Collection[str]:
        """Return the steps that have settled when a step starts."""
        names = list(self._steps)
        if name not in names:
            return names
        if self._graph is None:
            return names[: names.index(name)]
        if name in self._left_for_the_end:
            later = self._left_for_the_end[self._left_for_the_end.index(name) :]
            return [each for each in names if each not in later]
        return self._graph.before(name)

    def _read_on_error(self, step: Node, before: Collection[str], name: str) -> tuple[OnError, RetryPolicy | None]:
        node = step.value.get("on_error")
        if node is None or node.value is None or node.value == "fail":
            return OnError(), None
        if node.value == "continue":
            return OnError(goes_on=True), None
        if not isinstance(node.value, dict):
            self._add(
                node.at,
                "`on_error` must be fail, continue or a mapping such as {action: retry, retry: 3}, "
                f"not {shown(node.plain())}",
            )
            return OnError(), None
        self._check_keys(node, ON_ERROR_KEYS, (), "`on_error`")
        action = node.value.get("action")
        if action is not None and action.value not in ("fail", "continue", "retry"):
            self._add(action.at, f"`action` must be fail, continue or retry, not {shown(action.plain())}")
        word = None if action is None else action.value
        following = self._read_next(step, name, word)
        message = self._text(node.value.get("message"), "`message`")
        if message is not None:
            self._check_templates(node.value["message"], before, name)
        goes_on = word == "continue" or following is not None
        return OnError(goes_on=goes_on, next=following, message=message), self._read_further_attempts(step, word)

    def _read_next(self, step: Node, name: str, action: Any) -> str | None:
        node = _next_of(step)
        if node is None:
            return None
        at = step.value["on_error"].keys["next"]
        following = self._text(node, "`next`")
        if following is None:
            return None
        if following not in self._steps:
            self._add(node.at, unknown("step", following, self._steps))
        elif self._graph is not None and following == name:
            self._add(node.at, f"step `{name}` cannot handle its own failure")
        elif self._graph is not None and following in self._clean_ups:
            self._add(node.at, f"step `{following}` always runs, so it cannot be for this failure only")
        if action == "fail":
            self._add(at, "`next` goes on after the failure and `action: fail` does not; leave one of them out")
        if is_true(step.value.get("always_run")):
            self._add(at, "`next` does not go with `always_run`: when a clean-up fails, the run may be over")
        return following

    def _read_further_attempts(self, step: Node, action: Any) -> RetryPolicy | None:
        """Return the policy that `action: retry` stands for."""
        node = step.value["on_error"]
        if action != "retry":
            for key in ("retry", "delay"):
                if key in node.value:
                    self._add(node.keys[key], f"`{key}` in `on_error` goes with `action: retry` only")
            return None
        if has_value(step, "retry"):
            self._add(step.keys["retry"], "`retry` does not go with `on_error: {action: retry}`; leave one of them out")
        if not has_value(node, "retry"):
            self._add(node.value["action"].at, "`action: retry` needs `retry`, the number of further attempts")
        further = self._number(node.value.get("retry"), "retry") or 1
        delay = self._duration(node.value.get("delay"), "`delay`", zero=True)
        return RetryPolicy(max_attempts=further + 1, delay=NO_RETRY.delay if delay is None else delay)

    # -- templates ----------------------------------------------------------------------------------------------

    def _check_templates(self, node: Node, before: Collection[str], name: str | None = None) -> None:
        for scalar in node.scalars():
            if isinstance(scalar.value, str) and is_template(scalar.value):
                self._check_references(scalar, references, before, name)

    def _check_references(
        self, node: Node, read: Callable[[str], References], before: Collection[str], name: str | None
    ) -> None:
        if self._parts_of_templates > MAX_TEMPLATES:
            return
        try:
            mentioned = read(node.value)
        except TemplateError as error:
            self._add(node.at, error.message)
            return
        self._parts_of_templates += mentioned.size
        if self._parts_of_templates > MAX_TEMPLATES:
            self._add(node.at, f"all templates of a definition have at most {MAX_TEMPLATES} parts, here are more")
            return
        self.uses.append(Use(node.at, mentioned, name, is_condition=read is condition_references))
        self._env_names |= mentioned.env
        known = {*ROOT_NAMES, *self._parameters}
        behind_dashes = self._behind_dashes(mentioned.steps)
        for root in sorted(mentioned.roots - known - {"range", "dict"} - behind_dashes):
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

    def _behind_dashes(self, steps: frozenset[str]) -> set[str]:
        """Return the names that `steps.a-b` seems to mention: what is meant is told for `steps.a`."""
        longer = [each for each in self._steps for step in steps - self._steps.keys() if each.startswith(f"{step}-")]
        return {part for each in longer for part in each.replace(".", "-").split("-")}

    def _problem_with_step(self, step: str, before: Collection[str], name: str | None) -> str | None:
        if step in before:
            return None
        if step == name:
            return f"step `{step}` cannot refer to itself"
        if step in self._left_for_the_end:
            return _AT_THE_END.format(step)
        if step in self._steps and self._graph is not None:
            return f"step `{step}` may not have run before this one; add it to `depends_on`"
        if step in self._steps:
            return f"step `{step}` runs later than this one"
        longer = [each for each in self._steps if each.startswith((f"{step}-", f"{step}."))]
        if longer:
            return f"there is no step `{step}`; for `{longer[0]}` write steps['{longer[0]}']"
        return unknown("step", step, self._steps)

    # -- keys ---------------------------------------------------------------------------------------------------

    def _mention(self, step: str, mentions: Iterable[Mention]) -> None:
        for root, name in mentions:
            if root == "env" and name is not None:
                self._env_names.add(name)
            self._mentions.setdefault(step, set()).add((root, name))

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
            elif key in OF_OTHER_SYSTEMS:
                self._add(at, f"{place} has no key `{key}`; write {OF_OTHER_SYSTEMS[key]}")
            elif near := nearest(key, known):
                self._add(at, f"{place} has no key {named(key)}; did you mean `{near}`?")
            else:
                self._add(at, f"{place} has no key {named(key)}; it has: {', '.join(known)}")


_AT_THE_END = "step `{}` is a clean-up without `depends_on`, which runs at the end"


def _next_of(step: Node) -> Node | None:
    """Return the node of `on_error: {next: …}`."""
    on_error = step.value.get("on_error")
    following: Node | None = (
        on_error.value.get("next") if on_error is not None and isinstance(on_error.value, dict) else None
    )
    return following


def _has_template(node: Node) -> bool:
    return any(isinstance(each.value, str) and is_template(each.value) for each in node.scalars())
