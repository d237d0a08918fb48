"""`flujoctl delete`: delete runs, named by their ids or chosen by options."""

from __future__ import annotations

import click

from flujo.cli.connect import reading
from flujo.cli.many_runs import act_on_each, conclude
from flujo.cli.output import emit_all
from flujo.cli.pruning import delete_runs
from flujo.cli.selecting import Named, Verb, naming, runs_named
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import RunStatus
from flujo.kernel.state import FINAL

DELETE = Verb("Delete", list(RunStatus), by_default=sorted(FINAL))


@declare("delete")
@naming
@click.option("--ignore-missing", is_flag=True, help="skip ids that do not exist")
@click.option("--force", is_flag=True, help="cancel a run that a process runs, and delete it once it has stopped")
def command(session: Session, named: Named, ignore_missing: bool, force: bool) -> int:
    """Delete runs: everything recorded of them, and the workspaces flujo made for them.

    Runs are named by their ids, or chosen by options, by default final ones. A run that a process runs must be
    cancelled first; --force does that.
    """
    if named.run_ids and named.choice.is_open and not named.is_dry:
        return run_async(lambda: delete_runs(session, named.run_ids, ignore_missing=ignore_missing, force=force))
    return run_async(lambda: _delete_chosen(session, named, force=force))


async def _delete_chosen(session: Session, named: Named, *, force: bool) -> int:
    found = await runs_named(session, named, DELETE)
    async with reading(session.target) as runs:
        done = await act_on_each(session, found, lambda run_id: runs.delete(run_id, force=force))
    deleted = [each.run_id for each in done if each.error is None]
    if session.output not in ("table", "name"):
        if not named.is_dry:
            emit_all([{"run_id": run_id} for run_id in deleted], session.output)
    elif not session.quiet:
        for run_id in deleted:
            print(run_id if session.output == "name" else f"run {run_id} is deleted")
    return conclude(session, done, "deleted")
