"""`flujoctl trace`: show when each step of a run worked and waited."""

from __future__ import annotations

import json
import shutil
import sys

import click

from flujo.cli import timeline
from flujo.cli.connect import reading
from flujo.cli.find_run import find_run
from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import Event, SystemClock

_PAGE = 500


@declare("trace", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
@click.option(
    "--format",
    "drawing",
    metavar="FORMAT",
    type=click.Choice(["text", "chrome"]),
    default="text",
    help="text (default), or chrome for chrome://tracing and Perfetto",
)
def command(session: Session, run_id: str, drawing: str) -> int:
    """Show when each step of a run worked, and when it waited or was to be tried again.

    `flujoctl trace ID --format chrome > trace.json` writes a file for trace viewers, on which attempts at the same time
    stand on lanes of their own.
    """

    async def read() -> tuple[str, str, list[Event]]:
        async with reading(session.target) as runs:
            summary = await runs.summary(await find_run(runs, run_id))
            found: list[Event] = []
            while page := await runs.events(summary.run_id, len(found), limit=_PAGE, uid=summary.uid):
                found += page
            return summary.run_id, summary.workflow, found

    id, workflow, recorded = run_async(read)
    spans, now = timeline.spans_of(recorded), SystemClock().now()
    if session.output != "table":
        emit_all([span.to_dict() for span in spans], session.output)
    elif drawing == "chrome":
        print(json.dumps(timeline.as_trace(id, workflow, spans, now), ensure_ascii=True))
    else:
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        for line in timeline.as_text(spans, now, shutil.get_terminal_size((100, 24)).columns, unicode=unicode):
            print(line)
        if (more := len({span.step for span in spans}) - timeline.MOST_ROWS) > 0:
            session.note(f"and {more} more steps; --format chrome has all of them")
    if not spans:
        session.note("no step has begun yet")
    return 0
