"""`flujoctl unpause`: continue a paused run."""

from __future__ import annotations

import click

from flujo.cli.connect import reading
from flujo.cli.find_run import find_run
from flujo.cli.resume_run import resume_run
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import RunStatus
from flujo.kernel.errors import RunNotPausedError


@declare("unpause")
@click.argument("run_id", metavar="ID")
@click.option("--wait/--no-wait", default=True, help="stay while the run waits (default), or end with 7")
def command(session: Session, run_id: str, wait: bool) -> int:
    """Continue a paused run, as `resume` does. A run that is not paused is refused."""

    async def unpause() -> int:
        async with reading(session.target) as runs:
            run = await runs.summary(await find_run(runs, run_id))
        if run.status != RunStatus.PAUSED:
            raise RunNotPausedError(run.run_id, run.status)
        return await resume_run(session, run.run_id, no_wait=not wait)

    return run_async(unpause)
