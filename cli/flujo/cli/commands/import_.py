"""`flujoctl import`: import a run from a JSON document that `export` has written."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from flujo.cli.connect import connected, reading
from flujo.cli.going_on import that_work
from flujo.cli.maintenance import run_interruptible, store_or_server, writing
from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare, run_async
from flujo.cli.source_files import unreadable
from flujo.cli.target import ServerTarget, Target
from flujo.kernel import WorkflowState
from flujo.kernel.state import FINAL
from flujo.kernel.transfer import Arrival, Export, Outcome, examine_export, from_json, import_run

_TOLD = {
    Outcome.CREATED: "is imported",
    Outcome.UNCHANGED: "exists already",
    Outcome.GONE_ON: "exists already, with more events",
}


@declare("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
def command(session: Session, path: Path) -> int:
    """Import the run in FILE into the store, and the runs it has started if FILE holds them; `-` reads stdin.

    No process owns an imported run; `resume` continues it where it stopped. The store is created if there is none; with
    --server they go into the one of that server. Runs that exist already are not changed, and an id that belongs to
    another run is a conflict.
    """
    place = store_or_server(session)
    export = from_json(_read(path))
    examine_export(export)  # before a store is made for it

    async def bring() -> Sequence[Arrival]:
        if isinstance(place, ServerTarget):
            async with connected(place) as client:
                return await client.import_run(export)
        async with writing(place.url) as backend:
            return await import_run(backend, export)

    arrivals = run_interruptible(bring)
    _show(session, arrivals)
    _suggest(session, export, arrivals, place)
    return 0


def _read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _show(session: Session, arrivals: Sequence[Arrival]) -> None:
    if session.output == "name":
        for arrival in arrivals:
            print(arrival.run_id)
    elif session.output != "table":
        emit_all([{"run_id": each.run_id, "outcome": each.outcome.value} for each in arrivals], session.output)
    else:
        for arrival in arrivals:
            print(f"run {arrival.run_id} {_TOLD[arrival.outcome]}")


def _suggest(session: Session, export: Export, arrivals: Sequence[Arrival], place: Target) -> None:
    summary = export.run.summary
    if export.run.live:
        session.note(f"run {summary.run_id} was running elsewhere when it was exported; a resume here repeats its work")
    rests = summary.status in FINAL or arrivals[-1].outcome is Outcome.GONE_ON
    if rests or session.quiet:
        session.suggest(f"flujoctl inspect {summary.run_id}")
        return

    async def read() -> WorkflowState:
        async with reading(place) as runs:
            return await runs.inspect(summary.run_id)

    for way in that_work(session, run_async(read), [f"flujoctl resume {summary.run_id}"]):
        session.suggest(way)
