"""Delivering recorded outcomes to a program in the order they were recorded.

The order in which concurrent steps finished is part of a run's history: a program that reacts to the first one must
see the same first one again, or it takes another path. So a replayed outcome waits for its place. If it is the next one
in the journal it is delivered at once; otherwise a dispatcher, a task that exists only while a step waits, delivers one
after the other and gives the program a few scheduler ticks to react to each. A step that has no outcome yet comes last.

A step that its program cancelled has its place too: the moment in which the program cancels it again.

A program whose code has changed may never ask for the next outcome. After `IDLE_TICKS` in which it asked for nothing,
the dispatcher skips what is not asked for, so that nothing hangs."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, NoReturn

import anyio
from anyio.lowlevel import checkpoint

from flujo.kernel.journal.state import StepStatus, WorkflowState

IDLE_TICKS = 50
REACTION_TICKS = 5
YIELD_EVERY = 200  # outcomes handed out without a pause, so that a long history does not stall the event loop

_ORDERED = (StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.CANCELLED)

LAST = 2**63  # the place of what is not recorded yet


class Replay:
    """The outcomes that are still to be delivered to one program, in journal order."""

    def __init__(self, state: WorkflowState, spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], None]) -> None:
        # A skip is decided anew without waiting for anything, so its outcome may never be asked for.
        # Nobody asks for the items of a loop that has an outcome.
        asked_for = (
            step.settled_seq
            for step in state.steps.values()
            if step.status in _ORDERED and not (step.name[-1] == "]" and state.has_settled_loop(step.name))
        )
        self._due = deque(sorted(seq for seq in asked_for if seq is not None))
        self._asked: list[tuple[int, int, anyio.Event]] = []
        self._tiebreak = count()
        self._skipped: deque[int] = (
            deque()
        )  # outcomes that were skipped, in order: the program has not asked for them yet
        self._lanes = dict.fromkeys(self._due, self._due)  # outcome → the lane in which it keeps its order
        self._awaited: dict[int, anyio.Event] = {}  # cancellations that the program is about to repeat
        self._unclaimed: set[int] = set()  # those of them that the program has still not asked for
        self._spawn = spawn
        self._dispatching = False
        self._stopped = False
        self._in_a_row = 0

    @property
    def over(self) -> bool:
        """True once everything recorded has been delivered or skipped."""
        return not self._due

    @property
    def has_skipped_some(self) -> bool:
        """True if an outcome was skipped that the program has not asked for."""
        return bool(self._unclaimed)

    async def until_due(self, seq: int = LAST) -> None:
        """Return once the outcome recorded as event `seq` may be delivered; by default, once a step without an outcome
        may make new history. Returns at once when stopped."""
        if self._stopped:
            return
        if not self._asked and self._is_next(seq):
            self._in_a_row += 1
            if self._in_a_row % YIELD_EVERY == 0:
                with anyio.CancelScope(shield=True):
                    await checkpoint()  # before it is delivered: after that, the next one could be seen first
            self._deliver(seq)
            return
        called = anyio.Event()
        insort(self._asked, (seq, next(self._tiebreak), called))
        if not self._dispatching:
            self._dispatching = True
            self._spawn(self._dispatch)
        # What is recorded was delivered when it was recorded, even if the program had just cancelled the scope around
        # it: of two steps that ended in one tick, the first may have won, and yet both were seen.
        with anyio.CancelScope(shield=seq != LAST):
            await called.wait()

    async def await_recorded_cancellation(self, seq: int) -> NoReturn:
        """Wait, as the program did, until it cancels the step whose cancellation is event `seq`.

        What is recorded behind it has to wait as long, since the program reacted to it later: a deadline of the
        program's own takes its time again."""
        left = self._awaited[seq] = anyio.Event()
        try:
            await anyio.sleep_forever()
        finally:
            del self._awaited[seq]
            if seq in (lane := self._lanes.pop(seq, self._due)):
                lane.remove(seq)
            left.set()
        raise AssertionError("sleep_forever() has returned")

    def is_unasked(self, seq: int) -> bool:
        """True while the outcome recorded as event `seq` has not been delivered."""
        return seq in self._unclaimed or seq in self._due

    def stop(self) -> None:
        """Let every step go on that waits: the program is told to unwind."""
        self._stopped = True
        for _, _, called in self._asked:
            called.set()
        self._asked.clear()

    def _is_next(self, seq: int) -> bool:
        lane = self._lanes.get(seq, self._due)
        return not lane or lane[0] >= seq

    def _deliver(self, seq: int) -> None:
        """Take an outcome out of its lane. What stands before it is skipped and keeps its order in a lane of its own: a
        step in the midst of a history may run anew, and what follows on it comes when that has ended."""
        lane = self._lanes.pop(seq, self._due)
        if lane is self._skipped:
            lane.remove(seq)
        while lane is self._due and lane and lane[0] <= seq:
            if (due := lane.popleft()) != seq:
                self._skipped.append(due)
                self._lanes[due] = self._skipped
                self._unclaimed.add(due)
        self._unclaimed.discard(seq)

    def _next_asked(self) -> tuple[int, int, anyio.Event] | None:
        """Return the first one that is asked for and due."""
        return next((asked for asked in self._asked if self._is_next(asked[0])), None)

    async def _dispatch(self) -> None:
        try:
            idle, seen = 0, -1
            while self._asked:
                await checkpoint()
                if self._due and (awaited := self._awaited.get(self._due[0])):
                    await awaited.wait()
                    idle, seen = 0, -1
                    for _ in range(REACTION_TICKS):
                        await checkpoint()
                if not self._asked:
                    return
                progress = len(self._asked)
                idle, seen = (idle + 1, seen) if progress == seen else (0, progress)
                asked = self._next_asked() or (self._asked[0] if idle >= IDLE_TICKS else None)
                if asked is not None:
                    seq, _, called = asked
                    self._asked.remove(asked)
                    self._deliver(seq)
                    called.set()
                    idle, seen = 0, -1
                    for _ in range(REACTION_TICKS):
                        await checkpoint()
        finally:
            self._dispatching = False
