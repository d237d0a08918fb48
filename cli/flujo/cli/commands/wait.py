"""`flujoctl wait`: return when runs have ended."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio
import click

from flujo.cli import failures
from flujo.cli.connect import reading
from flujo.cli.find_run import find_run
from flujo.cli.foreground import conclude, tell_failure
from flujo.cli.hearing import last_lines
from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import RunStatus, StoredRuns, WorkflowState
from flujo.kernel.durations import parse_duration
from flujo.kernel.errors import FlujoError, RunInterrupted, WaitTimedOutError

WHICH = ("all", "any")


@declare("wait")
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--for",
    "wanted",
    metavar="WHICH",
    type=click.Choice(WHICH),
    default="all",
    help="all runs (default), or any of them",
)
@click.option("--timeout", metavar="DURATION", help="end with 6 after this time")
def command(session: Session, run_ids: Sequence[str], wanted: str, timeout: str | None) -> int:
    """Wait until runs are completed, failed, cancelled or paused, and show their outcomes.

    Ends with the exit code of the first run that has not completed. A run that no process runs ends the wait with 7.
    With --for any it ends as soon as one run has, shows that one and ends with its exit code; with 7 if no process runs
    any of them.
    """
    seconds = None if timeout is None else parse_duration(timeout)

    async def wait() -> tuple[list[WorkflowState], set[str]]:
        async with reading(session.target) as runs:
            found = [await find_run(runs, run_id) for run_id in run_ids]
            if wanted == "any":
                ended = [await _first_of(runs, found, seconds)]
            else:
                ended = await _all_of(runs, found, seconds)
            failed = [state for state in ended if state.status is RunStatus.FAILED]
            return ended, {state.run_id for state in failed if not await last_lines(runs, state)}

    try:
        states, silent = run_async(wait)
    except KeyboardInterrupt:
        session.note("stopped waiting; the run is not affected")
        return failures.INTERRUPTED
    if len(states) > 1 and session.output not in ("table", "name"):
        emit_all([state.to_dict() for state in states], session.output)
        codes = [tell_failure(session, state, () if state.run_id in silent else None) for state in states]
    else:
        codes = [conclude(session, state, () if state.run_id in silent else None) for state in states]
    return next((code for code in codes if code), 0)


async def _all_of(runs: StoredRuns, run_ids: Sequence[str], seconds: float | None) -> list[WorkflowState]:
    """Return the runs once all have ended; raises WaitTimedOutError after so many seconds."""
    ended: list[WorkflowState] = []
    with anyio.move_on_after(seconds):
        for run_id in run_ids:
            ended += [await runs.wait(run_id)]
    if len(ended) < len(run_ids):
        raise WaitTimedOutError(run_ids[len(ended)], seconds or 0.0)
    return ended


async def _first_of(runs: StoredRuns, run_ids: Sequence[str], seconds: float | None) -> WorkflowState:
    """Return the run that has ended first; of several that have already, the first one named.

    Raises WaitTimedOutError after so many seconds, and RunInterrupted if no process runs any of them."""
    ended: dict[int, WorkflowState] = {}
    refused: dict[int, FlujoError] = {}
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:

            async def wait(place: int, run_id: str) -> None:
                try:
                    ended[place] = await runs.wait(run_id)
                except RunInterrupted as error:
                    refused[place] = error  # the others may end yet
                    return
                except FlujoError as error:
                    refused[-1] = error
                tasks.cancel_scope.cancel()

            for place, run_id in enumerate(run_ids):
                tasks.start_soon(partial(wait, place, run_id))
    if ended:
        return ended[min(ended)]
    if -1 in refused or len(refused) == len(run_ids):
        raise refused[min(refused)]
    raise WaitTimedOutError(run_ids[0], seconds or 0.0)
