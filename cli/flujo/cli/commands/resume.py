"""`flujoctl resume`: continue one run where it stopped."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli.inputs import parse_inputs
from flujo.cli.resume_many import resume_many
from flujo.cli.resume_run import resume_run
from flujo.cli.selecting import Named, Verb, naming_without_ids, runs_named
from flujo.cli.session import Session, declare, run_async
from flujo.kernel.api import RESUMABLE, ResumeOptions

RESUME = Verb("Resume", *RESUMABLE)


@declare("resume")
@naming_without_ids
@click.argument("run_id", metavar="[ID]", required=False)
@click.argument("assignments", metavar="[NAME=TEXT]...", nargs=-1)
@click.option("-p", "--param", "parameters", metavar="NAME=TEXT", multiple=True, help="replace an input; NAME:=JSON")
@click.option("--from-step", metavar="STEP", help="run this step and those that depend on it again")
@click.option("--start-from", metavar="STEP", hidden=True)
@click.option("--stored", is_flag=True, help="use the definition in the store although its file has changed")
@click.option("--accept-changes", is_flag=True, help="keep recorded outputs although the definition has changed")
@click.option("--empty-workspace", is_flag=True, help="go on with an empty workspace if that of the run is gone")
@click.option("--wait/--no-wait", default=True, help="stay while the run waits (default), or end with 7")
def command(
    session: Session,
    named: Named,
    run_id: str | None,
    assignments: Sequence[str],
    parameters: Sequence[str],
    from_step: str | None,
    start_from: str | None,
    stored: bool,
    accept_changes: bool,
    empty_workspace: bool,
    wait: bool,
) -> int:
    """Continue a failed, paused, cancelled or interrupted run, or all those that options choose.

    Completed steps keep their outputs. A completed run can be resumed with --from-step only. Inputs that are given
    replace recorded ones. Of several runs, those that wait for something are left waiting.
    """
    if stored and accept_changes:
        raise click.UsageError("--stored keeps the old definition, so there are no changes to accept")
    from_step = from_step or start_from
    if run_id is not None and "=" in run_id and not named.choice.is_open:
        assignments = (run_id, *assignments)  # runs are chosen, so this is an input
        run_id = None
    named = named._replace(run_ids=() if run_id is None else (run_id,))
    inputs = parse_inputs([*assignments, *parameters])

    async def resume() -> int:
        found = await runs_named(session, named, RESUME)
        options = ResumeOptions(
            from_step=from_step, inputs=inputs or None, accept_changes=accept_changes, empty_workspace=empty_workspace
        )
        if named.is_one:
            return await resume_run(session, found[0], stored=stored, no_wait=not wait, **options)
        return await resume_many(session, found, stored=stored, **options) if found else 0

    return run_async(resume)
