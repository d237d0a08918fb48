"""Load workflows from a YAML file, a Python file (`FILE.py:NAME`) or an importable module (`MODULE:NAME`).

A run of a Python workflow records its target, so that `resume ID` finds the workflow again. A run of a YAML file has
the text itself in the store, and the path of the file, which may have been edited since.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import TYPE_CHECKING, Any

from flujo.kernel import RunStart, StoredDefinition, Workflow, WorkflowState
from flujo.kernel.errors import DeclarationError, DefinitionError, FlujoError, Problem

from .failures import SourceError, SourceNotFoundError
from .source_files import require_file, ways_on

if TYPE_CHECKING:
    from flujo.kernel.programs import StepChoice
    from flujo.workflows.preview import StepPreview

TARGET = "target"
START_DIR = "start_dir"
WORKFLOW_FILE = "workflow_file"


def load(target: str, *, workspace: Path | None = None) -> Workflow:
    """Return the workflow a command line names; raises SourceNotFoundError, SourceError or DefinitionError."""
    if "://" in target:
        name = quote(target.rstrip("/").rpartition("/")[2] or "workflow.yaml")
        told = f"{target} is an address, and a workflow is read from a file"
        raise SourceNotFoundError(told, [f"curl -fLo {name} {quote(target)}", f"flujoctl run {name}"])
    if not _is_python(target):
        return _load_yaml(Path(target), workspace)
    if workspace is not None:
        raise SourceError("--workspace applies to YAML workflows only; leave it out for a Python workflow")
    return _load_python(target, os.getcwd())


def load_remote(target: str) -> Workflow | str:
    """Return the workflow a command line names for a server: that of a YAML file, or a name. Raises as `load` does.

    Code is never sent: a Python workflow is run by the server that was started with it, under its name."""
    if target.endswith((".yaml", ".yml")) or "/" in target or os.path.isfile(target):
        if not target.endswith(".py"):
            return _load_yaml(Path(target), None)
    elif ":" not in target and not target.endswith(".py"):
        return target
    raise SourceError(
        f"{target} is a Python workflow; a server runs only the Python workflows it was started with",
        [f"flujoctl serve {quote(target)}", "flujoctl run NAME"],
    )


def of_run(state: WorkflowState) -> Workflow | None:
    """Return the workflow a run was started from as it is now; None if its file cannot be read or it never had one.

    Raises SourceError or DefinitionError for one that is there and cannot be used.
    """
    if (program := program_of_run(state)) is not None:
        return program
    if (file := file_of(state)) is None:
        return None
    try:
        return _load_yaml(Path(file), None, check_children=False)  # those that have begun need no file
    except SourceNotFoundError:
        return None


def programs(target: str, start_dir: str | None = None) -> list[Workflow]:
    """Return the Python workflows that a run of `target` finds by name: its own and the others of its module; none for
    a YAML file. Raises SourceNotFoundError, SourceError."""
    return _load_programs(target, start_dir or os.getcwd()) if _is_python(target) else []


def programs_of_run(state: WorkflowState) -> list[Workflow]:
    """Return the Python workflows that a run finds by name, as `programs` does for what it was started from."""
    if (target := state.environment.get(TARGET)) is None:
        return []
    return _load_programs(str(target), _start_dir(state))


def program_of_run(state: WorkflowState) -> Workflow | None:
    """Return the Python workflow that a run was started from as it is now; None if it was none."""
    return next(iter(programs_of_run(state)), None)


def module_of(state: WorkflowState) -> str | None:
    """Return the Python file or module that a run was started from; None if it was none."""
    target = state.environment.get(TARGET)
    return None if target is None else str(target).rpartition(":")[0]


def warnings_in(target: str) -> list[Problem]:
    """Return what a valid YAML file says that may not be meant; a workflow in Python has none."""
    if _is_python(target):
        return []
    from flujo.workflows import loading

    return loading.warnings_in(target)


def flows_in(target: str) -> list[str]:
    """Return the names of the flows in a valid YAML file; a workflow in Python has none."""
    if _is_python(target):
        return []
    from flujo.workflows import loading

    return loading.flows_in(target)


def previewed(target: str, choice: StepChoice, inputs: Mapping[str, Any]) -> list[StepPreview]:
    """Return what a run of a valid YAML file would do; a workflow in Python decides that when it runs."""
    if _is_python(target):
        return []
    from flujo.workflows import loading

    return loading.previewed(target, choice, inputs)


def file_of(state: WorkflowState) -> str | None:
    """Return the path of the YAML file a run was started from."""
    file = state.environment.get(WORKFLOW_FILE)
    return None if file is None else str(file)


def from_stored_text(stored: StoredDefinition, state: WorkflowState | None = None) -> Workflow:
    """Return the workflow in a definition that a store holds."""
    from flujo.workflows.loading import load_stored_text

    return load_stored_text(stored, None if state is None else file_of(state))


# ---------------------------------------------------------------------------------------------------------------
# YAML
# ---------------------------------------------------------------------------------------------------------------


def _load_yaml(file: Path, workspace: Path | None, *, check_children: bool = True) -> Workflow:
    require_file(file)
    from flujo.workflows import load_workflow

    try:
        return load_workflow(file, workspace=workspace, check_children=check_children)
    except DefinitionError as error:
        error.hints = error.hints or ways_on(file)
        raise


# ---------------------------------------------------------------------------------------------------------------
# Python
# ---------------------------------------------------------------------------------------------------------------


def _is_python(target: str) -> bool:
    place, colon, _ = target.rpartition(":")
    return target.endswith(".py") or (bool(colon) and not os.path.exists(target) and place != "")


def _start_dir(state: WorkflowState) -> str:
    return str(state.environment.get(START_DIR) or os.getcwd())


def _load_python(target: str, start_dir: str) -> Workflow:
    return _load_programs(target, start_dir)[0]


def _load_programs(target: str, start_dir: str) -> list[Workflow]:
    """Return the workflow that a target names, then those of its module that have other names."""
    place, _, name = target.rpartition(":") if not target.endswith(".py") else (target, "", "")
    is_file = place.endswith(".py")
    if is_file:
        place = os.path.abspath(os.path.join(start_dir, place))
    try:
        module = _import_file(Path(place)) if is_file else _import_module(place, start_dir)
    except SourceError as error:
        error.hints = (f"flujoctl run {quote(target)} -vv  # shows the whole error",)
        raise
    known = {key: value for key, value in vars(module).items() if isinstance(value, Workflow)}
    name = _name_among(known, place, name)
    others = {each.name: key for key, each in reversed(known.items()) if _may_be_called(each)}
    others.pop(known[name].name, None)
    return [_recording(known[key], f"{place}:{key}", start_dir) for key in (name, *others.values())]


def _may_be_called(workflow: Workflow) -> bool:
    """True unless the workflow is unfinished, which must not keep others of its file from running."""
    try:
        workflow.require_resolved()
    except DeclarationError:
        return False
    return True


def _recording(workflow: Workflow, target: str, start_dir: str) -> Workflow:
    """Return a workflow whose runs record where it is found again."""
    recorded = {TARGET: target, START_DIR: start_dir}
    before = workflow.environment

    def environment(beginning: RunStart) -> Mapping[str, Any]:
        return {**(before(beginning) if before is not None else {}), **recorded}

    return replace(workflow, environment=environment)


def _name_among(known: Mapping[str, Workflow], place: str, name: str) -> str:
    """Return the name of the workflow of a module that is meant: the one given, or else that of the only one."""
    if not known:
        raise SourceError(f"{place} has no workflow", ["write @workflow above the function that is one"])
    listed = ", ".join(sorted(known))
    if not name:
        if len(known) != 1:
            raise SourceError(f"{place} has these workflows: {listed}; say which one", [f"flujoctl run {place}:NAME"])
        name = next(iter(known))
    if name not in known:
        raise SourceError(f"{place} has no workflow {name!r}; it has: {listed}", [f"flujoctl run {place}:NAME"])
    return name


def _import_file(file: Path) -> ModuleType:
    require_file(file)
    found = os.stat(file)
    version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    if _LOADED.get(file, (None,))[0] == version:
        return _LOADED[file][1]
    # The name becomes part of the names of its errors and classes, so it must be the same in every process.
    name = file.stem if file.stem not in sys.stdlib_module_names else f"_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _look_first_in(str(file.parent))
    sys.modules[name] = module  # dataclasses and pydantic look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _import_failed(str(file), error) from error
    _LOADED[file] = version, module
    return module


_LOADED: dict[Path, tuple[tuple[int, ...], ModuleType]] = {}
"""The modules of files, each with what tells another version of the file: of two workflows in one file that are served,
one may call the other."""


def _import_module(name: str, start_dir: str) -> ModuleType:
    _look_first_in(start_dir)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise SourceNotFoundError(
                f"there is no module {name!r}", ["flujoctl run FILE.yaml, FILE.py:NAME or MODULE:NAME"]
            ) from error
        raise _import_failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


def _look_first_in(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _import_failed(what: str, error: Exception | SystemExit) -> FlujoError:
    """Return an error that says where in the user's code the import failed."""
    if isinstance(error, FlujoError):
        return error
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    place = f"{own[-1].filename}:{own[-1].lineno}" if own else ""
    text = str(error)
    if isinstance(error, SyntaxError):  # no line of the file has run
        place, text = f"{error.filename or what}:{error.lineno or 1}", error.msg
    where = f" ({place})" if place else ""
    return SourceError(f"importing {what} failed: {type(error).__name__}: {text}{where}")
