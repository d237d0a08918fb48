"""Deleting runs: by id, or by age and status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum

import click

from flujo.kernel import Pruned, RunSummary

from . import text
from .access import reading
from .lookup import find_run
from .output import emit_all
from .session import Session, has_colour, say

STATUSES = ("completed", "failed", "cancelled", "paused")
"""Runs that can be pruned: whatever goes on, or ought to, stays."""

_BATCH = 500
_ALL = 1_000_000  # a store lists as many; a server lists what fits an answer, and counts the rest
_SHORTEST = 4  # a slip of the finger must not be short for a run


class Consent(Enum):
    """Whether runs may be deleted that nobody has named one by one."""

    GIVEN = "given"
    ASK = "ask"
    REFUSE = "refuse"

    @classmethod
    def of(cls, yes: bool, *, proceed_without_terminal: bool = False) -> Consent:
        """With --yes it is given; else a person is asked, and where none is there, the command's own rule holds."""
        if yes:
            return cls.GIVEN
        if sys.stdin.isatty() and sys.stderr.isatty():
            return cls.ASK
        return cls.GIVEN if proceed_without_terminal else cls.REFUSE

    def ask(self, question: str) -> bool:
        """The answer of a person; raises click.UsageError where there is none."""
        if self is Consent.REFUSE:
            raise click.UsageError(f"{question} Nobody is there to ask: add --yes, or look first with --dry-run")
        return click.confirm(question, err=True)


async def delete_runs(
    session: Session, given: Sequence[str], *, ignore_missing: bool = False, force: bool = False
) -> int:
    """Delete runs by their ids, which may be abbreviated; all ids are looked up before the first run goes."""
    from flujo.kernel.errors import RunNotFoundError

    async with reading(session.target) as runs:
        found: list[str] = []
        for run_id in given:
            try:
                found.append(await find_run(runs, run_id, shortest=_SHORTEST))
            except RunNotFoundError:
                if not ignore_missing:
                    raise
        for run_id in dict.fromkeys(found):
            await runs.delete(run_id, force=force)
            if session.output in ("table", "name") and not session.quiet:
                print(run_id if session.output == "name" else f"run {run_id} is deleted")
    if session.output not in ("table", "name"):
        emit_all([{"run_id": run_id} for run_id in found], session.output)
    return 0


async def prune_runs(
    session: Session,
    *,
    older_than_seconds: float,
    statuses: Sequence[str] = (),
    workflow: str | None = None,
    dry_run: bool = False,
    consent: Consent,
) -> int:
    """Delete the runs that settled that long ago, once `consent` to that many is given."""
    async with reading(session.target) as runs:

        async def prune(dry_run: bool) -> Pruned:
            return await runs.prune(
                older_than_seconds=older_than_seconds,
                statuses=statuses,
                workflow=workflow,
                limit=_ALL if dry_run else _BATCH,
                dry_run=dry_run,
            )

        if dry_run:
            due = await prune(True)
            _show(session, due.runs, f"{_count(due.total)} would be deleted", listed=True)
            if due.more:
                session.note(f"the {len(due.runs)} oldest ones are listed")
            return 0
        if consent is not Consent.GIVEN:
            due = await prune(True)
            if due.total and not consent.ask(f"Delete {_count(due.total)}?"):
                say("nothing was deleted")
                return 0
        gone: list[RunSummary] = []
        while True:
            pruned = await prune(False)
            gone += pruned.runs
            if not pruned.more:
                break
        _show(session, gone, f"{_count(len(gone))} deleted", listed=False)
        if pruned.kept_paused:
            session.note(f"{pruned.kept_paused} paused of that age stay; --status paused includes them")
    return 0


def _show(session: Session, runs: Sequence[RunSummary], outcome: str, *, listed: bool) -> None:
    if session.output == "name":
        for run in runs:
            print(run.run_id)
    elif session.output != "table":
        emit_all([text.summary_object(run, interrupted=False) for run in runs], session.output)
    else:
        if runs and listed:
            rows = [[run.run_id, run.workflow, run.status] for run in runs]
            print(text.table(("ID", "WORKFLOW", "STATUS"), rows, status=2, colour=has_colour(sys.stdout)))
        session.note(outcome)


def _count(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"
