"""`flujoctl limits list`: list the limits of all kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flujo.backends import open_backend
from flujo.cli import text
from flujo.cli.commands.limits import COMMANDS
from flujo.cli.maintenance import own_store, run_interruptible
from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare, harmless
from flujo.kernel.backend import FleetLimit, SlotUse
from flujo.kernel.durations import format_duration

HEAD = ("LIMIT", "SLOTS", "STATE", "RUN", "STEP", "KERNEL", "HOST", "FOR")


@declare("list", short_help=COMMANDS["list"])
def command(session: Session) -> int:
    """List the limits of all kernels that share a store: how many slots each has, the steps that have one, the longest
    first, and those that wait for one, the first in line first.

    A slot of a kernel that has died is free once its lease is over. Where a limit was lowered, more steps may have a
    slot than there are, until they end.
    """
    store = own_store(session)

    async def look() -> Sequence[FleetLimit]:
        async with open_backend(store.url) as backend:
            return await backend.fleet_limits()

    limits = run_interruptible(look)
    if session.output == "name":
        print(harmless("\n".join(each.name for each in limits)))
    elif session.output != "table":
        emit_all([_as_data(each) for each in limits], session.output)
    elif limits:
        rows = [row for each in limits for row in _rows(each)]
        print(text.table(HEAD, rows, status=2, colour=session.has_colour))
    else:
        session.note("no limit of all kernels is set; to have one: flujoctl limits set NAME N")
    return 0


def _as_data(limit: FleetLimit) -> dict[str, Any]:
    held, waiting = ([each._asdict() for each in uses] for uses in (limit.held, limit.waiting))
    return {"name": limit.name, "slots": limit.slots, "held": held, "waiting": waiting}


def _rows(limit: FleetLimit) -> Iterator[Sequence[str]]:
    named = [limit.name, str(limit.slots)]
    if not limit.held and not limit.waiting:
        yield [*named, "free", *("-" * 5)]
    for use in limit.held:
        yield [*named, "held", *_place(use)]
    for number, use in enumerate(limit.waiting, start=1):
        yield [*named, f"waits, {number}.", *_place(use)]


def _place(use: SlotUse) -> Sequence[str]:
    return [use.run_id, use.step, use.kernel, use.host, format_duration(round(use.seconds))]
