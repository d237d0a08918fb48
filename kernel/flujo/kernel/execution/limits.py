"""Limits on how many step bodies run at once, and the lines of the steps that wait for a slot.

A kernel may have a general limit (`max_steps`), and limits with names for the steps that ask for one; a fleet may have
limits with names for all its kernels (ownership/fleet_limits.py). A step takes a slot of each limit it is under right
before an attempt, and releases them when the body has ended. Every step takes the slot of the kernel's named limit
first, then that of the fleet's, then the general one: so a step that waits for "db" holds no general slot, and no two
steps wait for each other (tests/kernel/execution/test_limits.py plays random histories against that).

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
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count

import anyio

from flujo.kernel.store.fleet import SlotRequest


class Limit:
    """One limit: how many slots are free, and the tickets that wait for one. None waits while a slot is free."""

    __slots__ = ("free", "line", "name")

    def __init__(self, name: str | None, size: int) -> None:
        self.name = name  # None: the general one
        self.free = size
        self.line: OrderedDict[Ticket, None] = OrderedDict()

    def take(self, ticket: Ticket) -> bool:
        """Give a ticket a slot, or put it at the end of the line and return False."""
        if self.free:
            self.free -= 1
            return True
        self.line[ticket] = None
        return False

    def leave(self, ticket: Ticket) -> None:
        """Take a ticket out of the line."""
        del self.line[ticket]

    def give_back(self, ticket: Ticket | None) -> Ticket | None:
        """Take a slot back, and return the ticket that has it now; None if it is free."""
        if self.line:
            return self.line.popitem(last=False)[0]
        self.free += 1
        return None


class Ticket:
    """One step on its way to a slot of each of its limits: it holds the slots of the first `held` and waits for the
    next."""

    __slots__ = ("held", "limits", "number", "run_id", "step", "uid", "woken")

    def __init__(self, run_id: str, uid: str, step: str, limits: Sequence[Limit]) -> None:
        self.run_id = run_id
        self.uid = uid
        self.step = step
        self.limits = limits
        self.held = 0
        self.number = 0  # under which the store knows it, once it has asked for a slot of the fleet
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


class FleetLimit(Limit):
    """A limit of the whole fleet. The store has its slots, so none is ever free here: whoever wants one stands in line,
    and the desk asks for it."""

    __slots__ = ("_desk",)

    def __init__(self, name: str, desk: Desk) -> None:
        super().__init__(name, 1)
        self.free = 0
        self._desk = desk

    def take(self, ticket: Ticket) -> bool:
        self.line[ticket] = None
        self._desk.ask(str(self.name), ticket)
        return False

    def leave(self, ticket: Ticket) -> None:
        del self.line[ticket]
        self._desk.give_back(ticket)

    def give_back(self, ticket: Ticket | None) -> None:
        assert ticket is not None, "no slot of a fleet's limit is taken without a ticket"
        self._desk.give_back(ticket)


class Desk:
    """What this kernel wants of the fleet's limits, and gives back, until the store is told; and the tickets that the
    store has not given a slot yet."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._waiting: dict[int, Ticket] = {}  # by number
        self._asked: dict[int, SlotRequest] = {}
        self._given_back: list[int] = []
        self._noted = anyio.Event()

    @property
    def has_waiting(self) -> bool:
        """True while a ticket waits for a slot of the fleet."""
        return bool(self._waiting)

    @property
    def has_news(self) -> bool:
        """True if there is something to tell the store."""
        return bool(self._asked or self._given_back)

    def ask(self, limit: str, ticket: Ticket) -> None:
        """Note that a ticket wants a slot."""
        ticket.number = next(self._numbers)
        self._waiting[ticket.number] = ticket
        self._asked[ticket.number] = SlotRequest(ticket.number, limit, ticket.run_id, ticket.uid, ticket.step)
        self._noted.set()

    def give_back(self, ticket: Ticket) -> None:
        """Note that a ticket wants its slot no longer, whether it has it or not."""
        self._waiting.pop(ticket.number, None)
        if self._asked.pop(ticket.number, None) is None:
            self._given_back.append(ticket.number)
            self._noted.set()

    def call(self) -> None:
        """Have the store asked whatever there is to tell it."""
        self._noted.set()

    async def until_called(self) -> None:
        """Return once the store is to be asked."""
        await self._noted.wait()
        self._noted = anyio.Event()

    def take_news(self) -> tuple[Sequence[SlotRequest], Sequence[int]]:
        """Return the requests and the numbers of the slots to tell the store of, and note them as told."""
        news = [*self._asked.values()], self._given_back
        self._asked, self._given_back = {}, []
        return news

    def put_back(self, asked: Sequence[SlotRequest], given_back: Sequence[int]) -> None:
        """Note as not told what the store may not have heard. To tell it twice does no harm."""
        again = {each.number: each for each in asked if each.number in self._waiting}
        self._asked = again | self._asked
        self._given_back = [*given_back, *self._given_back]

    def granted(self, numbers: Collection[int]) -> list[Ticket]:
        """Return the tickets with these numbers that have waited until now."""
        return [self._waiting.pop(number) for number in sorted(numbers) if number in self._waiting]


class Limiter:
    """The limits of one kernel, and those of its fleet."""

    def __init__(
        self,
        max_steps: int | None,
        named: Mapping[str, int],
        on_granted: Callable[[Ticket], None] = lambda ticket: None,
    ) -> None:
        """`on_granted` is told of every parked ticket that has got all its slots."""
        self._on_granted = on_granted
        self._general = () if max_steps is None else (Limit(None, max_steps),)
        self._own = {name: Limit(name, size) for name, size in named.items()}
        self._named: dict[str, tuple[Limit, ...]] = {name: (own, *self._general) for name, own in self._own.items()}
        self._of_fleet: dict[str, FleetLimit] = {}
        self.desk = Desk()
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

    def share(self, names: Collection[str]) -> None:
        """Have the fleet's limits be those with these names, for whoever asks for a slot from now on."""
        if self._of_fleet.keys() == set(names):
            return
        self._of_fleet = {name: self._of_fleet.get(name) or FleetLimit(name, self.desk) for name in names}
        for name in {*self._named, *names}:
            of_each = self._own.get(name), self._of_fleet.get(name)
            limits = (*(limit for limit in of_each if limit is not None), *self._general)
            if self._named.get(name) != limits:  # the old one stays, or tickets would lose their places
                self._named[name] = limits
        self.has_limits = bool(self._general or any(self._named.values()))

    def grant(self, numbers: Collection[int]) -> None:
        """Give the tickets with these numbers the slots of the fleet that they wait for."""
        for ticket in self.desk.granted(numbers):
            del ticket.limits[ticket.held].line[ticket]
            ticket.held += 1
            self._advance(ticket)

    def release(self, limits: Sequence[Limit], ticket: Ticket | None = None) -> None:
        """Hand a slot of each limit to the first ticket in its line, or set it free. They were taken with this ticket,
        or at once."""
        for limit in limits:
            if (heir := limit.give_back(ticket)) is not None:
                heir.held += 1
                self._advance(heir)

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
            ticket.limits[ticket.held].leave(ticket)
        held, ticket.limits, ticket.held = ticket.limits[: ticket.held], (), 0
        self.release(held, ticket)

    def _advance(self, ticket: Ticket) -> None:
        """Give a ticket what is free, up to the first limit without room."""
        while not ticket.is_granted:
            if not ticket.limits[ticket.held].take(ticket):
                return
            ticket.held += 1
        ticket.woken.set()
        if self.parked.get(ticket.uid) is ticket:
            self._on_granted(ticket)
