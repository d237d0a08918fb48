"""`flujoctl diff`: how a definition differs from the one a run has stored, before anything is touched."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli import sources
from flujo.cli.connect import reading
from flujo.cli.failures import SourceNotFoundError
from flujo.cli.find_run import find_run
from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import Workflow, WorkflowState
from flujo.kernel.errors import Difference, StateIncompatibilityError
from flujo.kernel.transitions import require_compatible


@declare("diff", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
@click.argument("file", metavar="[FILE]", required=False)
def command(session: Session, run_id: str, file: str | None) -> int:
    """Compare the inputs and the completed steps of a run with FILE, by default with what it was started from.

    Ends with 0 when the run can be resumed with it, and with 4 when it contradicts a completed step.
    """

    async def read() -> WorkflowState:
        async with reading(session.target) as runs:
            return await runs.inspect(await find_run(runs, run_id))

    state = run_async(read)
    current = _current(state, file)
    if state.differences and (current is None or (state.definition is None and file is None)):
        return _show_recorded(session, state)
    if current is None:
        raise click.UsageError(f"run {state.run_id!r} was started by a program with its own workflow; compare it there")
    try:
        require_compatible(state, current.as_started(state))
    except StateIncompatibilityError as error:
        _show(session, error.differences)
        raise
    _show(session, ())
    if session.output == "table":
        print(f"{current.file or current.name} fits {_what(state)} of run {state.run_id}")
    return 0


def _what(state: WorkflowState) -> str:
    if state.definition is None:
        return "the inputs (steps are compared when it is resumed)"
    return "everything that has completed"


def _show(session: Session, found: Sequence[Difference]) -> None:
    if session.output != "table":
        emit_all([difference._asdict() for difference in found], session.output)


def _show_recorded(session: Session, state: WorkflowState) -> int:
    """Show what a program was found to contradict when the run was paused."""
    error = StateIncompatibilityError.recorded(
        state.run_id, state.differences, has_definition=state.definition is not None
    )
    _show(session, error.differences)
    raise error


def _current(state: WorkflowState, file: str | None) -> Workflow | None:
    """Return the workflow to compare with; None for one that only the application that started the run has."""
    current = sources.load(file) if file is not None else sources.of_run(state)
    if current is None and state.definition is not None:
        raise SourceNotFoundError(
            f"the file that run {state.run_id!r} was started from does not exist any more",
            [f"flujoctl diff {state.run_id} FILE"],
        )
    return current
