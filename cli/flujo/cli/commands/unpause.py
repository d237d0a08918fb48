"""`flujoctl unpause`: continue a paused run."""

from __future__ import annotations

import click

from flujo.cli.connect import reading
from flujo.cli.resume_many import resume_many
from flujo.cli.resume_run import resume_run
from flujo.cli.selecting import Named, Verb, naming, runs_named
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import RunStatus
from flujo.kernel.api import UNPAUSABLE
from flujo.kernel.errors import RunNotPausedError

UNPAUSE = Verb("Unpause", *UNPAUSABLE)


@declare("unpause")
@naming
@click.option("--wait/--no-wait", default=True, help="stay while the run waits (default), or end with 7")
def command(session: Session, named: Named, wait: bool) -> int:
    """Continue paused runs, as `resume` does. A run that is not paused is refused.

    Of several runs, those that wait for something are left waiting.
    """

    async def unpause() -> int:
        found = await runs_named(session, named, UNPAUSE)
        async with reading(session.target) as runs:
            for run in [await runs.summary(run_id) for run_id in found]:
                if run.status != RunStatus.PAUSED:
                    raise RunNotPausedError(run.run_id, run.status)
        if named.is_one:
            return await resume_run(session, found[0], no_wait=not wait)
        return await resume_many(session, found) if found else 0

    return run_async(unpause)
