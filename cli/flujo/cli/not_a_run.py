"""Say what a word is that names no run: a step, a signal, a workflow or a file. Then the line to type is the one that
was typed, with the run that is likely to be meant (tests/cli/test_not_a_run.py).

    resume deploy       the workflow, whose newest run it is
    logs report.yaml    the file of a workflow
    retry r fetch       a step behind its run, which is an option here
    signal go r         the name and the run, swapped

The store is asked, so this is done for an error only, and what fails in it is nobody's concern.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from flujo.kernel.errors import FlujoError, RunNotFoundError

from . import command_index
from .connect import reading
from .failures import SourceNotFoundError
from .session import Session, run_async

if TYPE_CHECKING:
    from flujo.kernel import StoredRuns, WorkflowState

LOOKED_AT = 20
"""In how many of the newest runs a step is looked for, when no run is named."""

_STEP_OPTIONS = {
    "logs": "--step",
    "inspect": "--step",
    "retry": "--step",
    "resume": "--from-step",
    "fork": "--from-step",
}
_RUN_THEN_NAME = ("signal", "approve", "reject", "skip")


def after_missing_run(error: FlujoError, arguments: Sequence[str], session: Session) -> None:
    """Let the hints of a run that is not there begin with the line that was meant, if the word is something else."""
    if isinstance(error, RunNotFoundError):
        word = error.run_id
    elif isinstance(error, SourceNotFoundError) and arguments[:1] == ["run"] and len(arguments) > 1:
        word = arguments[1]
    else:
        return
    if (line := line_meant(session, word, arguments)) is not None:
        error.hints = (line, *error.hints)


def line_meant(session: Session, word: str, arguments: Sequence[str]) -> str | None:
    """Return the line that was probably meant where a word is no run, or no input; None if nobody knows."""
    if word not in arguments or not arguments:
        return None
    try:
        return run_async(partial(_line_meant, session, word, list(arguments)))
    except FlujoError:  # the store, or the file, has told its own error
        return None


async def _line_meant(session: Session, word: str, arguments: list[str]) -> str | None:
    verb = command_index.ALIASES.get(arguments[0], arguments[0])
    async with reading(session.target) as runs:
        if verb == "run":
            return await _resumed(runs, word)
        for workflow in (word, _workflow_in(word)):
            newest = () if workflow is None else (await runs.list(workflow=workflow, limit=1)).runs
            if newest and workflow is not None:
                told = f"{shlex.quote(word)} is a {'workflow' if workflow == word else 'file'}; this is its newest run"
                return _told(_replaced(arguments, {word: newest[0].run_id}), told)
        state = await _run_with(runs, word, arguments)
        return None if state is None else _with_step(verb, word, state, arguments)


async def _resumed(runs: StoredRuns, word: str) -> str | None:
    """Return the line that resumes a run whose id stands where a file should be."""
    try:
        run = await runs.summary(word)
    except FlujoError:
        return None
    verb = "inspect" if run.status == "completed" else "resume"
    return f"flujoctl {verb} {run.run_id}  # there is a run of this id"


def _workflow_in(word: str) -> str | None:
    """Return the name of the workflow in a file; None if the word names no file of one."""
    from . import sources

    if not os.path.isfile(word) and not word.rpartition(":")[0].endswith(".py"):
        return None
    return sources.load(word).name


async def _run_with(runs: StoredRuns, name: str, arguments: Sequence[str]) -> WorkflowState | None:
    """Return a run that has a step or waits for a signal of a name: one that the line names, or else a new one."""
    named = [each for each in arguments[1:] if each != name and not each.startswith("-")]
    newest = [run.run_id for run in (await runs.list(limit=LOOKED_AT)).runs]
    for run_id in [*named, *newest]:
        try:
            state = await runs.inspect(run_id)
        except FlujoError:
            continue
        signals = {step.signal for step in state.open_steps()}
        if name in state.steps or name in signals or name in {row[0] for row in state.plan or ()}:
            return state
        if run_id in named:
            return None  # the run is named, and has no such step
    return None


def _with_step(verb: str, step: str, state: WorkflowState, arguments: list[str]) -> str:
    """Return a line with a step behind its run, as the command wants it."""
    run_id, name = state.run_id, shlex.quote(step)
    is_awaited = step in {each.signal for each in state.open_steps()}
    told = f"run {run_id} waits for {name}" if is_awaited else f"{name} is a step of run {run_id}"
    left = [each for each in arguments if each not in (step, run_id)]
    if verb in _RUN_THEN_NAME:
        return _told([left[0], run_id, step, *left[1:]], told)
    if (option := _STEP_OPTIONS.get(verb)) is not None:
        return _told([left[0], run_id, option, step, *left[1:]], told)
    return f"flujoctl inspect {run_id} --step {name}  # {told}"


def _replaced(arguments: Sequence[str], words: dict[str, str]) -> list[str]:
    return [words.get(each, each) for each in arguments]


def _told(words: Sequence[str], told: str) -> str:
    return f"{shlex.join(['flujoctl', *words])}  # {told}"
