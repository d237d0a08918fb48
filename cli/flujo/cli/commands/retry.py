"""`flujoctl retry`: run failed steps again."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli.connect import reading
from flujo.cli.find_run import find_run
from flujo.cli.resume_run import resume_run
from flujo.cli.session import Session, declare, run_async


@declare("retry")
@click.argument("run_id", metavar="ID")
@click.option("--step", "steps", metavar="STEP", multiple=True, help="run this step again, but no later one")
@click.option("--wait/--no-wait", default=True, help="stay while the run waits (default), or end with 7")
def command(session: Session, run_id: str, steps: Sequence[str], wait: bool) -> int:
    """Resume a run, with fresh attempts for the steps whose failures ended it, and for every STEP.

    Steps after a STEP that have completed keep their outputs; to run those again as well, use `resume --from-step`.
    """

    async def retry() -> int:
        async with reading(session.target) as runs:
            found = await find_run(runs, run_id)
        return await resume_run(session, found, retry=tuple(steps), no_wait=not wait)

    return run_async(retry)
