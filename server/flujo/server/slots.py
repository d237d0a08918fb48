"""How many calls a server is at work on at a time, so that what reads leaves room for what acts.

    waiting    WatchRun, WatchRuns and WaitRun, which stay for long
    reading    the other calls that need the role viewer: together with those that wait, they leave some slots free
    acting     all others

Calls of the health service are not counted. gRPC's own limit is above these, and so never met by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from flujo.kernel.errors import ServerBusyError

from .access import RULES
from .tokens import Role

WAITING = ("/flujo.v1.RunService/WatchRun", "/flujo.v1.RunService/WatchRuns", "/flujo.v1.RunService/WaitRun")


class CallLimits(NamedTuple):
    """How many calls at a time, in all; of those, how many that wait; how many are kept for calls that act; and how
    many of one caller, where callers are told apart."""

    max_calls: int = 2000
    max_waiting_calls: int = 1600
    kept_for_acting: int = 100
    max_calls_per_caller: int = 1000


DEFAULT_LIMITS = CallLimits()


class Slots:
    """Counts the calls that a server is at work on."""

    def __init__(self, limits: CallLimits) -> None:
        self.limits = limits
        self._calls = 0
        self._waiting = 0
        self._of_callers: Counter[str] = Counter()

    @contextmanager
    def of_caller(self, principal: str | None) -> Iterator[None]:
        """Hold a slot of a caller inside the block; raises ServerBusyError when there is none left for that one."""
        if principal is None:
            yield
            return
        if self._of_callers[principal] >= self.limits.max_calls_per_caller:
            raise ServerBusyError("max_calls_per_caller", self.limits.max_calls_per_caller)
        self._of_callers[principal] += 1
        try:
            yield
        finally:
            self._of_callers[principal] -= 1
            if not self._of_callers[principal]:
                del self._of_callers[principal]

    @contextmanager
    def taken(self, method: str) -> Iterator[None]:
        """Hold a slot inside the block; raises ServerBusyError when there is none for this method."""
        limits, waits = self.limits, method in WAITING
        if waits and self._waiting >= limits.max_waiting_calls:
            raise ServerBusyError("max_waiting_calls", limits.max_waiting_calls)
        reads = RULES.get(method) is Role.VIEWER
        if self._calls >= limits.max_calls - (limits.kept_for_acting if reads else 0):
            raise ServerBusyError("max_calls", limits.max_calls)
        self._calls += 1
        self._waiting += waits
        try:
            yield
        finally:
            self._calls -= 1
            self._waiting -= waits
