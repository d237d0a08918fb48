"""`flujoctl hosts`: list the kernels that share a store."""

from __future__ import annotations

from collections.abc import Sequence

from flujo.backends import open_backend
from flujo.cli import text
from flujo.cli.maintenance import own_store, run_interruptible
from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare, harmless
from flujo.kernel.backend import Member
from flujo.kernel.durations import format_duration

HEAD = ("HOST", "KERNEL", "STATE", "RUNS", "VERSION", "UP", "LEASE")


@declare("hosts")
def command(session: Session) -> int:
    """List the kernels that share a store on PostgreSQL: where they are, what they do, how many runs each has, its
    release, since when it works, and how long it counts as alive without another heartbeat.

    A kernel that drains takes no more runs; with 0 of them it may be stopped. Kernels that went within the last hour
    are listed too.
    """
    store = own_store(session)

    async def look() -> Sequence[Member]:
        async with open_backend(store.url) as backend:
            return await backend.members()

    show(session, run_interruptible(look))
    return 0


def show(session: Session, members: Sequence[Member]) -> None:
    """Print kernels in the format that was asked for."""
    if session.output == "name":
        print(harmless("\n".join(each.kernel for each in members)))
    elif session.output != "table":
        emit_all([each._asdict() for each in members], session.output)
    elif members:
        rows = [_row(each) for each in members]
        print(text.table(HEAD, rows, status=2, colour=session.has_colour))
    else:
        session.note("no kernel has this store open; to have one: flujoctl serve")


def _row(member: Member) -> Sequence[str]:
    lease = "-" if member.gone_seconds is None else f"gone {format_duration(round(member.gone_seconds))} ago"
    if member.lease_left_seconds is not None:
        lease = format_duration(max(0, round(member.lease_left_seconds)))
    up = "-" if member.is_gone else format_duration(round(member.age_seconds))
    return [member.host, member.kernel, member.state, str(member.runs), member.version or "-", up, lease]
