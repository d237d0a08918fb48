"""Limits of all kernels together: the questions about them. What decides who has a slot is in schema.sql, as functions:
one statement could not look at who has the slots after it has waited for its turn."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flujo.kernel.backend import FleetLimit, SlotRequest, Slots, SlotUse

from .connection import Connection

NEWS = "slots"
"""What a notification says that is about slots or limits, and not about requests or runs."""

TELL = f"SELECT pg_notify(channel, '{NEWS}') FROM unnest($1::text[]) AS channel"

FORGET = "DELETE FROM @.slots WHERE kernel = $1"

_SET = "SELECT @.set_limit($1, $2)"

_EXCHANGE = """
SELECT * FROM @.exchange_slots($1, $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])"""

_LIMITS = """
SELECT l.name, l.slots, s.granted_at IS NOT NULL, s.kernel, k.host_name, s.run_id, s.uid, s.step,
    extract(epoch FROM clock_timestamp() - coalesce(s.granted_at, s.asked_at))::float8
FROM @.limits l LEFT JOIN (
    @.slots s JOIN @.kernels k ON k.kernel = s.kernel AND k.dead_at IS NULL AND k.closed_at IS NULL
) ON s.name = l.name
WHERE l.slots IS NOT NULL ORDER BY l.name, s.granted_at, s.id"""


async def set_limit(name: str, slots: int | None, connection: Connection) -> int | None:
    """Give a limit so many slots; return how many it had."""
    ((before,),) = await connection.fetch(_SET, name, slots)
    return None if before is None else int(before)


class Exchange:
    """One exchange of slots, and what it says beside them."""

    def __init__(self, owner: str, asked: Sequence[SlotRequest], given_back: Collection[int]) -> None:
        columns = zip(*asked, strict=True) if asked else ((),) * 5
        numbers, names, *places = map(list, columns)
        self._values = owner, list(given_back), numbers, names, *places
        self.tell: list[str] = []
        """The other kernels that have got slots by it."""

        self.limits_set = 0

    async def make(self, connection: Connection) -> Slots:
        """Make it; a repeat makes nothing new."""
        limits: dict[str, int] = {}
        granted: list[int] = []
        for kind, name, number in await connection.fetch(_EXCHANGE, *self._values):
            match kind:
                case "limit":
                    limits[name] = number
                case "has":
                    granted.append(number)
                case "tell":
                    self.tell.append(name)
                case "set":
                    self.limits_set = number
        return Slots(limits, granted)


async def limits(connection: Connection) -> list[FleetLimit]:
    """Return every limit, with who has its slots and who waits for one."""
    found: dict[tuple[str, int], tuple[list[SlotUse], list[SlotUse]]] = {}
    for name, slots, is_granted, *use in await connection.fetch(_LIMITS):
        held, waiting = found.setdefault((name, slots), ([], []))
        if use[0] is not None:
            (held if is_granted else waiting).append(SlotUse(*use))
    return [FleetLimit(*limit, *users) for limit, users in found.items()]
