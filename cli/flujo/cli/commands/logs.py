"""`flujoctl logs`: show what the steps of a run have printed, and follow what they print."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import anyio
import click

from flujo.cli import failures
from flujo.cli.connect import reading
from flujo.cli.failures import NoLogError
from flujo.cli.find_run import find_run
from flujo.cli.follower import Follower, alongside
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, harmless, run_async
from flujo.cli.target import ServerTarget
from flujo.kernel import Event, StepState, StoredRuns, WorkflowState
from flujo.kernel.errors import StepNotFoundError
from flujo.kernel.programs import loop_of
from flujo.workflows.runlog import LogLine, LogReader

LOOK_SECONDS = 0.2
"""How often a log is looked at that is followed: a file that grows tells nobody."""


class Wanted(NamedTuple):
    """Which lines of a log are shown: those of one step, of one attempt, and only so many of the last ones."""

    step: str | None
    attempt: int | None
    tail: int | None

    def fits(self, line: LogLine) -> bool:
        """True for a line that is shown; what is said about the log itself always is."""
        if line.step is None:
            return True
        is_of_step = self.step is None or line.step == self.step or loop_of(line.step) == self.step
        return is_of_step and self.attempt in (None, line.attempt)


@declare("logs", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
@click.option("--step", metavar="STEP", help="only what this step has printed, or the items of this loop")
@click.option("--attempt", metavar="N", type=click.IntRange(1), help="only what was printed in this attempt")
@click.option("--tail", metavar="N", type=click.IntRange(0), help="only the last N lines of what there is")
@click.option("-f", "--follow", is_flag=True, help="go on with what is printed, until the run has ended")
@click.option("--no-prefix", is_flag=True, help="leave out the step and attempt before each line")
def command(
    session: Session,
    run_id: str,
    step: str | None,
    attempt: int | None,
    tail: int | None,
    follow: bool,
    no_prefix: bool,
) -> int:
    """Show what the steps of a run have printed, each line with its step and attempt.

    On a terminal, what would move the cursor is left out. Ctrl-C only stops following.
    """
    if isinstance(session.target, ServerTarget):
        raise click.UsageError("logs are files beside a store: run this where the store is, with --store URL")
    if follow and session.output in ("json", "yaml"):
        raise click.UsageError(f"--follow shows line by line; use -o jsonl instead of -o {session.output}")
    show = _Printer(session, prefix=not no_prefix)

    async def read() -> None:
        async with reading(session.target) as runs:
            state = await runs.inspect(await find_run(runs, run_id))
            reader = LogReader(_log_of(state, step))
            wanted = Wanted(step, attempt, tail)
            lines = (line for line in reader.read() if wanted.fits(line))
            show.all(lines if tail is None else deque(lines, tail))
            if follow:
                await _follow(runs, state.run_id, reader, wanted, show)

    try:
        run_async(read)
    except BrokenPipeError:
        raise  # whoever reads what is printed has had enough; the log is fine
    except OSError as error:
        raise NoLogError(run_id, f"its log cannot be read: {error}") from error
    except KeyboardInterrupt:
        return failures.INTERRUPTED
    return 0


async def _follow(runs: StoredRuns, run_id: str, reader: LogReader, wanted: Wanted, show: _Printer) -> None:
    """Show what is added to the log until the run rests for good; what it has printed then is there already."""

    async def look() -> None:
        while True:
            show.all(filter(wanted.fits, reader.read()))
            await anyio.sleep(LOOK_SECONDS)

    async with alongside(look):
        await Follower(runs, run_id, _nothing, _no_announcement).until_rest()
    show.all(filter(wanted.fits, reader.read()))


def _nothing(event: Event, state: WorkflowState) -> None:
    pass


def _no_announcement(step: StepState) -> None:
    pass


def _log_of(state: WorkflowState, step: str | None) -> Path:
    """Return where the log of a run is; raises NoLogError for a run that keeps none, StepNotFoundError."""
    path = state.environment.get("log_file")
    if not isinstance(path, str):
        raise NoLogError(state.run_id, "only runs of YAML workflows keep one; a Python program logs where it likes")
    if step is not None and step not in state.steps:
        raise StepNotFoundError(state.run_id, step, list(state.steps))
    return Path(path)


class _Printer:
    """Prints lines of a log in the format asked for."""

    def __init__(self, session: Session, *, prefix: bool) -> None:
        self._format = session.output
        self._prefix = prefix
        self._is_terminal = sys.stdout.isatty()

    def all(self, lines: Iterable[LogLine]) -> None:
        """Print some lines; they are there once this returns."""
        if self._format in ("json", "yaml"):
            emit([line._asdict() for line in lines], self._format)
            return
        for line in lines:
            if self._format == "jsonl":
                emit(line._asdict(), "jsonl")
            else:
                print(self._text(line))
        sys.stdout.flush()

    def _text(self, line: LogLine) -> str:
        text = line.text
        if self._is_terminal:
            text = harmless(text.rstrip("\r").rpartition("\r")[2])  # a bar that was drawn over and over: its end
        return text if line.step is None or not self._prefix else f"{line.step}.{line.attempt}| {text}"
