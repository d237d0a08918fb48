"""Delete runs: by id, or by age, status and other properties.

A prune works in calls of about two seconds each, so that a person sees its progress, and Ctrl-C ends it between two
calls, with an exact count.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any

import click

from flujo.kernel import PruneResult, RunSummary, StoredRuns
from flujo.kernel.api import LISTED, Selection

from . import text
from .connect import reading
from .counting import Counter
from .find_run import find_run
from .inputs import parse_labels
from .interruption import EXIT_CODE, Interruption
from .output import emit_all
from .session import Session, run_async, say
from .usage import NobodyToAsk

STATUSES = ("completed", "failed", "cancelled", "paused")
"""Statuses of runs that can be pruned; unfinished runs are always kept."""

_CALL_SECONDS = 2.0
_CALL_RUNS = 100_000
_SHOWN = 20  # rows of a dry run's table; a script gets more of them from the other formats
_SHORTEST = 4  # a slip of the finger must not be short for a run


class Consent(Enum):
    """Whether runs may be deleted that were not named one by one."""

    GIVEN = "given"
    ASK = "ask"
    REFUSE = "refuse"

    @classmethod
    def of(cls, yes: bool, *, proceed_without_terminal: bool = False) -> Consent:
        """Return the consent given by --yes, else a question on a terminal, else the command's own rule."""
        if yes:
            return cls.GIVEN
        if sys.stdin.isatty() and sys.stderr.isatty():
            return cls.ASK
        return cls.GIVEN if proceed_without_terminal else cls.REFUSE

    def ask(self, question: str) -> bool:
        """Return the answer of the user; raises click.UsageError if there is no terminal to ask on."""
        if self is Consent.REFUSE:
            raise NobodyToAsk(f"{question} There is no terminal to ask on: add --yes, or look first with --dry-run")
        return click.confirm(question, err=True)


def selection_of(older_than: str | None, *, labels: Sequence[str], **parts: Any) -> Selection:
    """Return the runs that the options of `selecting` select; raises click.UsageError, InvalidDurationError."""
    if older_than is None and not labels and not any(parts.values()):
        raise click.UsageError(
            "no runs are selected: give --older-than, --status, --workflow, --label, --id-prefix or --keep-last; "
            "--older-than 0 selects all"
        )
    return Selection(older_than_seconds=older_than, labels=parse_labels(labels), **parts)


def selecting(*, age: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds the options of `selection_of` and --dry-run to a command, --older-than if `age`."""
    older_than = click.option(
        "--older-than", metavar="DURATION", help="such as 30d or 12h, counted from when the run ended or paused"
    )
    options = [
        *([older_than] if age else []),
        click.option(
            "--status",
            "statuses",
            metavar="STATUS",
            type=click.Choice(STATUSES),
            multiple=True,
            help="only runs with this status (default: all final ones)",
        ),
        click.option("--workflow", metavar="NAME", help="only runs of this workflow"),
        click.option("-l", "--label", "labels", metavar="NAME=TEXT", multiple=True, help="only runs with this label"),
        click.option("--id-prefix", metavar="TEXT", help="only runs whose ids begin with TEXT"),
        click.option(
            "--keep-last",
            metavar="N",
            type=click.IntRange(1),
            help="keep the newest N of each workflow",
        ),
        click.option("--dry-run", is_flag=True, help="show what would be deleted, delete nothing"),
    ]

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


async def delete_runs(
    session: Session, given: Sequence[str], *, ignore_missing: bool = False, force: bool = False
) -> int:
    """Delete runs by their ids, which may be abbreviated; all ids are looked up before the first run is deleted."""
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


def prune_runs(session: Session, selection: Selection, *, dry_run: bool, consent: Consent) -> int:
    """Delete the selected runs, once `consent` to that many is given; returns the exit code."""
    return run_async(lambda: _prune(session, selection, dry_run=dry_run, consent=consent))


async def _prune(session: Session, selection: Selection, *, dry_run: bool, consent: Consent) -> int:
    async with reading(session.target) as runs:
        if dry_run:
            _preview(session, await _call(runs, selection, limit=LISTED, dry_run=True))
            return 0
        expected = None
        if consent is not Consent.GIVEN:
            due = await _call(runs, selection, limit=1, dry_run=True)
            expected = due.total
            if due.total and not consent.ask(f"Delete {_amount(due.total, due.bytes)}?"):
                say("nothing was deleted")
                return 0
        return await _delete_in_calls(session, runs, selection, expected)


async def _call(runs: StoredRuns, selection: Selection, **how: Any) -> PruneResult:
    return await runs.prune(**asdict(selection), **how)


async def _delete_in_calls(session: Session, runs: StoredRuns, selection: Selection, expected: int | None) -> int:
    listed: list[RunSummary] = []
    total = size = 0
    pruned: PruneResult | None = None
    limit = LISTED if session.output in ("name", "jsonl") else _CALL_RUNS  # an answer holds no more runs than these
    with Interruption() as interruption, Counter(session, expected, "deleting") as counter:
        while interruption.received is None:
            pruned = await _call(runs, selection, limit=limit, time_budget_seconds=_CALL_SECONDS)
            listed += pruned.runs[: LISTED - len(listed)]
            total += pruned.total
            size += pruned.bytes
            if session.output in ("name", "jsonl"):
                _list(session, pruned.runs)
            if not pruned.more:
                break
            counter.show(total)
    if session.output in ("json", "yaml"):
        _list(session, listed)
        if total > len(listed):
            session.note(f"only the first {_runs(len(listed))} are listed")
    if pruned is None or pruned.more:
        say(f"interrupted: {_amount(total, size)} deleted, the rest was kept")
        return EXIT_CODE
    session.note(f"{_amount(total, size)} deleted")
    _note_kept(session, pruned)
    return 0


def _preview(session: Session, due: PruneResult) -> None:
    _list(session, due.runs)
    listed = len(due.runs)
    if session.output == "table" and due.runs:
        listed = min(_SHOWN, listed)
        rows = [[run.run_id, run.workflow, run.status] for run in due.runs[:listed]]
        print(text.table(("ID", "WORKFLOW", "STATUS"), rows, status=2, colour=session.has_colour))
    session.note(f"{_amount(due.total, due.bytes)} would be deleted")
    if due.total > listed:
        session.note(f"only the {_runs(listed)} that ended first are listed")
    _note_kept(session, due)


def _list(session: Session, runs: Sequence[RunSummary]) -> None:
    if session.output == "name":
        for run in runs:
            print(run.run_id)
    elif session.output != "table":
        emit_all([text.summary_object(run, interrupted=False) for run in runs], session.output)


def _note_kept(session: Session, pruned: PruneResult) -> None:
    if pruned.kept_paused:
        session.note(
            f"kept {pruned.kept_paused} paused {_noun(pruned.kept_paused)} of that age; --status paused includes them"
        )
    if pruned.kept_live:
        session.note(
            f"kept {_runs(pruned.kept_live)} of that age that {'is' if pruned.kept_live == 1 else 'are'} still active"
        )


def _amount(total: int, size: int) -> str:
    return f"{_runs(total)} ({text.size_text(size)})" if total else "0 runs"


def _runs(number: int) -> str:
    return f"{number} {_noun(number)}"


def _noun(number: int) -> str:
    return "run" if number == 1 else "runs"
