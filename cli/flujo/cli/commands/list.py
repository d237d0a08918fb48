"""`flujoctl list`: list the runs of a store, newest first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING

import click

from flujo.cli import text
from flujo.cli.connect import asking
from flujo.cli.find_run import every_run
from flujo.cli.output import emit, emit_all
from flujo.cli.pager import paged
from flujo.cli.selecting import RunChoice, choosing
from flujo.cli.session import Session, declare, is_terminal
from flujo.kernel.backend import Order
from flujo.kernel.clock import SystemClock

if TYPE_CHECKING:
    from flujo.kernel import RunSummary, StoredRuns
    from flujo.kernel.backend import RunLists

HEAD = ("ID", "WORKFLOW", "STATUS", "PROGRESS", "AGE", "DURATION", "RETRIES")
WIDE_HEAD = ("UPDATED", "VERSION", "STEP", "OWNER", "PARENT", "LABELS", "ERROR")
LIMIT = 50


@declare("list")
@choosing
@click.option(
    "--sort",
    "order",
    metavar="ORDER",
    type=click.Choice([str(order) for order in Order]),
    default=Order.CREATED.value,
    help="sort by created (default) or updated",
)
@click.option("--limit", type=click.IntRange(1, 1000), metavar="N", help=f"list at most N runs (default {LIMIT})")
@click.option("--page", metavar="TOKEN", help="continue where an earlier list ended")
@click.option("-a", "--all", "everything", is_flag=True, help="list all runs instead of one page")
@click.option("--count", is_flag=True, help="show only how many runs match")
def command(
    session: Session,
    order: str,
    limit: int | None,
    page: str | None,
    everything: bool,
    count: bool,
    choice: RunChoice,
) -> int:
    """List runs, newest first. With -q only their ids.

    A run must match every option given. WHEN is an age, such as 2h or 30d, or an instant, such as 2026-11-22T08:00Z;
    without a zone it is local time. The command for the next page is printed.
    """
    _refuse_contradictions(limit, page, everything, count)
    now = SystemClock().now()
    if count:
        return _count(session, choice)

    async def read(runs: StoredRuns | RunLists) -> tuple[list[tuple[RunSummary, bool]], str | None]:
        found: list[tuple[RunSummary, bool]] = []
        if not everything:
            listed = await runs.list(order=order, limit=limit or LIMIT, page=page, **choice.wanted)
            return [(run, await runs.is_interrupted(run)) for run in listed.runs], listed.next
        async for run in every_run(runs, order=order, **choice.wanted):
            found.append((run, await runs.is_interrupted(run)))
            if session.quiet or session.output in ("name", "jsonl"):  # where no line depends on another
                _show(session, found, now)
                found.clear()
        return found, None

    found, following = asking(session.target, read)
    with paged(session):
        _show(session, found, now)
    if following is not None:
        session.note("there are more runs")
        session.suggest(_following_page(following, choice, order, limit))
    return 0


def _refuse_contradictions(limit: int | None, page: str | None, everything: bool, count: bool) -> None:
    for option, given in (("--limit", limit is not None), ("--page", page is not None)):
        if given and everything:
            raise click.UsageError(f"--all lists all runs; leave {option} out")
        if given and count:
            raise click.UsageError(f"--count counts all runs that match; leave {option} out")


def _count(session: Session, choice: RunChoice) -> int:
    async def count(runs: StoredRuns | RunLists) -> int:
        return await runs.count(**choice.wanted)

    number = asking(session.target, count)
    if session.output in ("table", "name"):
        print(number)
    else:
        emit({"count": number}, session.output)
    return 0


def _following_page(page: str, choice: RunChoice, order: str, limit: int | None) -> str:
    """Return the command for the next page. A page token is valid only for the filter and the order it came from."""
    sort = [] if order == Order.CREATED else [f"--sort {order}"]
    return " ".join(["flujoctl list", *choice.options(), *sort, f"--limit {limit or LIMIT} --page {quote(page)}"])


def _show(session: Session, runs: Sequence[tuple[RunSummary, bool]], now: int) -> None:
    if session.quiet or session.output == "name":
        for run, _ in runs:
            print(run.run_id)
    elif session.output != "table":
        emit_all([text.summary_object(run, interrupted=interrupted) for run, interrupted in runs], session.output)
    else:
        style = session.time or ("relative" if is_terminal(sys.stdout) else "iso")
        rows = [
            text.summary_row(run, now, interrupted=interrupted, style=style, wide=session.is_wide)
            for run, interrupted in runs
        ]
        head = [*HEAD, *(WIDE_HEAD if session.is_wide else ())]
        head[4] = "AGE" if style == "relative" else "CREATED"
        print(text.table(head, rows, status=2, colour=session.has_colour))
