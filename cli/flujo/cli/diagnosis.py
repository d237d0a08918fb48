"""Judge what flujo stands on: what is in order, what deserves a look, what is wrong, and what to type about it.

Each function looks at figures that somebody else has gathered (`flujo.cli.commands.doctor`) and returns findings. None
of them reads a file or asks a server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from shlex import quote
from typing import Any, NamedTuple

from flujo.kernel.durations import MICROSECONDS, format_duration, format_instant
from flujo.kernel.errors import FlujoError

from .repetition import Repetition
from .text import size_text

LITTLE_BYTES = 1 << 30
"""Less free space than this deserves a look: a busy store and its log may need it within hours."""

TOO_LITTLE_BYTES = 64 << 20
"""With less free space than this the next commits may fail."""

LONG_LOG_BYTES = 64 << 20
"""A write-ahead log of SQLite of this size says that a reader keeps it from being emptied."""

SKEW_SECONDS = 60
"""Clocks that differ by more than this are not those of one network with working time servers."""

_NAMED = 3
"""How many runs or processes a finding names."""


class Verdict(StrEnum):
    """What a finding means."""

    OK = "ok"
    """All is well."""

    NOTE = "note"
    """Worth knowing; nothing has to be done."""

    WARNING = "warning"
    """Something may go wrong, or somebody waits for a person."""

    PROBLEM = "problem"
    """Something does not work."""


class Finding(NamedTuple):
    """What was found about one thing. `fix` is a command, or an advice in words."""

    check: str
    verdict: Verdict
    message: str
    fix: str | None = None


def of_error(check: str, error: FlujoError) -> Finding:
    """Return the finding that something cannot be used, with the first thing its error proposes."""
    return Finding(check, Verdict.PROBLEM, error.message, error.hints[0] if error.hints else None)


def of_sqlite(version: str, has_wal_reset_bug: bool) -> Finding:
    """Judge the SQLite that Python brings along."""
    if not has_wal_reset_bug:
        return Finding("sqlite", Verdict.OK, version)
    message = (
        f"{version} can damage a database when two programs write to it at once (the WAL reset bug); flujo's "
        "lock rules that out, a database shell does not take it"
    )
    return Finding("sqlite", Verdict.NOTE, message, "only read from the store with other programs")


def of_extra(is_installed: bool) -> Finding:
    """Judge whether servers can be used and run."""
    if is_installed:
        return Finding("grpc", Verdict.OK, "flujoctl serve and --server can be used")
    return Finding("grpc", Verdict.NOTE, "flujoctl serve and --server need more", "pip install 'flujoctl[grpc]'")


LARGEST_OFFSET_SECONDS = 1.0


def of_details(url: str, details: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge what a store says of itself."""
    yield Finding("store", Verdict.OK, f"{url}, {_number(details.get('runs', 0), 'run')}")
    check = f"flujoctl db check --store {quote(url)}"
    if details.get("damaged"):
        yield Finding("store", Verdict.PROBLEM, _number(details["damaged"], "damaged run"), check)
    if details.get("unchecked"):
        message = "a process ended without closing the store; the next kernel looks it through, which may take a while"
        yield Finding("store", Verdict.WARNING, message, check)
    if details.get("wal_bytes", 0) > LONG_LOG_BYTES:
        message = (
            f"its log has {size_text(details['wal_bytes'])}: a program reads for so long that it cannot be emptied"
        )
        yield Finding("store", Verdict.WARNING, message, f"fuser -v {quote(str(details.get('path')))}  # shows which")
    if details.get("quarantined"):
        message = f"{_number(details['quarantined'], 'folder')} that could not be removed, put aside"
        yield Finding("store", Verdict.NOTE, message, f"flujoctl db info --store {quote(url)}")
    if (oldest := details.get("oldest_transaction")) is not None:
        message = f"a transaction of {oldest['application'] or 'another program'} is open since {oldest['seconds']} s"
        fix = f"SELECT pg_terminate_backend({oldest['pid']})  # it keeps old rows, and everything becomes slow"
        yield Finding("store", Verdict.WARNING, message, fix)
    if abs(offset := details.get("clock_offset_seconds", 0)) > LARGEST_OFFSET_SECONDS:
        message = f"the clock of the server is {abs(offset):g} s {'ahead of' if offset > 0 else 'behind'} this one"
        yield Finding("store", Verdict.WARNING, message, "timedatectl  # naps follow the clock of each host")


def of_access(path: str, *, is_writable: bool, foreign_owner: str | None) -> Iterator[Finding]:
    """Judge who may write to the file or folder of a store."""
    if foreign_owner is not None:
        message = f"{path} belongs to {foreign_owner}, whose commands its runs would execute"
        yield Finding("permissions", Verdict.WARNING, message, f"use it only if you trust {foreign_owner}")
    if is_writable:
        yield Finding("permissions", Verdict.OK, f"you may write to {path}")
    else:
        fix = f"ls -ld {quote(path)}  # shows whose it is"
        yield Finding("permissions", Verdict.PROBLEM, f"you may not write to {path}: runs can be read, not run", fix)


def of_disk(folder: str, free_bytes: int) -> Finding:
    """Judge the free space where the store is."""
    message = f"{size_text(free_bytes)} free in {folder}"
    fix = "flujoctl prune --older-than 30d --dry-run  # shows what pruning would free"
    if free_bytes < TOO_LITTLE_BYTES:
        return Finding("disk", Verdict.PROBLEM, message, fix)
    return Finding("disk", Verdict.WARNING, message, fix) if free_bytes < LITTLE_BYTES else _ok("disk", message)


def of_clock(now: int, newest: int | None) -> Finding:
    """Judge this machine's clock by the newest thing recorded in the store; instants in microseconds UTC."""
    if newest is None or newest - now <= SKEW_SECONDS * MICROSECONDS:
        return _ok("clock", f"{format_instant(now)}")
    message = (
        f"it is {format_instant(now)}, and the store holds an event of {format_instant(newest)}: the clock was set "
        "back, or another machine's is ahead"
    )
    return Finding("clock", Verdict.WARNING, message, "timedatectl status  # shows whether the clock is synchronised")


def of_server(address: str, version: str, ours: str, skew_seconds: float) -> Iterator[Finding]:
    """Judge a server that has answered."""
    yield _ok("server", f"{address} answers, version {version}")
    if version != ours:
        message = f"the server at {address} has version {version}, this flujoctl {ours}"
        yield Finding("server", Verdict.WARNING, message, "install the same version on both sides")
    if abs(skew_seconds) > SKEW_SECONDS:
        word = "ahead" if skew_seconds > 0 else "behind"
        message = f"the clock of the server at {address} is {format_duration(round(abs(skew_seconds)))} {word}"
        yield Finding("clock", Verdict.WARNING, message, "timedatectl status  # on both machines")


def of_interrupted(run_ids: Sequence[str], is_all: bool, way_on: str | None = None) -> Finding:
    """Judge the unfinished runs that no process runs; `way_on` is the command that goes on with the first one, unless
    it is a plain resume."""
    if not run_ids:
        return _ok("runs", "no run is interrupted")
    number = ("" if is_all else "at least ") + _number(len(run_ids), "unfinished run")
    message = f"{number} that no process runs: {_listed(run_ids)}"
    return Finding("runs", Verdict.WARNING, message, way_on or f"flujoctl resume {quote(run_ids[0])}")


def of_leftovers(processes: Mapping[str, Sequence[int]]) -> Finding:
    """Judge the processes that are left of interrupted runs, by the id of the run."""
    pids = sorted(pid for each in processes.values() for pid in each)
    if not pids:
        return _ok("processes", "nothing is left of interrupted runs")
    message = f"processes of interrupted runs are still alive: {_listed(list(map(str, pids)))}"
    fix = f"flujoctl resume {quote(min(processes))}  # ends them before it goes on"
    return Finding("processes", Verdict.WARNING, message, fix)


def of_repetition(found: Mapping[str, Repetition]) -> Finding:
    """Judge the runs whose outputs repeat earlier ones, by id."""
    if not found:
        return _ok("outputs", "the newest runs store what is new")
    run_id = max(found, key=lambda each: found[each].repeated_bytes)
    message = f"run {run_id}: {found[run_id].sentence}"
    return Finding("outputs", Verdict.WARNING, message, f"flujoctl inspect {quote(run_id)}")


def is_fatal(findings: Sequence[Finding]) -> bool:
    """True if something does not work."""
    return any(finding.verdict is Verdict.PROBLEM for finding in findings)


def _ok(check: str, message: str) -> Finding:
    return Finding(check, Verdict.OK, message)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
