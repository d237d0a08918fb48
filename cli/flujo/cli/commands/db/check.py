"""`flujoctl db check`: check a store for damage."""

from __future__ import annotations

from flujo.backends import open_backend
from flujo.cli import text
from flujo.cli.commands.db import COMMANDS
from flujo.cli.connect import connected
from flujo.cli.maintenance import counting, run_interruptible, store_or_server
from flujo.cli.output import emit, emit_all
from flujo.cli.session import Session, declare
from flujo.cli.target import ServerTarget
from flujo.kernel.checking import Report, check

DAMAGED = 5
NEWER = 4


@declare("check", short_help=COMMANDS["check"])
def command(session: Session) -> int:
    """Check a store for damage: its files, and what every run has recorded. Changes nothing.

    Other processes may use the store meanwhile. With --server the server checks its own. Ends with 0 when all is
    sound, 5 when something is damaged, and 4 when nothing is damaged but a newer release has written something.
    """
    place = store_or_server(session)

    async def look() -> Report:
        if isinstance(place, ServerTarget):
            async with connected(place) as client:
                with counting(session, "checking runs") as progress:
                    return await client.check(progress=progress)
        async with open_backend(place.url) as backend:
            with counting(session, "checking runs") as progress:
                return await check(backend, progress=progress)

    report = run_interruptible(look)
    _show(session, report)
    if not report.is_sound:
        return DAMAGED
    return NEWER if report.newer else 0


def _show(session: Session, report: Report) -> None:
    if session.output == "name":
        for run_id in dict.fromkeys(finding.run_id for finding in report.findings if finding.run_id is not None):
            print(run_id)
    elif session.output == "jsonl":
        emit_all([finding.to_dict() for finding in report.findings], "jsonl")
    elif session.output != "table":
        emit(report.to_dict(), session.output)
    else:
        _print(session, report)


def _print(session: Session, report: Report) -> None:
    if report.findings:
        rows = [[each.severity.value, each.run_id or "-", each.text] for each in report.findings]
        print(text.table(("WHAT", "RUN", ""), rows, status=0, colour=session.has_colour))
        print()
    print(f"{_count(report.runs, 'run')}, {_count(report.events, 'event')}: {_verdict(report)}")
    if report.interrupted:
        session.note(f"interrupted, and continued by a resume: {_count(report.interrupted, 'run')}")
    if report.orphans:
        session.note(f"started by a run that no longer exists: {_count(report.orphans, 'run')}")
    for command in dict.fromkeys(command for each in report.findings[:20] for command in each.commands):
        session.suggest(command)


def _verdict(report: Report) -> str:
    told = []
    if report.damaged:
        told.append(f"{report.damaged} damaged")
    if report.newer:
        told.append(f"{report.newer} written by a newer release")
    listed = len(report.findings)
    more = f", of which the first {listed} are listed" if listed < report.damaged + report.newer else ""
    return (", ".join(told) or "all sound") + more


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"
