"""`flujoctl logs`: show what the steps of a run have printed, and follow what they print."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import anyio
import click

from flujo.cli import failures
from flujo.cli.connect import reading
from flujo.cli.event_text import event_time
from flujo.cli.find_run import find_run
from flujo.cli.follower import Follower, alongside
from flujo.cli.inputs import parse_instant
from flujo.cli.output import emit
from flujo.cli.pager import paged
from flujo.cli.session import Session, declare, harmless, run_async
from flujo.kernel import Event, StepState, StoredRuns, WorkflowState
from flujo.kernel.api import LogLine, LogOptions
from flujo.kernel.clock import SystemClock
from flujo.kernel.durations import format_instant

LOOK_SECONDS = 0.2
"""How often a log is looked at that is followed: a file that grows tells nobody."""


@declare("logs", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
@click.option("--step", metavar="STEP", help="only what this step has printed, or the items of this loop")
@click.option("--attempt", metavar="N", type=click.IntRange(1), help="only what was printed in this attempt")
@click.option("-n", "--tail", metavar="N", type=click.IntRange(0), help="only the last N lines of what there is")
@click.option("--since", metavar="WHEN", help="only what was printed at WHEN or later, such as 10m or an instant")
@click.option("--until", metavar="WHEN", help="only what was printed before WHEN")
@click.option("-f", "--follow", is_flag=True, help="go on with what is printed, until the run has ended")
@click.option("-t", "--timestamps", is_flag=True, help="begin each line with when it was printed; --time says how")
@click.option("--no-prefix", is_flag=True, help="leave out the step and attempt before each line")
def command(
    session: Session,
    run_id: str,
    step: str | None,
    attempt: int | None,
    tail: int | None,
    since: str | None,
    until: str | None,
    follow: bool,
    timestamps: bool,
    no_prefix: bool,
) -> int:
    """Show what the steps of a run have printed, each line with its step and attempt, and with -t when that was.

    On a terminal, what would move the cursor is left out. Ctrl-C only stops following.
    """
    if follow and session.output in ("json", "yaml"):
        raise click.UsageError(f"--follow shows line by line; use -o jsonl instead of -o {session.output}")
    now = SystemClock().now()
    earliest = None if since is None else parse_instant(since, now, "--since")
    latest = None if until is None else parse_instant(until, now, "--until")
    show = _Printer(session, prefix=not no_prefix, timestamps=timestamps, printed=(earliest, latest))

    async def read() -> tuple[str, Sequence[LogLine]]:
        async with reading(session.target) as runs:
            found = await find_run(runs, run_id)
            part = await runs.read_log(found, step=step, attempt=attempt, tail=tail)
            if follow:
                show.all(part.lines)
                wanted = LogOptions(step=step, attempt=attempt, uid=part.uid)
                await _follow(runs, found, wanted, part.next_offset, show)
            return found, () if follow else part.lines

    try:
        found, lines = run_async(read)
    except KeyboardInterrupt:
        return failures.INTERRUPTED
    if not follow:
        with paged(session):
            show.all(lines)
    if show.is_untouched and session.output == "table":
        session.note(f"nothing of this has been printed; `flujoctl events {found}` shows what is recorded")
    return 0


async def _follow(runs: StoredRuns, run_id: str, wanted: LogOptions, offset: int, show: _Printer) -> None:
    """Show what is added to the log until the run rests for good; what it has printed then is there already."""

    async def look() -> None:
        nonlocal offset
        wanted["offset"] = offset
        part = await runs.read_log(run_id, **wanted)
        offset = part.next_offset
        show.all(part.lines)

    async def look_again_and_again() -> None:
        while True:
            await look()
            await anyio.sleep(LOOK_SECONDS)

    async with alongside(look_again_and_again):
        await Follower(runs, run_id, _nothing, _no_announcement).until_rest()
    await look()


def _nothing(event: Event, state: WorkflowState) -> None:
    pass


def _no_announcement(step: StepState) -> None:
    pass


class _Printer:
    """Prints lines of a log in the format asked for."""

    def __init__(
        self, session: Session, *, prefix: bool, timestamps: bool, printed: tuple[int | None, int | None]
    ) -> None:
        """`printed` are the instants at which what is shown was printed: from the first one on, and before the other.
        A line of which that is not known is shown if neither is given."""
        self._format = session.output
        self._earliest, self._latest = printed
        self._prefix, self._timestamps = prefix, timestamps
        self._time = session.time
        self.is_untouched = True

    def all(self, lines: Iterable[LogLine]) -> None:
        """Print some lines; they are there once this returns."""
        lines = [line for line in lines if self._is_wanted(line)]
        self.is_untouched &= not lines
        if self._format in ("json", "yaml"):
            emit([_object(line) for line in lines], self._format)
            return
        for line in lines:
            if self._format == "jsonl":
                emit(_object(line), "jsonl")
            else:
                print(self._text(line))
        sys.stdout.flush()

    def _is_wanted(self, line: LogLine) -> bool:
        if line.at is None:
            return self._earliest is None and self._latest is None
        return (self._earliest or 0) <= line.at and (self._latest is None or line.at < self._latest)

    def _text(self, line: LogLine) -> str:
        text = line.text
        if sys.stdout.isatty():
            text = harmless(text.rstrip("\r").rpartition("\r")[2])  # a bar that was drawn over and over: its end
        if line.step is None:
            return text
        prefix = f"{line.step}.{line.attempt}| " if self._prefix else ""
        if self._timestamps:
            prefix = f"{'-' if line.at is None else event_time(line.at, self._time)} {prefix}"
        return f"{prefix}{text}"


def _object(line: LogLine) -> dict[str, Any]:
    return {**line._asdict(), "at": format_instant(line.at)}
