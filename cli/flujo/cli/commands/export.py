"""`flujoctl export`: a run as one JSON document."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from flujo.backends import open_backend
from flujo.cli import text
from flujo.cli.connect import connected
from flujo.cli.find_run import find_run
from flujo.cli.maintenance import run_interruptible, store_or_server, write_whole
from flujo.cli.session import Session, declare
from flujo.cli.target import ServerTarget
from flujo.kernel import Observer
from flujo.kernel.transfer import Export, ExportedRun, export_run, to_json


@declare("export", formats=("table", "json"))
@click.argument("run_id", metavar="ID")
@click.option("--to", "path", metavar="FILE", type=click.Path(path_type=Path), help="write to FILE instead of stdout")
@click.option("--with-children", is_flag=True, help="include the runs it has started, and theirs")
@click.option("--force", is_flag=True, help="replace FILE if it exists")
def command(session: Session, run_id: str, path: Path | None, with_children: bool, force: bool) -> int:
    """Write a run to one JSON document: every event, its definition and the requests in its inbox.

    `flujoctl import` imports it into another store. With --server it is a run of that server. Files in its workspace
    are not included.
    """
    place = store_or_server(session)

    async def read() -> Export:
        if isinstance(place, ServerTarget):
            async with connected(place) as client:
                return await client.export_run(await find_run(client, run_id), with_children=with_children)
        async with open_backend(place.url) as backend:
            found = await find_run(Observer(backend), run_id)
            return await export_run(backend, found, with_children=with_children)

    export = run_interruptible(read)
    document = to_json(export)
    if path is None:
        sys.stdout.write(document)
    else:
        write_whole(path, document, force=force)
        session.note(f"{_told(export)} written to {path}, {text.size_text(len(document.encode()))}")
    _warn(session, export)
    return 0


def _told(export: Export) -> str:
    summary = export.run.summary
    children = f" and {len(export.children)} it has started" if export.children else ""
    return f"run {summary.run_id} ({summary.status}, {summary.seq} events){children}"


def _warn(session: Session, export: Export) -> None:
    """Note what is not in the document, or may be out of date soon."""
    for run in (export.run, *export.children):
        if run.live:
            session.note(
                f"run {run.summary.run_id} is running in another process; the document ends at event {run.summary.seq}"
            )
    left_out = _awaited(export.run) - {run.summary.run_id for run in export.children}
    for child in sorted(left_out):
        session.note(f"it waits for run {child}, which is not in the document; --with-children includes it")


def _awaited(run: ExportedRun) -> set[str]:
    """Return the ids of the runs it waits for."""
    from flujo.kernel.transitions import awaited, replay

    return awaited(replay(run.summary.run_id, run.summary.uid, run.events))
