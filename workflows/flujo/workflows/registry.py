"""Tasks: what a step can call, and where it is found.

    @task("greet", inputs={"whom": {"type": "string", "required": True}})
    async def greet(call: TaskCall) -> str:
        return f"Hello {call.inputs['whom']}"

A task is found under its name among those given to `load_workflow`, then among the built-in ones, then among the entry
points of the group `flujo.tasks`, which are looked at only for a name that is neither. Nothing is imported before a
definition uses it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from anyio.abc import TaskGroup

from flujo.kernel.checked_calls import check_argument
from flujo.kernel.errors import DeclarationError, FlujoError
from flujo.kernel.programs import Attempt

from .missing_modules import how_to_install
from .parameters import Parameter, check_inputs, declare, keyword_problems
from .runlog import StepLog
from .texts import way_to_text
from .wording import unknown

BUILT_IN = {
    "add_numbers": "plain_values:add_numbers",
    "append_file": "moving_files:append_file",
    "batch": "batch:batch",
    "copy_file": "moving_files:copy_file",
    "delete_file": "moving_files:delete_file",
    "echo": "messages:echo",
    "fail": "messages:fail",
    "http.request": "http_request:http_request",
    "join_strings": "plain_values:join_strings",
    "list_files": "listing_files:list_files",
    "move_file": "moving_files:move_file",
    "noop": "messages:noop",
    "notify": "notify:notify",
    "print_message": "messages:print_message",
    "print_vars": "messages:print_vars",
    "python_code": "python_code:python_code",
    "python_function": "python_function:python_function",
    "python_module": "python_programs:python_module",
    "python_script": "python_programs:python_script",
    "read_file": "files:read_file",
    "read_json": "data_files:read_json",
    "read_yaml": "data_files:read_yaml",
    "shell": "shell:shell",
    "sleep": "waiting:sleep",
    "template": "messages:template",
    "wait_signal": "waiting:wait_signal",
    "workflow": "child_workflow:workflow",
    "write_file": "files:write_file",
    "write_json": "data_files:write_json",
    "write_yaml": "data_files:write_yaml",
}

ALIASES = {"http_request": "http.request"}
"""Other names of built-in tasks."""

EXTRAS = {"http_request": ("httpx", "http")}
"""What the module of a built-in task needs that flujo does not bring along: the module, and the extra that has it."""


class TaskInputError(FlujoError, ValueError):
    """The inputs of a task do not fit what it declares."""

    reason = "INVALID_FIELD"
    type = "TaskInputError"

    def __init__(self, task: str, problems: Mapping[str, str]) -> None:
        listed = "; ".join(f"`{name}` {problem}" for name, problem in problems.items())
        super().__init__(f"the inputs of task {task!r} are not valid: {listed}")
        self.task, self.problems = task, dict(problems)


class InText(NamedTuple):
    """What is wrong with an input that is a text, as the end of a sentence, and at which character of it."""

    problem: str
    place: int


Check = Callable[[Mapping[str, Any]], Mapping[str, "str | InText"]]
"""What says what is wrong with inputs as they are written, by input; one that is not among them is missing, unless a
template gives it."""


class LoopScope:
    """What the items of one loop share: tasks that end with it, and whatever a task keeps from item to item."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.tasks = tasks
        self.kept: dict[str, Any] = {}


class TaskCall(NamedTuple):
    """What a task receives: its inputs, rendered and checked, and where it runs.

    `workspace` is the folder of the run and exists. `context` holds every name templates see. `attempt` has the run's
    id, the idempotency key, and `children`, which runs child processes. What `log` writes goes to the log of the run.
    `loop` is there for an item of a loop whose task `shares_loop`. `variables` are those that the workflow gives its
    commands.
    """

    inputs: Mapping[str, Any]
    workspace: Path
    attempt: Attempt
    context: Mapping[str, Any]
    log: StepLog
    loop: LoopScope | None = None
    variables: Mapping[str, str] = {}

    def environment(self) -> dict[str, str]:
        """Return the variables of a child process: those of this process, those of the workflow, those that name its
        run and attempt, and for a clean-up at the end of a run `FLUJO_REASON`."""
        import os

        inherited = {name: value for name, value in os.environ.items() if name != "FLUJO_REASON"}
        reason = self.context.get("run", {}).get("reason")
        return {
            **inherited,
            **self.variables,
            **self.attempt.environment(),
            **({"FLUJO_REASON": reason} if reason else {}),
        }


Run = Callable[[TaskCall], Awaitable[Any]]

Mention = tuple[str, str | None]
"""One of the names that templates see, and what is taken out of it; None where that cannot be told."""


class Task(NamedTuple):
    """A task's descriptor. It returns plain JSON, or a `Wait`.

    `one_of` lists groups of inputs of which exactly one must be given. `spellings` are other words for inputs, each
    with the input it stands for. With `takes_any_input` inputs that are not declared are handed on as they are.
    `result` describes what the task returns, in the keywords of JSON Schema. `check` says what is wrong with inputs as
    they are written, by input, when a definition is loaded; `mentions` lists what they mention outside of templates:
    `("env", "HOME")`, `("args", "day")`, `("settings", "shell")`, with None for the second if it may be any. A step
    that `starts_run` has no body (child_workflows.py).
    """

    name: str
    run: Run
    inputs: tuple[Parameter, ...] = ()
    one_of: tuple[tuple[str, ...], ...] = ()
    spellings: Mapping[str, str] = {}
    result: Mapping[str, Any] = {}
    takes_any_input: bool = False
    needs_workspace: bool = True
    starts_run: bool = False
    shares_loop: bool = False
    check: Check | None = None
    mentions: Callable[[Mapping[str, Any]], Iterable[Mention]] | None = None

    @property
    def runs_commands(self) -> bool:
        """True if the task runs something that sees the variables of its workflow."""
        return self.input("env") is not None or self.name.startswith("python_")

    def input(self, name: str) -> Parameter | None:
        """Return the declaration of one input, in any of its spellings."""
        meant = self.spellings.get(name, name)
        return next((each for each in self.inputs if each.name == meant), None)

    def missing(self, given: Iterable[str]) -> list[str]:
        """Return what is missing or one too many among the inputs given, as ends of a sentence about the task."""
        written: dict[str, list[str]] = {}
        for name in given:
            written.setdefault(self.spellings.get(name, name), []).append(name)
        names = written.keys()
        found = [f"takes `{first}` or `{second}`, not both" for first, second, *_ in filter(_twice, written.values())]
        found += [f"needs the input `{each.name}`" for each in self.inputs if each.required and each.name not in names]
        for group in self.one_of:
            present = [name for name in group if name in names]
            if len(present) != 1:
                found.append(f"needs exactly one of the inputs {' and '.join(f'`{name}`' for name in group)}")
        return found

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rendered inputs, complete with defaults; raises TaskInputError."""
        further = {name: value for name, value in given.items() if self.input(name) is None}
        declared = {self.spellings.get(name, name): value for name, value in given.items() if name not in further}
        declared = {each.name: each.as_rendered(declared[each.name]) for each in self.inputs if each.name in declared}
        complete, problems = check_inputs(self.inputs, declared, read_texts=False)
        for each in self.inputs:
            if each.name in problems and each.types == ("string",) and not isinstance(declared.get(each.name, ""), str):
                problems[each.name] += f"; {way_to_text(declared[each.name])}"
        if not self.takes_any_input:
            for name in further:
                problems[name] = unknown("input", name, [each.name for each in self.inputs])
        if not problems and (missing := self.missing(given)):
            problems = {"inputs": "; ".join(missing)}
        if problems:
            raise TaskInputError(self.name, problems)
        return {**complete, **further}


def _twice(spellings: list[str]) -> bool:
    return len(spellings) > 1


def task(
    name: str,
    *,
    inputs: Mapping[str, Mapping[str, Any]] | None = None,
    one_of: Sequence[Sequence[str]] = (),
    spellings: Mapping[str, str] | None = None,
    result: Mapping[str, Any] | None = None,
    takes_any_input: bool = False,
    needs_workspace: bool = True,
    starts_run: bool = False,
    shares_loop: bool = False,
    check: Check | None = None,
    mentions: Callable[[Mapping[str, Any]], Iterable[Mention]] | None = None,
) -> Callable[[Run], Task]:
    """Declare an async function of a TaskCall as a task. `inputs` are described as `params:` are; None takes any.

    The other arguments are those of `Task`. Raises DeclarationError for a declaration that makes no sense."""
    check_argument("name", str, name)
    if inputs is not None:
        for each, keywords in inputs.items():
            for problem in keyword_problems(keywords).values():
                raise DeclarationError(f"task {name!r}, input {each!r}: {problem}")
    declared = tuple(declare(each, keywords) for each, keywords in (inputs or {}).items())
    for each in (*(spellings or {}).values(), *(each for group in one_of for each in group)):
        if each not in (inputs or {}):
            raise DeclarationError(f"task {name!r} declares no input {each!r}, which `spellings` or `one_of` name")

    def wrap(run: Run) -> Task:
        if not inspect.iscoroutinefunction(run):
            told = "is a plain def, which would hold up every run of its process"
            raise DeclarationError(f"task {name!r} {told}", ["make it async def, and leave what blocks to a thread"])
        return Task(
            name=name,
            run=run,
            inputs=declared,
            one_of=tuple(tuple(group) for group in one_of),
            spellings=dict(spellings or {}),
            result=dict(result or {}),
            takes_any_input=takes_any_input or inputs is None,
            needs_workspace=needs_workspace,
            starts_run=starts_run,
            shares_loop=shares_loop,
            check=check,
            mentions=mentions,
        )

    return wrap


class Tasks:
    """The tasks a definition may use: those given, the built-in ones, those installed."""

    def __init__(self, given: Iterable[Task] = ()) -> None:
        self._given = {each.name: each for each in given}

    def find(self, name: str) -> Task | None:
        """Return the task of this name; raises DeclarationError when an installed one cannot be imported, and for a
        built-in one whose extra is not installed."""
        if name in self._given:
            return self._given[name]
        name = ALIASES.get(name, name)
        if name in BUILT_IN:
            module, _, attribute = BUILT_IN[name].partition(":")
            if module in EXTRAS and find_spec(EXTRAS[module][0]) is None:
                needed, extra = EXTRAS[module]
                missing = f"task `{name}` needs {needed}, which is not installed"
                raise DeclarationError(f"{missing}: pip install 'flujoctl[{extra}]'")
            found: Task = getattr(import_module(f"{__package__}.tasks.{module}"), attribute)
            return found
        return _installed(name)

    def names(self) -> list[str]:
        """Return the names of all of them."""
        return sorted({*self._given, *BUILT_IN, *_entry_points()})


@lru_cache(maxsize=1)
def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {each.name: each for each in entry_points(group="flujo.tasks")}


@lru_cache
def _installed(name: str) -> Task | None:
    entry_point = _entry_points().get(name)
    if entry_point is None:
        return None
    try:
        found = entry_point.load()
    except Exception as error:  # the import of a foreign module may raise anything
        told = f"task {name!r} ({entry_point.value}) cannot be imported: {error}"
        if isinstance(error, ModuleNotFoundError):
            told += f"; {_how_to_repair(entry_point, error.name or '')}"
        raise DeclarationError(told) from error
    if not isinstance(found, Task):
        raise DeclarationError(f"{entry_point.value} is not a task", ["declare it with @task"])
    return found


def _how_to_repair(entry_point: Any, missing: str) -> str:
    """Return where a module was looked for that an installed task needs, and what to type."""
    own = entry_point.module.partition(".")[0] == missing.partition(".")[0]
    package = entry_point.dist.name if entry_point.dist is not None else entry_point.module
    typed = f"--force-reinstall --no-deps {package}" if own else "PACKAGE"
    what = f"its package {package!r} is not whole: " if own else f"{package!r} needs it; install what has it: "
    return f"it was looked for where {sys.executable} looks; {what}{how_to_install(typed)}"
