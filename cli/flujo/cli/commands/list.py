"""`flujoctl list`: list the runs of a store, newest first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, cast

import click

from flujo.cli import text
from flujo.cli.connect import reading
from flujo.cli.find_run import every_run
from flujo.cli.inputs import parse_instant, parse_labels
from flujo.cli.output import emit, emit_all
from flujo.cli.session import Session, declare, has_colour, is_terminal, run_async
from flujo.kernel import Order, RunStatus, RunSummary, SystemClock
from flujo.kernel.backend import RunQuery
from flujo.kernel.durations import format_instant
from flujo.kernel.state import LIVE

HEAD = ("ID", "WORKFLOW", "STATUS", "PROGRESS", "AGE", "DURATION", "RETRIES")
LIMIT = 50

INSTANTS = {
    "since": "created_from",
    "until": "created_before",
    "updated_since": "updated_from",
    "finished_since": "finished_from",
    "finished_until": "finished_before",
    "idle": "updated_before",
}
"""The options that take an instant, by the part of the filter each stands for."""


@dataclass(frozen=True, kw_only=True)
class ListFilter:
    """Which runs the options ask for. Ages are instants, in microseconds, counted from when the command began."""

    statuses: Sequence[str]
    workflow: str | None
    labels: Sequence[str]
    id_prefix: str | None
    failed_step: str | None
    parent: str | None
    instants: Mapping[str, int]

    @property
    def wanted(self) -> RunQuery:
        """Return the filter as keywords of `Runs.list`."""
        instants: Any = {INSTANTS[option]: instant for option, instant in self.instants.items()}
        wanted = RunQuery(
            statuses=self.statuses or (sorted(LIVE) if "idle" in self.instants else ()),
            workflow=self.workflow,
            labels=parse_labels(self.labels),
            id_prefix=self.id_prefix,
            failed_step=self.failed_step,
            parent_run_id=self.parent,
        )
        return cast(RunQuery, {**wanted, **instants})

    def options(self) -> Iterator[str]:
        """Yield the options as they are typed; ages become instants, which stay the same."""
        for status in self.statuses:
            yield f"--status {status}"
        for name in ("workflow", "id_prefix", "failed_step", "parent"):
            if (value := getattr(self, name)) is not None:
                yield f"--{name.replace('_', '-')} {quote(value)}"
        for label in self.labels:
            yield f"--label {quote(label)}"
        for option, instant in self.instants.items():
            yield f"--{option.replace('_', '-')} {format_instant(instant)}"


def _instant(name: str, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(name, metavar="WHEN", help=help)


@declare("list")
@click.option(
    "--status",
    "statuses",
    metavar="STATUS",
    type=click.Choice([str(status) for status in RunStatus]),
    multiple=True,
    help="only runs with this status",
)
@click.option("--workflow", metavar="NAME", help="only runs of this workflow")
@click.option("--pipeline", metavar="NAME", hidden=True)
@click.option("--label", "labels", metavar="NAME=TEXT", multiple=True, help="only runs with this label")
@click.option("--id-prefix", metavar="TEXT", help="only runs whose ids begin with TEXT")
@_instant("--since", "only runs created at WHEN or later")
@_instant("--until", "only runs created before WHEN")
@_instant("--updated-since", "only runs with an event at WHEN or later")
@_instant("--finished-since", "only runs that ended at WHEN or later")
@_instant("--finished-until", "only runs that ended before WHEN")
@_instant("--idle", "only unfinished runs without an event since WHEN")
@click.option("--failed-step", metavar="STEP", help="only runs that failed in this step")
@click.option("--parent", metavar="ID", help="only runs that this run has started")
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
@click.option("--all", "everything", is_flag=True, help="list all runs instead of one page")
@click.option("--count", is_flag=True, help="show only how many runs match")
def command(
    session: Session,
    statuses: Sequence[str],
    workflow: str | None,
    pipeline: str | None,
    labels: Sequence[str],
    id_prefix: str | None,
    failed_step: str | None,
    parent: str | None,
    order: str,
    limit: int | None,
    page: str | None,
    everything: bool,
    count: bool,
    **moments: str | None,
) -> int:
    """List runs, newest first. With -q only their ids.

    A run must match every option given. WHEN is an age, such as 2h or 30d, or an instant, such as 2026-11-22T08:00Z;
    without a zone it is local time. The command for the next page is printed.
    """
    _refuse_contradictions(limit, page, everything, count)
    now = SystemClock().now()
    instants = {
        option: parse_instant(moment, now, f"--{option.replace('_', '-')}")
        for option in INSTANTS
        if (moment := moments[option]) is not None
    }
    choice = ListFilter(
        statuses=statuses,
        workflow=workflow or pipeline,
        labels=labels,
        id_prefix=id_prefix,
        failed_step=failed_step,
        parent=parent,
        instants=instants,
    )
    _refuse_empty(choice)
    if count:
        return _count(session, choice)

    async def read() -> tuple[list[tuple[RunSummary, bool]], str | None]:
        found: list[tuple[RunSummary, bool]] = []
        async with reading(session.target) as runs:
            if not everything:
                listed = await runs.list(order=order, limit=limit or LIMIT, page=page, **choice.wanted)
                return [(run, await runs.is_interrupted(run)) for run in listed.runs], listed.next
            async for run in every_run(runs, order=order, **choice.wanted):
                found.append((run, await runs.is_interrupted(run)))
                if session.quiet or session.output in ("name", "jsonl"):  # where no line depends on another
                    _show(session, found, now)
                    found.clear()
        return found, None

    found, following = run_async(read)
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


def _refuse_empty(choice: ListFilter) -> None:
    """Raise click.UsageError for a filter that can match no run."""
    instants = choice.instants
    for first, last in (("since", "until"), ("finished_since", "finished_until"), ("updated_since", "idle")):
        if first in instants and last in instants and instants[first] >= instants[last]:
            options = f"--{first} and --{last}".replace("_", "-")
            raise click.UsageError(f"no run can match {options}; the first must be the earlier one")
    if "idle" not in instants:
        return
    if ended := [status for status in choice.statuses if status not in LIVE]:
        raise click.UsageError(f"--idle lists unfinished runs; leave --status {ended[0]} out")
    for option in ("finished_since", "finished_until"):
        if option in instants:
            raise click.UsageError(f"--idle lists unfinished runs; leave --{option.replace('_', '-')} out")


def _count(session: Session, choice: ListFilter) -> int:
    async def read() -> int:
        async with reading(session.target) as runs:
            return await runs.count(**choice.wanted)

    number = run_async(read)
    if session.output in ("table", "name"):
        print(number)
    else:
        emit({"count": number}, session.output)
    return 0


def _following_page(page: str, choice: ListFilter, order: str, limit: int | None) -> str:
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
        relative = is_terminal(sys.stdout)
        rows = [text.summary_row(run, now, interrupted=interrupted, relative=relative) for run, interrupted in runs]
        print(text.table(HEAD, rows, status=2, colour=has_colour(sys.stdout)))
