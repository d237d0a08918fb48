"""From a file or text to a workflow the kernel can run.

workflow = load_workflow("report.yaml")
await kernel.run(workflow, {"day": "2026-11-22"})
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from flujo.kernel.backend import StoredDefinition
from flujo.kernel.checked_calls import check_path
from flujo.kernel.durations import to_datetime
from flujo.kernel.errors import DefinitionError, Difference, InvalidInputError, Problem
from flujo.kernel.programs import ANY, RunStart, StepChoice, Workflow

from .child_checks import child_file, problems_with_inputs
from .choosing import part_of
from .definition_reader import read_definition
from .definitions import Definition
from .documents import MAX_BYTES
from .env_files import read_small, read_variables
from .importing import NO_FILES, FilesOnDisk
from .interpreter import RunContext, clean_up, interpret
from .parameters import check_inputs
from .preview import StepPreview, preview
from .redaction import Redactor
from .registry import Task, Tasks
from .secret_values import RECORDED, Secrets, problems_with

TEXT_NAME = "workflow.yaml"
"""What a definition without a file is called in messages."""


def load_workflow(
    path_or_text: str | Path,
    *,
    source: str | None = None,
    workspace: str | Path | None = None,
    tasks: Iterable[Task] = (),
    check_children: bool = True,
) -> Workflow:
    """Return the workflow in a YAML file, or in a text: anything with a line break is one.

    `source` is the name messages use for a text. `workspace` is a folder of yours for the run's files, instead of the
    one the kernel makes for each run. `tasks` are further tasks the definition may use. The files of workflows
    that its steps start are read and checked as well, unless `check_children` is false. Raises DefinitionError.
    """
    if isinstance(path_or_text, str) and "\n" in path_or_text:
        return load_workflow_text(path_or_text, source or TEXT_NAME, workspace=workspace, tasks=tasks)
    check_path("path_or_text", path_or_text)
    path = Path(path_or_text)
    name = source or str(path)
    further = tuple(tasks)
    return _workflow(_definition_in(path, name, further, check_children), path.absolute(), workspace, further)


def load_workflow_text(
    text: str, file: str, *, workspace: str | Path | None = None, tasks: Iterable[Task] = ()
) -> Workflow:
    """Return the workflow in `text`, as stored by an earlier run.

    `file` is the name messages use. Only an absolute path is taken as the place of a file, which need not exist, and
    which a resume looks at: any other name says nothing about where a file lies. Raises DefinitionError.
    """
    further = tuple(tasks)
    definition = read_definition(text, file, Tasks(further), NO_FILES)
    return _workflow(definition, Path(file) if os.path.isabs(file) else None, workspace, further)


def load_stored_text(stored: StoredDefinition, file: str | None = None, *, tasks: Iterable[Task] = ()) -> Workflow:
    """Return the workflow in a definition that a store holds; `file` is where its run was started from, if it was a
    file. A name that looks like a path says nothing about where a file lies. Raises DefinitionError."""
    return load_workflow_text(stored.text, file or f"{stored.workflow.lstrip('/')}.yaml", tasks=tasks)


def read_text(text: str, file: str) -> tuple[Workflow, Sequence[Problem]]:
    """Return the workflow in `text`, and what it says that may not be meant. `file` is the name messages use, and no
    file is read. Raises DefinitionError."""
    definition = read_definition(text, file, Tasks(()), NO_FILES)
    return _workflow(definition, None, None, ()), list(definition.warnings)


def warnings_in(path: str | Path, *, tasks: Iterable[Task] = ()) -> list[Problem]:
    """Return what a valid YAML file says that may not be meant; raises DefinitionError for one that is not valid."""
    return list(_definition_in(Path(path), str(path), tuple(tasks)).warnings)


def flows_in(path: str | Path, *, tasks: Iterable[Task] = ()) -> list[str]:
    """Return the names of the flows in a valid YAML file; raises DefinitionError for one that is not valid."""
    return list(_definition_in(Path(path), str(path), tuple(tasks), check_children=False).flows)


def previewed(
    path: str | Path, choice: StepChoice, inputs: Mapping[str, Any], *, tasks: Iterable[Task] = ()
) -> list[StepPreview]:
    """Return what a run of a valid YAML file would do; raises DefinitionError, StepChoiceError."""
    file = Path(path)
    definition = _definition_in(file, str(file), tuple(tasks))
    return anyio.run(preview, definition, choice, inputs, file.absolute())


def _definition_in(
    path: Path, name: str, tasks: Sequence[Task], check_children: bool = True, above: frozenset[Path] = frozenset()
) -> Definition:
    """Return the definition in a file, whose steps may start the workflows in others, which are read as well. Those in
    files `above` are being read."""
    definition = read_definition(_read(path, name), name, Tasks(tasks), FilesOnDisk(path))
    if check_children and (
        problems := list(_problems_with_children(definition, path, name, tasks, above | {path.resolve()}))
    ):
        raise DefinitionError(problems)
    return definition


def _problems_with_children(
    definition: Definition, path: Path, name: str, tasks: Sequence[Task], above: frozenset[Path]
) -> Iterator[Problem]:
    for step in definition.steps:
        if (file := child_file(step)) is None or (place := path.parent / file).resolve() in above:
            continue
        at = (step.at.file or name, step.at.line, step.at.column)
        try:
            child = _definition_in(place, str(Path(name).parent / file), tasks, above=above)
        except DefinitionError as error:
            told = [problem.message for problem in error.problems if not problem.line]
            yield Problem(*at, f"{file}: {told[0] if told else 'this workflow has problems, which follow'}")
            yield from (problem for problem in error.problems if problem.line)
        else:
            yield from (Problem(*at, problem) for problem in problems_with_inputs(step, child))


def _read(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # one more than is accepted, so that the size is refused and not cut
        return data.decode("utf-8-sig")
    except OSError as error:
        problem = error.strerror or str(error)
        if isinstance(error, FileNotFoundError):
            problem = "there is no such file" + ("" if str(path) == name else f"; it was looked for as {path}")
        raise DefinitionError([Problem(name, 0, 0, problem)]) from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DefinitionError([Problem(name, line, 1, "the file is not UTF-8 text")]) from error


def _workflow(
    definition: Definition, path: Path | None, workspace: str | Path | None, tasks: tuple[Task, ...]
) -> Workflow:
    folder = None if workspace is None else Path(workspace).absolute()

    def choose(choice: StepChoice, goes_on: bool) -> Workflow:
        return replace(_workflow_of(part_of(definition, choice, goes_on), path, folder, tasks), choose=choose)

    return choose(StepChoice(), False)


def _workflow_of(
    definition: Definition, path: Path | None, workspace: Path | None, tasks: tuple[Task, ...]
) -> Workflow:
    def load(path: Path, source: str) -> Workflow:
        return load_workflow(path, source=source, tasks=tasks)

    async def program(ctx: RunContext, inputs: dict[str, Any]) -> Any:
        return await interpret(definition, ctx, inputs, load)

    async def tidy_up(ctx: RunContext, inputs: dict[str, Any]) -> None:
        await clean_up(definition, ctx, inputs, load)

    return Workflow(
        name=definition.name,
        version=definition.version,
        program=program,
        timeout_seconds=definition.timeout_seconds,
        labels=definition.labels,
        check_inputs=_input_checker(definition),
        fit_inputs=partial(_fitting, definition),
        definition=StoredDefinition(definition.digest, definition.name, definition.version, definition.text),
        file=None if path is None else str(path),
        plan=definition.plan,
        parameters=[each.name for each in definition.parameters if each.name not in definition.undeclared],
        mentions=definition.mentions,
        environment=_environment(definition, path, workspace),
        retention=definition.retention,
        clean_up=tidy_up if definition.has_clean_ups else None,
        clean_up_seconds=definition.clean_up_seconds,
        on_overlap=definition.on_overlap,
    )


def _input_checker(definition: Definition) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def check(inputs: dict[str, Any]) -> dict[str, Any]:
        complete, problems = check_inputs(definition.parameters, inputs, takes_others=True)
        if definition.secrets:
            problems = _without_secrets(Secrets(definition.secrets).redactor, complete, problems)
        if problems:
            raise InvalidInputError(definition.name, problems)
        return complete

    return check


def _without_secrets(redactor: Redactor, inputs: Mapping[str, Any], problems: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with inputs, without the secrets among them, which is wrong as well."""
    told = "holds the value of a secret, and inputs are stored: use `secrets.NAME` where it is needed"
    found = {name: redactor.text(problem) for name, problem in problems.items()}
    return {**{name: told for name, value in inputs.items() if redactor.value(value) != value}, **found}


def _fitting(definition: Definition, recorded: Mapping[str, Any]) -> tuple[dict[str, Any], list[Difference]]:
    """Return the inputs of a run as a definition that may have changed since takes them, complete with new defaults,
    and how they do not fit. One that is neither declared nor mentioned any more is dropped."""
    declared = {parameter.name for parameter in definition.parameters}
    keeps_all = any(ANY in step.mentions for step in definition.steps)
    kept = {name: value for name, value in recorded.items() if keeps_all or name in declared}
    complete, problems = check_inputs(definition.parameters, kept, takes_others=True)
    found = [
        Difference(f"inputs.{name}", "changed", f"its recorded value no longer fits: it {problem}")
        if name in recorded
        else Difference(f"inputs.{name}", "inserted", "the run was started without it, and the workflow needs it now")
        for name, problem in problems.items()
    ]
    return complete, found


def _require_apart(named: Path, own: Path, workflow: str) -> None:
    """Raise InvalidInputError for a workspace that lies among those that flujo makes: they are removed with the runs
    they are named after, and one that a user has named never is."""
    place, home = Path(os.path.realpath(named)), Path(os.path.realpath(own.parent))
    if home in place.parents and place != home / own.name:
        told = (
            f"{named} lies in {own.parent}, where flujo removes what is named after a run with that run; name another"
        )
        raise InvalidInputError(workflow, {"workspace": told})


def _environment(
    definition: Definition, path: Path | None, workspace: Path | None
) -> Callable[[RunStart], Mapping[str, Any]]:
    """Return what reads, once, when a run begins: variables that are not set then are absent for its whole life.

    It raises InvalidInputError for one that a step is sure to need: a resume could not bring it back; and for an input.
    """

    def read(beginning: RunStart) -> dict[str, Any]:
        if missing := sorted(definition.needed_inputs - beginning.inputs.keys()):
            told = "has no value and no default: give one, or write `{0} | default(…)` where it is used"
            raise InvalidInputError(definition.name, {name: told.format(name) for name in missing})
        if found := problems_with(definition.secrets, os.environ):
            refusal = InvalidInputError(definition.name, {f"secrets.{name}": told for name, told in found.items()})
            refusal.hints = tuple(f"export {name}=…" for name in found)
            raise refusal
        if workspace is not None:
            _require_apart(workspace, beginning.workspace, definition.name)
        file = path if path is not None else _file_in(beginning.origin)
        variables = _variables_in_files(definition, file)
        known = {**os.environ, **variables}
        if missing := sorted(definition.needed_env - {*definition.secrets, *known, *definition.env}):
            told = "the environment variable is not set; set it, or write `env.{0} | default('')` where it is used"
            refusal = InvalidInputError(definition.name, {f"env.{name}": told.format(name) for name in missing})
            refusal.hints = tuple(f"export {name}=…" for name in missing)
            raise refusal
        return {
            "workspace": str(workspace or beginning.workspace),
            "log_file": str(beginning.workspace.with_name(f"{beginning.run_id}.log")),
            "timestamp": to_datetime(beginning.now).isoformat(timespec="seconds"),
            "run_number": beginning.run_number,
            "start_dir": beginning.origin.get("start_dir") or os.getcwd(),
            **({} if file is None else {"workflow_file": str(file), "workflow_dir": str(file.parent)}),
            **definition.chosen.recorded,
            "env": {name: known[name] for name in sorted(definition.env_names | variables.keys()) if name in known},
            **({RECORDED: list(definition.secrets)} if definition.secrets else {}),
            **({"variables": variables} if variables else {}),
        }

    return read


def _file_in(environment: Mapping[str, Any]) -> Path | None:
    """Return where the definition of a run lay, if the environment of the run says so."""
    file = environment.get("workflow_file")
    return Path(file) if isinstance(file, str) and file else None


def _variables_in_files(definition: Definition, path: Path | None) -> dict[str, str]:
    """Return what the files of variables of a definition say, a later one instead of an earlier one.

    Raises InvalidInputError for one that cannot be read."""
    variables: dict[str, str] = {}
    for name in definition.env_files:
        if path is None and not os.path.isabs(name):
            problem = "it counts from a file, and this text came without one; write an absolute path"
            raise _unreadable(definition, name, problem)
        place = os.path.join("" if path is None else path.parent, name)
        try:
            variables |= read_variables(read_small(place))
            if secret := next((each for each in definition.secrets if each in variables), None):
                raise ValueError(f"`{secret}` is among `secrets`, which are never recorded; take it out of {place}")
        except (OSError, ValueError) as error:
            problem = f"{place}: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise _unreadable(definition, name, problem) from error
    return variables


def _unreadable(definition: Definition, name: str, problem: str) -> InvalidInputError:
    refusal = InvalidInputError(definition.name, {f"env_files: {name}": problem})
    refusal.hints = ()  # no input would help
    return refusal
