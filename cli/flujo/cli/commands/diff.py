"""`flujoctl diff`: how a definition differs from the one a run has stored, before anything is touched."""

from __future__ import annotations

from pathlib import Path

import click

from flujo.cli import sources
from flujo.cli.connect import reading
from flujo.cli.failures import SourceNotFoundError
from flujo.cli.find_run import find_run
from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import Workflow, WorkflowState
from flujo.kernel.errors import Difference, Remedies, StateIncompatibilityError
from flujo.kernel.transitions import differences, restart_at


@declare("diff", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
def command(session: Session, run_id: str, file: Path | None) -> int:
    """Compare the completed steps of a run with FILE, by default with the file it was started from.

    Ends with 0 when the run can be resumed with it, and with 4 when it contradicts a completed step.
    """

    async def read() -> WorkflowState:
        async with reading(session.target) as runs:
            return await runs.inspect(await find_run(runs, run_id))

    state = run_async(read)
    if state.definition is None and file is None and state.differences:
        return _show_recorded(session, state)
    current = _current(state, file).as_started(state)
    found = differences(state, current.plan)
    if session.output != "table":
        emit_all([difference._asdict() for difference in found], session.output)
    elif not found:
        print(f"{current.file or current.name} fits everything that run {state.run_id} has completed")
    if not found:
        return 0
    first = restart_at(state, found, lambda reset: not differences(state, current.plan, invalidated=reset))
    raise StateIncompatibilityError(state.run_id, found, str(current.file or "FILE"), Remedies(first))


def _show_recorded(session: Session, state: WorkflowState) -> int:
    """Show what a Python program was found to contradict when the run was paused."""
    found = [Difference(*row) for row in state.differences]
    if session.output != "table":
        emit_all([difference._asdict() for difference in found], session.output)
    raise StateIncompatibilityError(state.run_id, found)


def _current(state: WorkflowState, file: Path | None) -> Workflow:
    if state.definition is None:
        raise click.UsageError(
            "only YAML definitions can be compared beforehand; a Python workflow is compared when it is resumed"
        )
    current = sources.load(str(file)) if file is not None else sources.of_run(state)
    if current is None:
        raise SourceNotFoundError(
            f"the file that run {state.run_id!r} was started from does not exist any more",
            [f"flujoctl diff {state.run_id} FILE"],
        )
    return current
