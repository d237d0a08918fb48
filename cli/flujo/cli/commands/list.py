"""`flujoctl list`: the runs of a store, newest first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from shlex import quote

import click

from flujo.cli import text
from flujo.cli.access import reading
from flujo.cli.inputs import parse_labels
from flujo.cli.lookup import every_run
from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare, has_colour, is_terminal, run_async
from flujo.kernel import RunStatus, RunSummary, SystemClock

HEAD = ("ID", "WORKFLOW", "STATUS", "PROGRESS", "AGE", "DURATION", "RETRIES")


@declare("list")
@click.option(
    "--status",
    "statuses",
    metavar="STATUS",
    type=click.Choice([str(status) for status in RunStatus]),
    multiple=True,
    help="only these",
)
@click.option("--workflow", metavar="NAME", help="only runs of this workflow")
@click.option("--pipeline", metavar="NAME", hidden=True)
@click.option("--label", "labels", metavar="NAME=TEXT", multiple=True, help="only runs with this label")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, metavar="N", help="how many at most (default 50)")
@click.option("--page", metavar="TOKEN", help="go on where an earlier list ended")
@click.option("--all", "everything", is_flag=True, help="all runs, however many there are")
def command(
    session: Session,
    statuses: Sequence[str],
    workflow: str | None,
    pipeline: str | None,
    labels: Sequence[str],
    limit: int,
    page: str | None,
    everything: bool,
) -> int:
    """List runs, newest first. With -q only their ids."""
    workflow = workflow or pipeline
    chosen = parse_labels(labels)

    async def read() -> tuple[list[tuple[RunSummary, bool]], str | None]:
        async with reading(session.target) as runs:
            following = None
            if everything:
                found = [run async for run in every_run(runs, statuses=statuses, workflow=workflow, labels=chosen)]
            else:
                listed = await runs.list(statuses=statuses, workflow=workflow, labels=chosen, limit=limit, page=page)
                found, following = list(listed.runs), listed.next
            return [(run, await runs.is_interrupted(run)) for run in found], following

    found, following = run_async(read)
    _show(session, found, SystemClock().now())
    if following is not None:
        session.note("there are more runs")
        session.suggest(_following_page(following, statuses, workflow, labels, limit))
    return 0


def _following_page(page: str, statuses: Sequence[str], workflow: str | None, labels: Sequence[str], limit: int) -> str:
    """The command for the next page. A page token is only good for the filter it came from."""
    options = [f"--status {status}" for status in statuses]
    options += [] if workflow is None else [f"--workflow {quote(workflow)}"]
    options += [f"--label {quote(label)}" for label in labels]
    return " ".join(["flujoctl list", *options, f"--limit {limit} --page {quote(page)}"])


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
