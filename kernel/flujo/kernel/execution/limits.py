"""Limits on how many step bodies run at once, and the lines of the steps that wait for a slot.

A kernel may have a general limit (`max_steps`), and limits with names for the steps that ask for one. A step takes a
slot of each limit it is under right before an attempt, and releases them when the body has ended. Every step takes the
slot of its named limit first: so a step that waits for "db" holds no general slot, and no two steps wait for each
other (tests/kernel/execution/test_limits.py plays random histories against that).

    try_acquire  takes the slots at once while there is room; the path that steps take as a rule
    enqueue      otherwise makes a `Ticket`: a place in the line of the limit, first come, first served
    release      hands each slot to the first ticket in line in the same instant; a slot is free only while no ticket
                 waits for it
    park         keeps the ticket of a run that leaves memory: it moves up by itself, `on_granted` is told when it has
                 all its slots, and the run finds it where it enqueues again

The journal holds nothing of this. Nothing here waits, so no slot is lost between two instants.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import anyio


class Limit:
    """One limit: how many slots are free, and the tickets that wait for one. None waits while a slot is free."""

    __slots__ = ("free", "line", "name")

    def __init__(self, name: str | None, size: int) -> None:
        if size < 1:
            raise ValueError(f"the limit {name or 'max_steps'!r} must be at least 1, not {size}")
        self.name = name  # None: the general one
        self.free = size
        self.line: OrderedDict[Ticket, None] = OrderedDict()


class Ticket:
    """One step on its way to a slot of each of its limits: it holds the slots of the first `held` and waits for the
    next."""

    __slots__ = ("held", "limits", "run_id", "step", "uid", "woken")

    def __init__(self, run_id: str, uid: str, step: str, limits: Sequence[Limit]) -> None:
        self.run_id = run_id
        self.uid = uid
        self.step = step
        self.limits = limits
        self.held = 0
        self.woken = anyio.Event()  # set for the step that waits in memory: the ticket is granted, or the run stops

    def __repr__(self) -> str:
        return f"<ticket of {self.step} in {self.run_id}, {self.held} of {len(self.limits)} slots>"

    @property
    def is_granted(self) -> bool:
        """True once the ticket holds a slot of each of its limits."""
        return self.held == len(self.limits)

    @property
    def waits_for(self) -> str | None:
        """Return the name of the limit in whose line the ticket stands; None for the general one."""
        return None if self.is_granted else self.limits[self.held].name


class Limiter:
    """The limits of one kernel."""

    def __init__(
        self,
        max_steps: int | None,
        named: Mapping[str, int],
        on_granted: Callable[[Ticket], None] = lambda ticket: None,
    ) -> None:
        """`on_granted` is told of every parked ticket that has got all its slots. Raises ValueError for a limit below
        1."""
        self._on_granted = on_granted
        self._general = () if max_steps is None else (Limit(None, max_steps),)
        self._named = {name: (Limit(name, size), *self._general) for name, size in named.items()}
        self.has_limits = bool(self._general or self._named)
        self.parked: dict[str, Ticket] = {}  # by uid: tickets of runs that have left memory and not enqueued again yet

    def limits_of(self, name: str | None) -> tuple[Limit, ...]:
        """Return the limits of a step that names this one, or of one that names none. A name that the kernel was not
        given bounds nothing."""
        return self._named.get(name, self._general) if name is not None else self._general

    def try_acquire(self, uid: str, limits: Sequence[Limit]) -> bool:
        """Take a slot of each limit and return True; take none without room, or while a ticket of the run is parked."""
        if self.parked and uid in self.parked:
            return False
        for limit in limits:
            if not limit.free:
                return False
        for limit in limits:
            limit.free -= 1
        return True

    def release(self, limits: Sequence[Limit]) -> None:
        """Hand a slot of each limit to the first ticket in its line, or set it free."""
        for limit in limits:
            if limit.line:
                ticket, _ = limit.line.popitem(last=False)
                ticket.held += 1
                self._advance(ticket)
            else:
                limit.free += 1

    def enqueue(self, run_id: str, uid: str, step: str, limits: Sequence[Limit]) -> Ticket:
        """Return the ticket that the run has parked, if it was for the same limits; otherwise a new one, at the end of
        the line."""
        ticket = self.parked.pop(uid, None)
        if ticket is not None and ticket.limits is limits:
            ticket.step, ticket.woken = step, anyio.Event()
            return ticket
        if ticket is not None:
            self.withdraw(ticket)
        ticket = Ticket(run_id, uid, step, limits)
        self._advance(ticket)
        return ticket

    def park(self, ticket: Ticket) -> None:
        """Keep the ticket of a run that leaves memory."""
        self.parked[ticket.uid] = ticket

    def forget(self, uid: str) -> None:
        """Withdraw the ticket that a run has parked, if it has: the run does not come back for it."""
        if (ticket := self.parked.pop(uid, None)) is not None:
            self.withdraw(ticket)

    def withdraw(self, ticket: Ticket) -> None:
        """Take a ticket out of its line and release the slots it holds. Withdrawing it again changes nothing."""
        if not ticket.is_granted:
            del ticket.limits[ticket.held].line[ticket]
        held, ticket.limits, ticket.held = ticket.limits[: ticket.held], (), 0
        self.release(held)

    def _advance(self, ticket: Ticket) -> None:
        """Give a ticket what is free, up to the first limit without room."""
        while not ticket.is_granted:
            limit = ticket.limits[ticket.held]
            if not limit.free:
                limit.line[ticket] = None
                return
            limit.free -= 1
            ticket.held += 1
        ticket.woken.set()
        if self.parked.get(ticket.uid) is ticket:
            self._on_granted(ticket)
