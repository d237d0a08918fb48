"""Who works on a store that several hosts share."""

from __future__ import annotations

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
