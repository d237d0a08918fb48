"""Show what the steps of a run print: the last lines of those that run, on a terminal, and of the one that failed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import anyio

from flujo.kernel import RunStatus, StoredRuns, WorkflowState
from flujo.kernel.errors import FlujoError

from .connect import reading
from .display import Display
from .session import Session, say
from .text import printable

LOOK_SECONDS = 0.25
"""How often the log of a run is looked at: a file that grows tells nobody."""

_SHARE = 20
"""Looking takes at most one part of the time in so many: the log of a run with a long history costs more to find."""

LAST_LINES = 10
"""How many lines are shown of what a step has printed before it failed."""


@asynccontextmanager
async def hearing(runs: StoredRuns, run_id: str, display: Display) -> AsyncIterator[None]:
    """Tell the display what the steps of a run print, while the block runs."""
    if not display.shows_output:
        yield
        return
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(_hear, runs, run_id, display))
        failure: Exception | None = None
        try:
            yield
        except Exception as error:  # not to come out of the task group as a group of one
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _hear(runs: StoredRuns, run_id: str, display: Display) -> None:
    offset = 0
    try:
        while True:
            began = time.perf_counter()
            part = await runs.read_log(run_id, offset=offset)
            offset = part.next_offset
            display.hear(part.lines)
            await anyio.sleep(max(LOOK_SECONDS, _SHARE * (time.perf_counter() - began)))
    except FlujoError:
        return  # a run that keeps no log, or one that is gone, which the stream of its events says better


TRACE_LINES = 6
"""Of a traceback: the last two frames, each with its line of code and what is marked in that."""

_FRAME = '  File "'
_OF_FLUJO = ("/flujo/workflows/", "/flujo/kernel/")
_OF_PYTHON = "/lib/python3"
_INSTALLED = "-packages/"
"""What is in the paths of code that is not the user's: of flujo, of Python itself, and of what was installed."""


async def show_last_lines(session: Session, state: WorkflowState) -> Sequence[str]:
    """Return what the step has printed last in which a run failed, and print it on stderr unless nobody wants that."""
    if state.status is not RunStatus.FAILED or not session.keeps_runs:
        return ()
    async with reading(session.target) as runs:
        lines = await last_lines(runs, state)
    if shows_last_lines(session):
        for line in under_heading(state, lines) or where_it_failed(state):
            say(line)
    return lines


def shows_last_lines(session: Session) -> bool:
    """True if last lines are for a person, who wants to be told."""
    return not session.quiet and session.output not in ("json", "jsonl")


async def last_lines(runs: StoredRuns, state: WorkflowState, step: str | None = None) -> list[str]:
    """Return what a step has printed last, or else the one in which a run failed; nothing if that is not kept."""
    if step is None and state.status is RunStatus.FAILED:
        step = state.failed_step
    if step is None:
        return []
    try:
        part = await runs.read_log(state.run_id, step=step, tail=LAST_LINES)
    except FlujoError:
        return []
    return [printable(line.text) for line in part.lines if line.step is not None]


def where_it_failed(state: WorkflowState) -> list[str]:
    """Return where in the user's code it was that ended a run, as it is shown; nothing if no traceback is recorded, or
    only one of a task that comes with flujo, whose message says all that can be done."""
    step = state.steps.get(state.failed_step or "")
    errors = (None if step is None else step.error, state.error)
    details = next((error.details for error in errors if error is not None and error.details), "")
    lines = [f"  | {printable(line)}" for line in _up_to_own_code(details.splitlines())[-TRACE_LINES:]]
    return ["it failed here:", *lines] if lines else []


def _up_to_own_code(lines: Sequence[str]) -> Sequence[str]:
    """Return the lines of a traceback up to the last frame of the user's code: what a library does when it is called
    wrongly helps nobody. Without such a frame they are what they were, or none if it was flujo or Python."""
    starts = [number for number, line in enumerate(lines) if line.startswith(_FRAME)]
    paths = [lines[number].removeprefix(_FRAME).partition('"')[0] for number in starts]
    own = [number for number, path in enumerate(paths) if not (_comes_along(path) or _INSTALLED in path)]
    if own:
        return lines[: [*starts, len(lines)][own[-1] + 1]]
    return [] if paths and _comes_along(paths[-1]) else lines


def _comes_along(path: str) -> bool:
    """True for the path of code that comes with flujo or with Python."""
    is_of_python = path.startswith("<frozen ") or (_OF_PYTHON in path and _INSTALLED not in path)
    return is_of_python or any(each in path for each in _OF_FLUJO)


def under_heading(state: WorkflowState, lines: Sequence[str]) -> list[str]:
    """Return last lines as they are shown; nothing if there are none."""
    return [f"the last lines of {state.failed_step}:", *(f"  | {line}" for line in lines)] if lines else []
