"""`flujoctl retry`: run failed steps again."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli.resume_many import resume_many
from flujo.cli.resume_run import resume_run
from flujo.cli.selecting import Named, Verb, naming, runs_named
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import RunStatus

RETRY = Verb("Retry", [RunStatus.FAILED])


@declare("retry")
@naming
@click.option("--step", "steps", metavar="STEP", multiple=True, help="run this step again, but no later one")
@click.option("--wait/--no-wait", default=True, help="stay while the run waits (default), or end with 7")
def command(session: Session, named: Named, steps: Sequence[str], wait: bool) -> int:
    """Resume runs, with fresh attempts for the steps whose failures ended it, and for every STEP.

    Steps after a STEP that have completed keep their outputs; to run those again as well, use `resume --from-step`.
    Of several runs, those that wait for something are left waiting.
    """

    async def retry() -> int:
        found = await runs_named(session, named, RETRY)
        if named.is_one:
            return await resume_run(session, found[0], retry=tuple(steps), no_wait=not wait)
        return await resume_many(session, found, retry=tuple(steps)) if found else 0

    return run_async(retry)
