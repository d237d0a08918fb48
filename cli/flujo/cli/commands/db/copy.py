"""`flujoctl db copy`: copy runs from one store to another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from flujo.backends import open_backend
from flujo.cli import text
from flujo.cli.commands.db import COMMANDS
from flujo.cli.maintenance import counting, run_interruptible, writing
from flujo.cli.output import emit
from flujo.cli.session import Session, declare
from flujo.kernel import RunFilter, RunStatus
from flujo.kernel.errors import without_password
from flujo.kernel.transfer import CopyResult, copy_runs

CONFLICT = 4


@declare("copy", formats=("table", "json", "jsonl", "yaml"), short_help=COMMANDS["copy"])
@click.argument("source", metavar="SOURCE-URL")
@click.argument("target", metavar="TARGET-URL")
@click.option(
    "--status",
    "statuses",
    metavar="STATUS",
    type=click.Choice([status.value for status in RunStatus]),
    multiple=True,
    help="only runs with this status",
)
@click.option("--workflow", metavar="NAME", help="only runs of this workflow")
@click.option("--include-live", is_flag=True, help="also copy runs that a process runs, in their current state")
def command(
    session: Session, source: str, target: str, statuses: Sequence[str], workflow: str | None, include_live: bool
) -> int:
    """Copy runs from one store to another of any kind; the target is created if there is none.

    Every run is copied whole and read again. Runs that exist in the target are not changed, so the same command
    completes a copy that was stopped. A run that a process runs is left out, since its copy would repeat its work; stop
    that process first. Ends with 4 when a run was left out; it is named, and the others are copied.
    """
    if session.server is not None or session.store is not None:
        raise click.UsageError("this command names both its stores: leave --store and --server out")
    _require_two(source, target)
    wanted = RunFilter(statuses=tuple(dict.fromkeys(statuses)), workflow=workflow)

    async def copy() -> CopyResult:
        async with open_backend(source) as origin, writing(target) as store:
            with counting(session, "copying runs") as progress:
                return await copy_runs(origin, store, wanted, include_live=include_live, progress=progress)

    copied = run_interruptible(copy)
    if session.output != "table":
        refusals = [refusal._asdict() for refusal in copied.refusals]
        emit({**copied._asdict(), "refusals": refusals}, session.output)
    else:
        _print(session, copied, target)
    return CONFLICT if copied.refused else 0


def _require_two(source: str, target: str) -> None:
    one, other = open_backend(source), open_backend(target)
    for backend in (one, other):
        if not backend.capabilities.durable:
            raise click.UsageError(f"a {backend.url} store ends with its process; name a store on disk")
    if one.path is not None and other.path is not None and _real(one.path) == _real(other.path):
        raise click.UsageError(f"{one.url} and {other.url} are the same store")


def _real(path: Path) -> str:
    return os.path.realpath(path)


def _print(session: Session, copied: CopyResult, target: str) -> None:
    if copied.refusals:
        rows = [["left out", refusal.run_id, refusal.text] for refusal in copied.refusals]
        print(text.table(("", "RUN", "WHY"), rows, status=0, colour=session.has_colour))
        print()
    told = [f"{copied.created} copied"]
    if copied.unchanged:
        told.append(f"{copied.unchanged} existed already")
    if copied.gone_on:
        told.append(f"{copied.gone_on} existed already, with more events")
    if copied.refused:
        told.append(f"{copied.refused} left out")
    print(f"runs in {without_password(target)}: {', '.join(told)}")
    there = Session(store=target, quiet=session.quiet)
    for command in dict.fromkeys(command for refusal in copied.refusals[:20] for command in refusal.commands):
        there.suggest(command)
