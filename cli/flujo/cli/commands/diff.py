"""`flujoctl diff`: how a definition differs from the one a run has stored, before anything is touched; or two runs."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from flujo.cli import comparing, sources, text
from flujo.cli.connect import connected, reading
from flujo.cli.definition_texts import stored_definition
from flujo.cli.failures import SourceNotFoundError
from flujo.cli.find_run import find_run
from flujo.cli.output import emit_all
from flujo.cli.pager import paged
from flujo.cli.session import Session, declare, run_async
from flujo.cli.target import ServerTarget
from flujo.kernel import StoredDefinition, StoredRuns, Workflow, WorkflowState
from flujo.kernel.errors import Difference, RunNotFoundError, StateIncompatibilityError
from flujo.kernel.transitions import require_compatible

COLOURS = {"+": "32", "-": "31", "@": "36"}
"""The colours of a line, by its first character."""

Told = tuple[WorkflowState, StoredDefinition | None]
"""A run, and the text of its definition if it has one."""


@declare("diff", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
@click.argument("other", metavar="[FILE|ID]", required=False)
def command(session: Session, run_id: str, other: str | None) -> int:
    """Compare the inputs and the completed steps of a run with FILE, by default with what it was started from.

    Ends with 0 when the run can be resumed with it, and with 4 when it contradicts a completed step. With another ID
    it compares two runs: inputs, definitions, and what became of each step. Texts are compared line by line.
    """

    async def read() -> tuple[Told, Told | None]:
        async with reading(session.target) as runs:
            one = await _told(runs, run_id)
            return one, None if other is None or _is_file(other) else await _other_run(runs, other)

    (state, stored), second = run_async(read)
    if second is not None:
        return _compare(session, (state, stored), second)
    target = session.target
    if other is None and isinstance(target, ServerTarget) and sources.of_run(state) is None:
        return _conclude(session, state, run_async(lambda: _by_server(target, state)))
    current = _current(state, other)
    if state.differences and (current is None or (state.definition is None and other is None)):
        return _show_recorded(session, state)
    if current is None:
        raise click.UsageError(f"run {state.run_id!r} was started by a program with its own workflow; compare it there")
    _show_texts(session, state, stored, current)
    try:
        require_compatible(state, current.as_started(state))
    except StateIncompatibilityError as error:
        _show(session, error.differences)
        raise
    _show(session, ())
    if session.output == "table":
        print(f"{current.file or current.name} fits {_what(state)} of run {state.run_id}")
    return 0


async def _told(runs: StoredRuns, given: str) -> Told:
    state = await runs.inspect(await find_run(runs, given))
    return state, await stored_definition(runs, state)


async def _by_server(target: ServerTarget, state: WorkflowState) -> Sequence[Difference]:
    """Return what the server finds, comparing with the workflow that it has by the run's name."""
    async with connected(target) as client:
        return await client.diff(state.run_id)


def _conclude(session: Session, state: WorkflowState, found: Sequence[Difference]) -> int:
    _show(session, found)
    if found:
        raise StateIncompatibilityError.recorded(state.run_id, found, has_definition=state.definition is not None)
    if session.output == "table":
        print(f"{state.workflow} on the server fits {_what(state)} of run {state.run_id}")
    return 0


async def _other_run(runs: StoredRuns, given: str) -> Told:
    try:
        return await _told(runs, given)
    except RunNotFoundError as error:
        raise SourceNotFoundError(
            f"there is no file {given!r}, and no run of that id", ["flujoctl list", *error.hints]
        ) from error


def _is_file(name: str) -> bool:
    """True for what can only be meant as a file or a module: a run id has no slash, no colon and no such ending."""
    return os.path.exists(name) or name.endswith((".yaml", ".yml", ".py")) or "/" in name or ":" in name


def _what(state: WorkflowState) -> str:
    if state.definition is None:
        return "the inputs (steps are compared when it is resumed)"
    return "everything that has completed"


def _show(session: Session, found: Sequence[Difference]) -> None:
    if session.output != "table":
        emit_all([difference._asdict() for difference in found], session.output)


def _show_texts(session: Session, state: WorkflowState, stored: StoredDefinition | None, current: Workflow) -> None:
    """Show how the text of a definition has changed, whether that matters to the run or not."""
    if session.output != "table" or stored is None or current.definition is None:
        return
    if changed := list(comparing.line_by_line(stored.text, current.definition.text)):
        _print_lines(session, [f"--- run {state.run_id}", f"+++ {current.file or current.name}", *changed])


def _print_lines(session: Session, lines: Sequence[str]) -> None:
    with paged(session):
        colour = session.has_colour
        for line in map(text.printable, lines):
            code = COLOURS.get(line[:1]) if colour else None
            print(line if code is None else f"\x1b[{code}m{line}\x1b[0m")


def _compare(session: Session, one: Told, other: Told) -> int:
    found = list(comparing.differences(comparing.facts_of(*one), comparing.facts_of(*other)))
    _show(session, found)
    if session.output == "table":
        names = f"runs {one[0].run_id} and {other[0].run_id}"
        if not found:
            print(f"{names} do not differ")
        lines: list[str] = []
        for each in found:
            begins = [f"--- {one[0].run_id} {each.step}", f"+++ {other[0].run_id} {each.step}"]
            lines += [*([""] if lines else []), *begins, *each.detail.splitlines()]
        _print_lines(session, lines)
    return 0


def _show_recorded(session: Session, state: WorkflowState) -> int:
    """Show what a program was found to contradict when the run was paused."""
    error = StateIncompatibilityError.recorded(
        state.run_id, state.differences, has_definition=state.definition is not None
    )
    _show(session, error.differences)
    raise error


def _current(state: WorkflowState, file: str | None) -> Workflow | None:
    """Return the workflow to compare with; None for one that only the application that started the run has."""
    try:
        current = sources.load(file) if file is not None else sources.of_run(state)
    except SourceNotFoundError as error:
        error.hints = (f"flujoctl diff {state.run_id} FILE, or another ID",)
        raise
    if current is None and state.definition is not None:
        told = f"the file that run {state.run_id!r} was started from does not exist any more"
        if sources.file_of(state) is None:
            told = f"run {state.run_id!r} was started from a text that has no file; compare it with one"
        raise SourceNotFoundError(told, [f"flujoctl diff {state.run_id} FILE"])
    return current
