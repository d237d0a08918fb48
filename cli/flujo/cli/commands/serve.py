"""`flujoctl serve`: serve the runs of one store."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from flujo.cli import sources
from flujo.cli.failures import SourceError
from flujo.cli.interruption import Interruption
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, run_async, say
from flujo.cli.target import StoreTarget
from flujo.kernel import Kernel, Retention, Workflow
from flujo.kernel.durations import parse_duration
from flujo.kernel.errors import DeclarationError, ExtraMissingError, InvalidDurationError


@declare("serve", formats=("table", "json", "jsonl"))
@click.argument("targets", metavar="[WORKFLOW]...", nargs=-1)
@click.option("--listen", metavar="ADDRESS", help="where, as unix:PATH (default: server.sock beside the store)")
@click.option("--max-steps", type=click.IntRange(1), metavar="N", help="steps that run at a time (default: no limit)")
@click.option("--max-runs", type=click.IntRange(1), metavar="N", help="runs in progress at a time (default: no limit)")
@click.option(
    "--limit", "limits", multiple=True, metavar="NAME=N", help="at most N steps at a time that name this limit"
)
@click.option("--retention", metavar="RULE", help="delete old runs, as completed=30d,failed=90d,last=100")
@click.option("--grace", default="5s", metavar="DURATION", help="how long calls may take to finish when it stops")
def command(
    session: Session,
    targets: Sequence[str],
    listen: str | None,
    max_steps: int | None,
    max_runs: int | None,
    limits: Sequence[str],
    retention: str | None,
    grace: str,
) -> int:
    """Serve the runs of a store over gRPC until Ctrl-C or SIGTERM, and run them.

    WORKFLOW is what clients may start by name: a YAML file, FILE.py:NAME or MODULE:NAME. YAML files can also be sent by
    clients. At the start, the server resumes unfinished runs that no process runs: those of the workflows named, and
    all that have their definition in the store. When it stops, running steps are recorded as interrupted; the next
    server starts them again.

    A run or step above a limit waits for a free slot, in the order of arrival. A limit has the name that steps give it;
    steps of YAML files have the limit task:NAME, so that --limit task:shell=2 bounds the shells that run at a time.

    RULE says how long runs are kept after their end, by status, and how many of each workflow are kept in any case. A
    workflow named here that has a retention of its own uses that. Unfinished and paused runs are always kept.
    """
    target = session.store_target
    workflows = _load(targets)
    address = listen or target.listen
    grace_seconds = parse_duration(grace)
    bounds = {
        "max_steps": max_steps,
        "max_runs": max_runs,
        "limits": dict(_limit(limit) for limit in limits),
        "retention": None if retention is None else _retention(retention),
    }
    run_async(lambda: _serve(session, target, address, workflows, bounds, grace_seconds))
    return 0


def _limit(written: str) -> tuple[str, int]:
    name, _, size = written.rpartition("=")
    if not name or not size.isdecimal() or int(size) < 1:
        raise click.BadParameter(f"{written!r} is not NAME=N with N at least 1", param_hint="--limit")
    return name, int(size)


def _retention(written: str) -> Retention:
    try:
        return Retention.parse(written)
    except (DeclarationError, InvalidDurationError) as error:
        raise click.BadParameter(error.message, param_hint="--retention") from error


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
    bounds: Mapping[str, Any],
    grace_seconds: float,
) -> None:
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # tasks start processes, and gRPC would act at each fork
    try:
        from flujo.server.app import ListenOptions, run_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0].partition("_")[0] not in ("grpc", "google"):
            raise
        raise ExtraMissingError("flujoctl serve", "grpc") from error

    def started(kernel: Kernel, address: str) -> None:
        if session.output != "table":
            emit({"address": address, "store": target.url, "workflows": sorted(kernel.workflows)}, "jsonl")
        else:
            print(f"listening at {address}", flush=True)
        session.note(f"serving {target.url}; press Ctrl-C to stop")
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
                **bounds,
                options=ListenOptions(grace_seconds=grace_seconds),
                started=started,
            )
        say("stopped cleanly; the next server continues unfinished runs")
