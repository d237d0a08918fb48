"""Deleting runs: by id, or by age and status. Their workspaces go with them, as far as flujo has made these."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from enum import Enum

import click

from flujo.kernel import RunFilter, RunStatus, RunSummary
from flujo.kernel.durations import MICROSECONDS

from . import text
from .lookup import find_run, reading
from .output import emit_all
from .session import Session, has_colour, say
from .target import Target

STATUSES = ("completed", "failed", "cancelled", "paused")
"""Runs that can be pruned: whatever goes on, or ought to, stays."""

_BATCH = 500
_ALL = 1_000_000
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


async def delete_runs(session: Session, given: Sequence[str], *, ignore_missing: bool = False) -> int:
    """Delete runs by their ids, which may be abbreviated; all ids are looked up before the first run goes."""
    from flujo.kernel.errors import RunNotFoundError

    target = session.target
    async with reading(target) as observer:
        found: list[str] = []
        for run_id in given:
            try:
                found.append(await find_run(observer, run_id, shortest=_SHORTEST))
            except RunNotFoundError:
                if not ignore_missing:
                    raise
        for run_id in dict.fromkeys(found):
            await observer.delete(run_id)
            _remove_files(target, run_id)
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
    target = session.target
    async with reading(target) as observer:

        async def prune(limit: int, dry_run: bool) -> Sequence[RunSummary]:
            return await observer.prune(
                older_than_seconds=older_than_seconds,
                statuses=statuses,
                workflow=workflow,
                limit=limit,
                dry_run=dry_run,
            )

        if dry_run:
            _show(session, await prune(_ALL, True), "would be deleted")
            return 0
        if consent is not Consent.GIVEN:
            due = await prune(_ALL, True)
            if due and not consent.ask(f"Delete {_count(due)}?"):
                say("nothing was deleted")
                return 0
        gone: list[RunSummary] = []
        while batch := await prune(_BATCH, False):
            for run in batch:
                _remove_files(target, run.run_id)
            gone += batch
        _show(session, gone, "deleted")
        if not statuses:
            now = observer.clock.now()
            settled_before = now - round(older_than_seconds * MICROSECONDS)
            paused = RunFilter(statuses=(RunStatus.PAUSED,), workflow=workflow, settled_before=settled_before)
            if kept := await observer.backend.count(paused):
                session.note(f"{kept} paused of that age stay; --status paused includes them")
    return 0


def _show(session: Session, runs: Sequence[RunSummary], what: str) -> None:
    if session.output == "name":
        for run in runs:
            print(run.run_id)
    elif session.output != "table":
        emit_all([text.summary_object(run, interrupted=False) for run in runs], session.output)
    else:
        if runs and what != "deleted":
            rows = [[run.run_id, run.workflow, run.status] for run in runs]
            print(text.table(("ID", "WORKFLOW", "STATUS"), rows, status=2, colour=has_colour(sys.stdout)))
        session.note(f"{_count(runs)} {what}")


def _count(runs: Sequence[RunSummary]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"


def _remove_files(target: Target, run_id: str) -> None:
    """Remove what flujo made for a run beside the store. A folder given with --workspace is somebody else's."""
    shutil.rmtree(target.workspaces / run_id, ignore_errors=True)
    (target.workspaces / f"{run_id}.log").unlink(missing_ok=True)
