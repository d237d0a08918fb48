"""Who works on a store that several hosts share, and how many of them at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple


class MemberState(StrEnum):
    """What a kernel of a fleet does."""

    ALIVE = "alive"
    """It advances its runs, and takes its share of what nobody has."""

    DRAINING = "draining"
    """It takes no new runs, and hands over those that wait; what it runs goes on. It was asked to, and ends."""

    DEAD = "dead"
    """Its lease is over, or its process has ended without a word. Others take its runs."""

    CLOSED = "closed"
    """It has ended in good order."""


class Member(NamedTuple):
    """A kernel that works on a store, or did not long ago, as the store knows it."""

    kernel: str
    host: str
    pid: int
    version: str
    state: MemberState
    runs: int
    """How many runs it has."""

    age_seconds: float
    """Since it has opened the store."""

    lease_left_seconds: float | None
    """After so long without a heartbeat it is dead; None for one that is gone."""

    gone_seconds: float | None
    """Since it is gone, as far as somebody has noticed."""

    @property
    def is_gone(self) -> bool:
        return self.state in (MemberState.DEAD, MemberState.CLOSED)


class SlotRequest(NamedTuple):
    """What a kernel asks for a step that counts against a limit of the fleet."""

    number: int
    """Tells it from all others of this kernel."""

    limit: str
    run_id: str
    uid: str
    step: str


class Slots(NamedTuple):
    """What a kernel has of the limits of its fleet."""

    limits: Mapping[str, int]
    """How many slots each limit has, by name."""

    granted: Collection[int]
    """The numbers of the requests of this kernel that have a slot, or need none: nobody has set such a limit."""


class SlotUse(NamedTuple):
    """A step that has a slot of a fleet's limit, or waits for one."""

    kernel: str
    host: str
    run_id: str
    uid: str
    step: str
    seconds: float
    """Since it has the slot, or since it waits."""


class FleetLimit(NamedTuple):
    """A limit of a fleet: how many of the steps that count against it are at work at once, in all its kernels."""

    name: str
    slots: int
    held: Sequence[SlotUse]
    """By steps that are at work, or about to begin; the longest first. More than there are slots where they have become
    fewer."""

    waiting: Sequence[SlotUse]
    """The first in line first."""
