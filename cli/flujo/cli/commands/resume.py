"""`flujoctl resume`: continue one run where it stopped."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli.connect import reading
from flujo.cli.find_run import find_run
from flujo.cli.inputs import parse_inputs
from flujo.cli.resume_run import resume_run
from flujo.cli.session import Session, declare, run_async
from flujo.kernel.api import ResumeOptions


@declare("resume")
@click.argument("run_id", metavar="ID")
@click.argument("assignments", metavar="[NAME=TEXT]...", nargs=-1)
@click.option("-p", "--param", "parameters", metavar="NAME=TEXT", multiple=True, help="replace an input; NAME:=JSON")
@click.option("--from-step", metavar="STEP", help="run this step and those that depend on it again")
@click.option("--start-from", metavar="STEP", hidden=True)
@click.option("--stored", is_flag=True, help="use the definition in the store although its file has changed")
@click.option("--accept-changes", is_flag=True, help="keep recorded outputs although the definition has changed")
@click.option("--wait/--no-wait", default=True, help="stay while the run waits (default), or end with 7")
def command(
    session: Session,
    run_id: str,
    assignments: Sequence[str],
    parameters: Sequence[str],
    from_step: str | None,
    start_from: str | None,
    stored: bool,
    accept_changes: bool,
    wait: bool,
) -> int:
    """Continue a failed, paused, cancelled or interrupted run.

    Completed steps keep their outputs. A completed run can be resumed with --from-step only. Inputs that are given
    replace recorded ones.
    """
    if stored and accept_changes:
        raise click.UsageError("--stored keeps the old definition, so there are no changes to accept")
    from_step = from_step or start_from
    inputs = parse_inputs([*assignments, *parameters])

    async def resume() -> int:
        async with reading(session.target) as runs:
            found = await find_run(runs, run_id)
        options = ResumeOptions(from_step=from_step, inputs=inputs or None, accept_changes=accept_changes)
        return await resume_run(session, found, stored=stored, no_wait=not wait, **options)

    return run_async(resume)
