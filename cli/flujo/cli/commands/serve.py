"""`flujoctl serve`: serve the runs of one store."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import click

from flujo.cli import sources
from flujo.cli.failures import SourceError
from flujo.cli.interruption import Interruption
from flujo.cli.output import emit
from flujo.cli.serve_logs import log_to_stderr
from flujo.cli.session import Session, declare, run_async, say
from flujo.cli.target import StoreTarget
from flujo.client.addresses import ServerAddress
from flujo.kernel import Kernel, Retention, Workflow
from flujo.kernel.durations import parse_duration
from flujo.kernel.errors import DeclarationError, ExtraMissingError, InvalidDurationError
from flujo.server.access import Security
from flujo.server.tokens import Role

YOUNG_OBJECTS = 5_000
"""After how many new objects a server looks for garbage among them; Python does after 700, or 2,000 since 3.13."""


@declare("serve", formats=("table", "json", "jsonl"))
@click.argument("targets", metavar="[WORKFLOW]...", nargs=-1)
@click.option(
    "--listen",
    metavar="ADDRESS",
    help="where, as unix:PATH or tcp://HOST:PORT (default: server.sock beside the store)",
)
@click.option("--tokens", metavar="FILE", type=Path, help="on TCP: who is let in (flujoctl token makes the file)")
@click.option("--tls-cert", metavar="FILE", type=Path, help="on TCP: the certificate of the server, which turns TLS on")
@click.option("--tls-key", metavar="FILE", type=Path, help="on TCP: the key of that certificate")
@click.option(
    "--client-ca", metavar="FILE", type=Path, help="on TCP: let in clients with a certificate of this authority"
)
@click.option(
    "--client-role",
    type=click.Choice([role.value for role in Role]),
    default=Role.VIEWER.value,
    help="the role of a certificate that --tokens does not name (default: viewer)",
)
@click.option(
    "--allow-definitions", is_flag=True, help="on TCP: let operators send definitions, and so run any command"
)
@click.option(
    "--reflection", is_flag=True, help="on TCP: describe the services to callers who may read, as on a socket"
)
@click.option("--max-steps", type=click.IntRange(1), metavar="N", help="steps that run at a time (default: no limit)")
@click.option("--max-runs", type=click.IntRange(1), metavar="N", help="runs in progress at a time (default: no limit)")
@click.option(
    "--limit", "limits", multiple=True, metavar="NAME=N", help="at most N steps at a time that name this limit"
)
@click.option("--retention", metavar="RULE", help="delete old runs, as completed=30d,failed=90d,last=100")
@click.option("--metrics", metavar="ADDRESS", help="answer Prometheus at tcp://127.0.0.1:PORT (extra metrics)")
@click.option("--traces", metavar="FILE|otlp", help="export OpenTelemetry spans, to a file or a collector (extra otel)")
@click.option(
    "--grace",
    default="5s",
    metavar="DURATION",
    help="how long calls, and steps of a fleet, may take to finish when it stops",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    help="what is logged: info tells of calls that act and of runs, debug of every step (default: warning)",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", help="how, on stderr (default: text)"
)
def command(
    session: Session,
    targets: Sequence[str],
    listen: str | None,
    max_steps: int | None,
    max_runs: int | None,
    limits: Sequence[str],
    retention: str | None,
    metrics: str | None,
    traces: str | None,
    grace: str,
    log_level: str,
    log_format: str,
    allow_definitions: bool,
    reflection: bool,
    client_role: str,
    **files: Path | None,
) -> int:
    """Serve the runs of a store over gRPC until Ctrl-C or SIGTERM, and run them.

    WORKFLOW is what clients may start by name: a YAML file, FILE.py:NAME or MODULE:NAME. YAML files can also be sent by
    clients. At the start, the server resumes unfinished runs that no process runs: those of the workflows named, and
    all that have their definition in the store. When it stops, running steps are recorded as interrupted; the next
    server starts them again. In a fleet on PostgreSQL it drains first: others take what waits and what is started
    here, and running steps have the grace to end.

    A run or step above a limit waits for a free slot, in the order of arrival. A limit has the name that steps give it;
    steps of YAML files have the limit task:NAME, so that --limit task:shell=2 bounds the shells that run at a time.

    RULE says how long runs are kept after their end, by status, and how many of each workflow are kept in any case. A
    workflow named here that has a retention of its own uses that. Unfinished and paused runs are always kept.

    On TCP the server starts only with --tokens or --client-ca, and where other machines reach it with TLS besides; it
    says what is missing. See docs/securing-a-server.md.
    """
    target = session.store_target
    workflows = _load(targets)
    address = listen or target.listen
    grace_seconds = parse_duration(grace)
    security = Security(
        files["tokens"],
        files["tls_cert"],
        files["tls_key"],
        files["client_ca"],
        Role(client_role),
        allow_definitions,
    )
    bounds = {
        "max_steps": max_steps,
        "max_runs": max_runs,
        "limits": dict(_limit(limit) for limit in limits),
        "retention": None if retention is None else _retention(retention),
    }
    log_to_stderr(log_level, log_format, verbosity=session.verbosity)
    how = {"grace_seconds": grace_seconds, "reflection": reflection}
    told = (traces, None if metrics is None else ServerAddress.parse(metrics))
    run_async(lambda: _serve(session, target, address, workflows, bounds, security, how, told))
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
    security: Security,
    how: Mapping[str, Any],
    told: tuple[str | None, ServerAddress | None],
) -> None:
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # tasks start processes, and gRPC would act at each fork
    try:
        from flujo.server.app import ListenOptions, Observing, run_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0].partition("_")[0] not in ("grpc", "google"):
            raise
        raise ExtraMissingError("flujoctl serve", "grpc") from error

    look_for_garbage_less_often()

    def started(kernel: Kernel, address: str) -> None:
        if session.output != "table":
            emit({"address": address, "store": target.shown, "workflows": sorted(kernel.workflows)}, "jsonl")
        else:
            print(f"listening at {address}", flush=True)
        session.note(f"serving {target.shown}; press Ctrl-C to stop")
        token = "" if address.startswith("unix:") else " --token-file FILE"
        ca = " --tls-ca FILE" if security.has_tls else ""
        session.note(f"try: flujoctl list --server {quote(address)}{token}{ca}")

    def stopping() -> None:
        session.note(f"stopping: new calls are refused, those under way have {how['grace_seconds']:g}s to finish")

    with Interruption() as interruption:
        with interruption.scope:
            await run_server(
                target.url,
                address,
                workflows,
                workspaces=target.workspaces,
                **bounds,
                options=ListenOptions(security, stopping=stopping, observing=Observing(*told), **how),
                started=started,
            )
        say("stopped cleanly; the next server continues unfinished runs")


def look_for_garbage_less_often() -> None:
    """Keep what is imported from the garbage collector, and have it look at new objects after more of them.

    Beside a thousand runs, whose batches outlive every look, it took a fifth of what a step costs (docs/performance.md;
    tests/acceptance/test_server.py)."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
