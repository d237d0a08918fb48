"""`flujoctl skip`: mark a step as skipped."""

from __future__ import annotations

import click

from flujo.cli.connect import acting, reading
from flujo.cli.find_run import find_run
from flujo.cli.inputs import parse_json
from flujo.cli.output import emit
from flujo.cli.resume_run import resume_run
from flujo.cli.session import Session, declare, run_async


@declare("skip", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
@click.argument("step", metavar="STEP")
@click.option("--result", metavar="JSON", help="what later steps see as its result")
@click.option("--reason", metavar="TEXT", help="the reason, which is recorded")
@click.option("--resume", is_flag=True, help="resume the run at once, in this process or on the server")
def command(session: Session, run_id: str, step: str, result: str | None, reason: str | None, resume: bool) -> int:
    """Mark a step as skipped, in a run that no process runs: failed, paused, cancelled or interrupted.

    The next resume continues after it. A step that has completed cannot be skipped.
    """
    value = None if result is None else parse_json(result, "--result")

    async def skip() -> int:
        async with reading(session.target) as runs:
            found = await find_run(runs, run_id)
        async with acting(session.target) as runs:
            await runs.skip(found, step, value, reason=reason, by=session.user)
        if resume:
            return await resume_run(session, found)
        if session.output != "table":
            emit({"run_id": found, "step": step, "status": "skipped"}, session.output)
        elif not session.quiet:
            print(f"step {step} of run {found} is skipped")
        session.suggest(f"flujoctl resume {found}")
        return 0

    return run_async(skip)
