"""`flujoctl serve`: a server for the runs of one store."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import click

from flujo.cli import sources
from flujo.cli.failures import SourceError
from flujo.cli.interruption import Interruption
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, run_async, say
from flujo.cli.target import StoreTarget
from flujo.kernel import Kernel, Workflow
from flujo.kernel.durations import parse_duration
from flujo.kernel.errors import ExtraMissingError


@declare("serve", formats=("table", "json", "jsonl"))
@click.argument("targets", metavar="[WORKFLOW]...", nargs=-1)
@click.option("--listen", metavar="ADDRESS", help="where, as unix:PATH (default: server.sock beside the store)")
@click.option("--max-steps", type=click.IntRange(1), metavar="N", help="steps that run at a time (default: no limit)")
@click.option("--grace", default="5s", metavar="DURATION", help="how long calls may take to finish when it stops")
def command(session: Session, targets: Sequence[str], listen: str | None, max_steps: int | None, grace: str) -> int:
    """Serve the runs of a store over gRPC until Ctrl-C or SIGTERM, and run them.

    WORKFLOW is what clients may start by name: a YAML file, FILE.py:NAME or MODULE:NAME. YAML files can also be sent by
    clients. At the start, unfinished runs that nobody runs are taken up: those of the workflows named, and all that
    have their definition in the store. When it stops, steps under way are recorded as interrupted; they start again
    with the next server.
    """
    target = session.store_target
    workflows = _load(targets)
    address = listen or target.listen
    grace_seconds = parse_duration(grace)
    run_async(lambda: _serve(session, target, address, workflows, max_steps, grace_seconds))
    return 0


def _load(targets: Sequence[str]) -> list[Workflow]:
    loaded = [sources.load(target) for target in targets]
    names = [workflow.name for workflow in loaded]
    for name in names:
        if names.count(name) > 1:
            raise SourceError(f"two of the workflows are called {name!r}")
    return loaded


async def _serve(
    session: Session,
    target: StoreTarget,
    address: str,
    workflows: Sequence[Workflow],
    max_steps: int | None,
    grace_seconds: float,
) -> None:
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # tasks start processes, and gRPC would join in each time
    try:
        from flujo.server.app import run_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0].partition("_")[0] not in ("grpc", "google"):
            raise
        raise ExtraMissingError("flujoctl serve", "grpc") from error

    def started(kernel: Kernel) -> None:
        if session.output != "table":
            emit({"address": address, "store": target.url, "workflows": sorted(kernel.workflows)}, "jsonl")
        else:
            print(f"listening at {address}", flush=True)
        session.note(f"serving {target.url}; Ctrl-C stops in good order")
        session.note(f"try: flujoctl list --server {address}")

    if not session.verbosity:
        logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")  # a server's warnings belong to its operator
    with Interruption() as interruption:
        with interruption.scope:
            await run_server(
                target.url,
                address,
                workflows,
                workspaces=target.workspaces,
                max_steps=max_steps,
                grace_seconds=grace_seconds,
                started=started,
            )
        say("stopped in good order; runs that were under way go on with the next server")
