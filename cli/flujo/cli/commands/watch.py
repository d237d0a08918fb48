"""`flujoctl watch`: show the events of a run as they come, until it is final or paused."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any

import anyio
import click

from flujo.cli import failures
from flujo.cli.all_runs import AllRuns
from flujo.cli.connect import reading
from flujo.cli.display import NoDisplay, display_for
from flujo.cli.event_text import event_line, event_time
from flujo.cli.find_run import find_run
from flujo.cli.follower import Follower, alongside
from flujo.cli.foreground import failed_step_of, signal_command, where_to_look
from flujo.cli.going_on import suggest_resuming, that_work
from flujo.cli.hearing import hearing, last_lines
from flujo.cli.inputs import parse_labels
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, is_terminal, run_async, say
from flujo.kernel import Event, RunStatus, StepState, StoredRuns, WorkflowState
from flujo.kernel.api import WatchQuery, result_of
from flujo.kernel.errors import (
    CallTimeoutError,
    FlujoError,
    KernelClosedError,
    RunNotFoundError,
    ServerUnreachableError,
)
from flujo.kernel.events import to_json_object
from flujo.kernel.state import LIVE

LOOK_SECONDS = 1.0
"""How often it is checked whether a process still runs the run."""


@declare("watch", formats=("table", "json", "jsonl"))
@click.argument("run_id", metavar="[ID]", required=False)
@click.option("--after", metavar="N", help="only events after event N; without ID: after the cursor N, or all with 0")
@click.option("--wait/--no-wait", default=True, help="stay while the run waits (default), or end with 7")
@click.option("--workflow", metavar="NAME", help="without ID: only runs of this workflow")
@click.option(
    "-l", "--label", "labels", metavar="NAME=TEXT", multiple=True, help="without ID: only those with this label"
)
@click.option("--id-prefix", metavar="TEXT", help="without ID: only runs whose ids begin with TEXT")
@click.option("--parent", metavar="ID", help="without ID: only runs that this run has started")
@click.option("--type", "types", metavar="KIND", multiple=True, help="without ID: only events of this kind")
def command(session: Session, run_id: str | None, after: str | None, wait: bool, **chosen: Any) -> int:
    """Show the past events of a run and then each new one, until the run is final or paused.

    Ends with the exit code of the run: 0 completed, 1 failed, 7 paused, 8 cancelled. Ctrl-C only stops watching.

    Without ID it shows what happens to all runs, or to those that options choose, from now on, whichever process runs
    them. It stays until Ctrl-C, which says how to go on.
    """
    if run_id is None:
        return _watch_all(session, after, wait=wait, **chosen)
    for name, value in chosen.items():
        if value:
            raise click.UsageError(f"{_OPTIONS[name]} chooses among all runs; leave it out, or leave ID out")
    if not (after or "0").isdecimal():
        raise click.UsageError(f"--after takes the number of an event, not {after!r}")
    after_seq = int(after or 0)

    async def watch() -> int:
        async with reading(session.target) as runs:
            found = await find_run(runs, run_id)
            return await _watch(session, runs, found, after_seq, no_wait=not wait)

    try:
        return run_async(watch)
    except KeyboardInterrupt:
        session.note("stopped watching; the run is not affected")
        return failures.INTERRUPTED


_OPTIONS = {
    "workflow": "--workflow",
    "labels": "--label",
    "id_prefix": "--id-prefix",
    "parent": "--parent",
    "types": "--type",
}


def _watch_all(
    session: Session,
    after: str | None,
    *,
    wait: bool,
    workflow: str | None,
    labels: Sequence[str],
    id_prefix: str | None,
    parent: str | None,
    types: Sequence[str],
) -> int:
    if not wait:
        raise click.UsageError("--no-wait is for the watch of one run; name it by its ID")
    wanted = WatchQuery(workflow=workflow, labels=parse_labels(labels), id_prefix=id_prefix, parent_run_id=parent)
    shown: AllRuns | None = None

    async def watch() -> None:
        nonlocal shown
        async with reading(session.target) as runs:
            if parent is not None:
                wanted["parent_run_id"] = await find_run(runs, parent)
            shown = AllRuns(runs, "table" if session.output == "table" else "jsonl", session.time)
            await shown.show("" if after == "0" else after, list(types), wanted)

    try:
        run_async(watch)
    except KeyboardInterrupt:
        session.note("stopped watching; no run is affected")
        if shown is not None and shown.cursor is not None:
            session.suggest(f"flujoctl watch --after {shown.cursor}  # goes on behind the last event shown")
    return failures.INTERRUPTED


async def _watch(session: Session, runs: StoredRuns, run_id: str, after_seq: int, *, no_wait: bool) -> int:
    is_live = session.output == "table" and all(map(is_terminal, (sys.stdout, sys.stderr))) and not session.no_progress
    display = display_for(session) if is_live else NoDisplay()

    def show(event: Event, state: WorkflowState) -> None:
        if is_live:
            display.show(event, state)
        elif session.output == "table":
            print(f"{event.seq:>4}  {event_time(event.at, session.time)}  {event_line(event, state)}")
            sys.stdout.flush()
        else:
            emit(to_json_object(run_id, event), "jsonl")

    def announce(step: StepState) -> None:
        command = signal_command(session, run_id, step)
        if is_live:
            display.announce(step, command)
        else:
            session.note(f"waiting for the signal {step.signal!r}; send it with: {command}")

    async def is_unowned() -> bool:
        try:
            return await runs.is_interrupted(await runs.summary(run_id))
        except (ServerUnreachableError, KernelClosedError, CallTimeoutError):
            return False  # the stream of events waits for another server, and says so if none comes

    async def watch_the_owner() -> None:
        try:
            while not await is_unowned():  # noqa: ASYNC110
                await anyio.sleep(LOOK_SECONDS)  # the release of a lock notifies no process
            state = await runs.inspect(run_id)
        except RunNotFoundError:
            return  # the stream of events says it better
        note = display.note if is_live else session.note
        note(f"no process runs run {run_id}; still watching")
        if not session.quiet:
            for command in that_work(session, state, [f"flujoctl resume {run_id}"]):
                note(f"try: {session.addressed(command)}")

    follower = Follower(runs, run_id, show, announce, after_seq=after_seq)
    try:
        async with nullcontext() if no_wait else alongside(watch_the_owner), hearing(runs, run_id, display):
            state = await follower.until_rest(no_wait=no_wait)
    finally:
        display.close()
    look = where_to_look(state, failed_step_of(state), await last_lines(runs, state))
    return await _conclude(session, state, is_unowned, look)


async def _conclude(
    session: Session, state: WorkflowState, is_unowned: Callable[[], Awaitable[bool]], look: str | None
) -> int:
    """Tell how a run rests, and the command that shows more of its failure; returns the exit code."""
    run_id = state.run_id
    if state.status in LIVE:
        if await is_unowned():
            session.note(f"no process runs run {run_id}")
            suggest_resuming(session, state)
        return failures.ONLY_WAITS
    try:
        result_of(state)
    except FlujoError as error:
        if not session.quiet:
            say(f"run {run_id} {state.status}")
        if state.status is RunStatus.FAILED and look is not None:
            session.suggest(look)
        return failures.exit_code(error)
    return 0
