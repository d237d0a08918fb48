"""`flujoctl cancel`: stop runs."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli.connect import acting
from flujo.cli.failures import report
from flujo.cli.many_runs import Done, ask_all, conclude
from flujo.cli.output import emit_all
from flujo.cli.selecting import Named, Verb, filter_named, naming, runs_named
from flujo.cli.session import Session, declare, run_async, say
from flujo.kernel import CancelOutcome, RunInterrupted, Runs, RunStatus
from flujo.kernel.api import CANCELLABLE
from flujo.kernel.errors import RunFinishedError

CANCEL = Verb("Cancel", *CANCELLABLE)


@declare("cancel")
@naming
@click.option("--reason", metavar="TEXT", help="the reason, which is recorded")
@click.option("--wait/--no-wait", default=True, help="wait until the runs have stopped (default), or return at once")
def command(session: Session, named: Named, reason: str | None, wait: bool) -> int:
    """Cancel runs, named by their ids or chosen by options.

    A run that a process runs is asked to stop; a run that no process runs is cancelled here.

    Clean-ups run before a run ends; cancelling it once more ends them.
    """

    async def cancel() -> Sequence[Done[RunStatus]]:
        if named.run_ids:
            found = await runs_named(session, named, CANCEL)
            return await _cancel(session, found, reason, wait=wait) if found else []
        if (wanted := await filter_named(session, named, CANCEL)) is None:
            return []
        async with acting(session.target) as runs:
            asked = await ask_all(runs.cancel_runs, wanted, reason, by=session.user, read=lambda run: run.outcome)
            return [await _ended(runs, each, reason, wait=wait) for each in asked]

    done = run_async(cancel)
    ended = [(each.run_id, each.answer) for each in done if each.answer is not None]
    _show(session, ended)
    if not named.run_ids:  # a chosen run that has ended meanwhile is as it should be
        return conclude(session, done, "cancelled") if any(each.error for each in done) else 0
    finished = [(run_id, status) for run_id, status in ended if status.value in ("completed", "failed")]
    for run_id, status in finished:
        report(RunFinishedError(run_id, status), session)
    return 4 if finished else 0


async def _cancel(
    session: Session, run_ids: Sequence[str], reason: str | None, *, wait: bool
) -> Sequence[Done[RunStatus]]:
    """Cancel the runs and return the status of each."""
    async with acting(session.target) as runs:
        for run_id in run_ids:  # all are asked before the first one is waited for
            await runs.cancel(run_id, reason, by=session.user)
        return [Done(run_id, await _status(runs, run_id, reason, wait=wait), None) for run_id in run_ids]


async def _ended(runs: Runs, asked: Done[str | None], reason: str | None, *, wait: bool) -> Done[RunStatus]:
    """Return how a run stands that was asked to stop with others."""
    if asked.error is not None:
        return Done(asked.run_id, None, asked.error)
    if asked.answer == CancelOutcome.CANCELLED:
        return Done(asked.run_id, RunStatus.CANCELLED, None)
    return Done(asked.run_id, await _status(runs, asked.run_id, reason, wait=wait), None)


async def _status(runs: Runs, run_id: str, reason: str | None, *, wait: bool) -> RunStatus:
    while wait:
        try:
            return (await runs.wait(run_id)).status
        except RunInterrupted:  # its owner died with the request in its inbox
            if await runs.cancel(run_id, reason) is CancelOutcome.ALREADY_FINISHED:
                break
    return (await runs.inspect(run_id)).status


def _show(session: Session, ended: Sequence[tuple[str, RunStatus]]) -> None:
    if session.output == "name":
        for run_id, _ in ended:
            print(run_id)
    elif session.output != "table":
        emit_all([{"run_id": run_id, "status": status.value} for run_id, status in ended], session.output)
    elif not session.quiet:
        for run_id, status in ended:
            if status is RunStatus.CANCELLED:
                print(f"run {run_id} is cancelled")
            elif status.value not in ("completed", "failed"):
                say(f"run {run_id} was asked to stop and is {status}")
