"""`flujoctl doctor`: look for what is wrong with the installation, the store, the disk, the clock and the server."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from flujo.backends import open_backend
from flujo.backends.discovery import path_of
from flujo.backends.sqlite.maintenance import has_wal_reset_bug
from flujo.cli import diagnosis
from flujo.cli.command_index import VERSION
from flujo.cli.connect import connected
from flujo.cli.diagnosis import Finding, Verdict
from flujo.cli.failures import EXIT_CODES
from flujo.cli.going_on import that_work
from flujo.cli.maintenance import run_interruptible
from flujo.cli.output import emit, emit_all
from flujo.cli.repetition import Repetition, find_repetition
from flujo.cli.session import Session, declare, harmless
from flujo.cli.target import ServerTarget, StoreTarget
from flujo.kernel import Observer, Order, RunSummary
from flujo.kernel.checking import processes_of
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import FlujoError, StoreError, StoreNotFoundError
from flujo.kernel.state import LIVE
from flujo.kernel.trust import foreign_owner

NEWEST_RUNS = 20
"""Of how many runs the outputs are looked at, the newest ones."""

MOST_EVENTS = 5_000
"""The outputs of a run with more events are not looked at, which would take long."""

MOST_RUNS = 1000
"""How many unfinished runs are looked at, the newest ones."""


@declare("doctor")
def command(session: Session) -> int:
    """Look at what flujo needs here, and say of everything that is wrong what to do about it.

    Looks at the versions, the store and its runs, the permissions, the disk, the clock, the processes that interrupted
    runs have left, outputs that repeat others, and the server. Changes nothing. Ends with 5 if something does not work;
    a warning does not count.
    """

    async def look() -> list[Finding]:
        return [*_installation(), *[finding async for finding in _place(session)]]

    findings = run_interruptible(look)
    if session.output == "table":
        _show(findings)
    elif session.output == "name":
        print("\n".join(dict.fromkeys(each.check for each in findings if each.verdict is not Verdict.OK)))
    elif session.output == "jsonl":
        emit_all([each._asdict() for each in findings], session.output)
    else:
        emit([each._asdict() for each in findings], session.output)
    return EXIT_CODES[StoreError] if diagnosis.is_fatal(findings) else 0


def _show(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(harmless(f"{finding.verdict:<9}{finding.check:<13}{finding.message}"))
        if finding.fix is not None:
            print(harmless(f"{'':<9}{'':<13}fix: {finding.fix}"))


def _installation() -> Iterator[Finding]:
    yield Finding("versions", Verdict.OK, f"flujoctl {VERSION}, Python {platform.python_version()}, {sys.platform}")
    yield diagnosis.of_sqlite(sqlite3.sqlite_version, has_wal_reset_bug(sqlite3.sqlite_version_info))
    yield diagnosis.of_extra(find_spec("grpc") is not None)


async def _place(session: Session) -> AsyncIterator[Finding]:
    """Yield what is found about the store or the server that commands work on here."""
    try:
        target = session.target
    except FlujoError as error:
        yield diagnosis.of_error("store" if session.server is None else "server", error)
        return
    if isinstance(target, ServerTarget):
        async for finding in _server(target):
            yield finding
        return
    async for finding in _store(session, target):
        yield finding
    path = target.workspaces.parent / "server.sock"
    if path.is_socket():
        async for finding in _server(ServerTarget(target.listen)):
            yield finding


async def _store(session: Session, target: StoreTarget) -> AsyncIterator[Finding]:
    now = time.time_ns() // 1000
    path = path_of(target.url)
    try:
        async with open_backend(target.url) as backend:
            for finding in diagnosis.of_details(target.shown, await backend.details()):
                yield finding
            observer = Observer(backend, workspaces=target.workspaces)
            newest = (await observer.list(order=Order.UPDATED, limit=1)).runs
            yield diagnosis.of_clock(now, newest[0].updated_at if newest else None)
            interrupted, is_all = await _interrupted(observer)
            repeating = await _repeating(observer)
            way_on = await _way_on(session, observer, interrupted[0].run_id) if interrupted else None
        yield diagnosis.of_interrupted([run.run_id for run in interrupted], is_all, way_on)
        yield diagnosis.of_leftovers(
            {run.run_id: pids for run in interrupted if (pids := sorted(processes_of([run.uid])))}
        )
        yield diagnosis.of_repetition(repeating)
    except StoreNotFoundError:
        yield Finding("store", Verdict.OK, f"{target.shown} will be made by the first run")
        yield diagnosis.of_clock(now, None)
    except FlujoError as error:
        yield diagnosis.of_error("store", error)
    if path is not None:
        for finding in _surroundings(path):
            yield finding


async def _interrupted(observer: Observer) -> tuple[list[RunSummary], bool]:
    """Return the first unfinished runs that no process runs, and whether those are all."""
    page = await observer.list(statuses=sorted(LIVE), limit=MOST_RUNS)
    return [run for run in page.runs if await observer.is_interrupted(run)], page.next is None


async def _way_on(session: Session, observer: Observer, run_id: str) -> str | None:
    """Return the command that goes on with a run."""
    with suppress(FlujoError):  # damaged, or of a newer release
        return that_work(session, await observer.inspect(run_id), [f"flujoctl resume {run_id}"])[0]
    return None


async def _repeating(observer: Observer) -> dict[str, Repetition]:
    """Return those of the newest runs whose outputs repeat earlier ones, by id."""
    page = await observer.list(order=Order.UPDATED, limit=NEWEST_RUNS)
    found: dict[str, Repetition] = {}
    for run in page.runs:
        if run.seq <= MOST_EVENTS:
            with suppress(FlujoError):  # pruned meanwhile, or of a newer release
                if (repetition := find_repetition(await observer.inspect(run.run_id))) is not None:
                    found[run.run_id] = repetition
    return found


def _surroundings(path: Path) -> Iterator[Finding]:
    """Yield what is found about the place of a store: the nearest folder upwards, if there is none yet."""
    place = next(each for each in (path, *path.absolute().parents) if each.exists())
    folder = place if place.is_dir() else place.parent
    is_writable = os.access(place, os.W_OK) and os.access(folder, os.W_OK)
    yield from diagnosis.of_access(str(place), is_writable=is_writable, foreign_owner=foreign_owner(place))
    yield diagnosis.of_disk(str(folder), shutil.disk_usage(folder).free)


async def _server(target: ServerTarget) -> AsyncIterator[Finding]:
    try:
        async with connected(target) as client:
            before = time.time_ns() // 1000
            info = await client.info()
            after = time.time_ns() // 1000
    except FlujoError as error:
        yield diagnosis.of_error("server", error)
        return
    skew = (info.now - (before + after) // 2) / MICROSECONDS
    for finding in diagnosis.of_server(target.address, info.version, VERSION, skew):
        yield finding
