"""`flujoctl top`: a live table of the runs of a store or server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import NamedTuple

import anyio
import click

from flujo.cli import failures, text
from flujo.cli.connect import reading
from flujo.cli.output import emit_all
from flujo.cli.selecting import RunChoice, choosing
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import RunStatus, RunSummary, StoredRuns, SystemClock
from flujo.kernel.durations import MICROSECONDS, format_duration
from flujo.kernel.state import LIVE

HEAD = ("ID", "WORKFLOW", "STATUS", "STEP", "PROGRESS", "RETRIES", "SINCE", "")

_OPEN = (*sorted(LIVE), RunStatus.PAUSED)
_MOST = 200


class Snapshot(NamedTuple):
    """The runs of one moment, each with whether nobody runs it, and how many there are of each status."""

    at: int
    runs: Sequence[tuple[RunSummary, bool]]
    counts: Sequence[tuple[RunStatus, int]]


@declare("top")
@choosing
@click.option(
    "--interval", metavar="SECONDS", type=click.FloatRange(0.1, 3600), default=1.0, help="how often to look (default 1)"
)
def command(session: Session, interval: float, choice: RunChoice) -> int:
    """Show the runs that are not final, those with the newest event first, again and again until Ctrl-C.

    Options choose among them, and --status among all runs. Off a terminal, or with another output than a table, the
    runs are shown once.
    """
    is_live = session.output == "table" and session.draws_on(sys.stdout)

    async def show() -> None:
        async with reading(session.target) as runs:
            if not is_live:
                _print(session, await _look(runs, choice, _MOST))
                return
            await _redraw(session, runs, choice, interval)

    try:
        run_async(show)
    except KeyboardInterrupt:
        return failures.INTERRUPTED
    return 0


async def _look(runs: StoredRuns, choice: RunChoice, limit: int) -> Snapshot:
    wanted = choice.wanted
    wanted["statuses"] = wanted.get("statuses") or _OPEN
    page = await runs.list(order="updated", limit=limit, **wanted)
    listed = [(run, await runs.is_interrupted(run)) for run in page.runs]
    counts = []
    for status in RunStatus:
        wanted["statuses"] = [status]
        counts.append((status, await runs.count(**wanted)))
    return Snapshot(SystemClock().now(), listed, counts)


async def _redraw(session: Session, runs: StoredRuns, choice: RunChoice, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            size = shutil.get_terminal_size()
            lines = _lines(await _look(runs, choice, max(1, size.lines - 4)), colour=session.has_colour)
            text = Text.from_ansi("\n".join(lines), no_wrap=True, overflow="crop")
            live.update(text, refresh=True)
            await anyio.sleep(interval)


def _print(session: Session, snapshot: Snapshot) -> None:
    if session.quiet or session.output == "name":
        for run, _ in snapshot.runs:
            print(run.run_id)
    elif session.output != "table":
        emit_all([text.summary_object(run, interrupted=idle) for run, idle in snapshot.runs], session.output)
    else:
        print("\n".join(_lines(snapshot, colour=session.has_colour)))


def _lines(snapshot: Snapshot, *, colour: bool) -> list[str]:
    counted = ", ".join(f"{count} {status}" for status, count in snapshot.counts if count) or "no runs"
    rows = [_row(run, idle, snapshot.at) for run, idle in snapshot.runs]
    return [counted, "", *text.table(HEAD, rows, status=2, colour=colour).splitlines()]


def _row(run: RunSummary, idle: bool, now: int) -> list[str]:
    remark = ""
    if run.error_type is not None:
        remark = text.first_line(f"{run.error_type}: {run.error_message or ''}", 60)
    elif run.wake_at is not None and run.status in LIVE:
        verb = "wakes" if run.wake_at > now else "was due"
        remark = f"{verb} {text.instant(run.wake_at, now, 'relative')}"
    return [
        run.run_id,
        run.workflow,
        text.status_word(run.status, interrupted=idle),
        text.current_step(run) or "-",
        text.progress_of(run),
        str(run.retries),
        format_duration(max(0, now - (run.started_at or run.created_at)) // MICROSECONDS),
        remark,
    ]
