"""`flujoctl wait`: return when runs have ended."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import click

from flujo.cli import failures
from flujo.cli.connect import reading
from flujo.cli.find_run import find_run
from flujo.cli.foreground import conclude, tell_failure
from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import WorkflowState
from flujo.kernel.durations import parse_duration
from flujo.kernel.errors import WaitTimedOutError


@declare("wait")
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--timeout", metavar="DURATION", help="end with 6 after this time")
def command(session: Session, run_ids: Sequence[str], timeout: str | None) -> int:
    """Wait until runs are completed, failed, cancelled or paused, and show their outcomes.

    Ends with the exit code of the first run that has not completed. A run that no process runs ends the wait with 7.
    """
    seconds = None if timeout is None else parse_duration(timeout)

    async def wait() -> list[WorkflowState]:
        async with reading(session.target) as runs:
            found = [await find_run(runs, run_id) for run_id in run_ids]
            waited_for = found[0]
            try:
                with anyio.fail_after(seconds):
                    ended: list[WorkflowState] = []
                    for waited_for in found:
                        ended += [await runs.wait(waited_for)]
                    return ended
            except TimeoutError:
                assert seconds is not None
                raise WaitTimedOutError(waited_for, seconds) from None

    try:
        states = run_async(wait)
    except KeyboardInterrupt:
        session.note("stopped waiting; the run is not affected")
        return failures.INTERRUPTED
    if len(states) > 1 and session.output not in ("table", "name"):
        emit_all([state.to_dict() for state in states], session.output)
        codes = [tell_failure(session, state) for state in states]
    else:
        codes = [conclude(session, state) for state in states]
    return next((code for code in codes if code), 0)
