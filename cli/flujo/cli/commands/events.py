"""`flujoctl events`: show the recorded events of a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from flujo.cli.connect import reading
from flujo.cli.event_text import event_line, event_time
from flujo.cli.find_run import find_run
from flujo.cli.output import emit_all
from flujo.cli.pager import paged
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import Event, WorkflowState
from flujo.kernel.events import to_json_object
from flujo.kernel.transitions import fold

_PAGE = 500


@declare("events", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
@click.option("--after", "after_seq", metavar="N", type=click.IntRange(0), default=0, help="only events after event N")
def command(session: Session, run_id: str, after_seq: int) -> int:
    """Show the events of a run that are stored now. To follow it, use `watch`."""

    async def read() -> tuple[WorkflowState, list[Event]]:
        async with reading(session.target) as runs:
            summary = await runs.summary(await find_run(runs, run_id))
            found: list[Event] = []
            while page := await runs.events(summary.run_id, len(found), limit=_PAGE, uid=summary.uid):
                found += page
            return WorkflowState(run_id=summary.run_id, uid=summary.uid), found

    state, found = run_async(read)
    with paged(session):
        _show(session, state, found, after_seq)
    return 0


def _show(session: Session, state: WorkflowState, found: Sequence[Event], after_seq: int) -> None:
    if session.output != "table":
        wanted = [event for event in found if event.seq > after_seq]
        emit_all([to_json_object(state.run_id, event) for event in wanted], session.output)
        return
    for event in found:
        fold(state, event)
        if event.seq > after_seq:
            print(f"{event.seq:>4}  {event_time(event.at, session.time)}  {event_line(event, state)}")
    sys.stdout.flush()
