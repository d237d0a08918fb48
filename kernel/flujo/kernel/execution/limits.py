"""Whose turn it is to run a step's body, where no more than so many may run at once.

A kernel may have a general limit (`max_steps`), and limits with names for the steps that ask for one. A step takes a
slot of each limit it is under right before an attempt, and gives them back when the body has ended. The named one comes
first, for everybody: so a step that waits for "db" holds no general slot, and nobody waits in a circle.

    take        while there is room, at once; the path that steps take as a rule
    line_up     otherwise a `Turn`: a place in the line of the limit, first come, first served
    give_back   the slot goes to the first in line in the same instant; it is free only when nobody waits
    leave       the run leaves memory, and its turn goes on through the lines by itself; the run is called when it has
                come, and finds it where it asks for a slot again

Nothing of it is recorded. Nothing here waits, so that no slot can be lost between two instants.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import anyio


class Limit:
    """How many slots are free, and who waits for one: nobody while one is free."""

    __slots__ = ("free", "line", "name")

    def __init__(self, name: str | None, size: int) -> None:
        if size < 1:
            raise ValueError(f"the limit {name or 'max_steps'!r} must be at least 1, not {size}")
        self.name = name  # None: the general one
        self.free = size
        self.line: OrderedDict[Turn, None] = OrderedDict()


class Turn:
    """One step on its way to a slot of each of its limits: it has those of the first `held`, and waits for the next."""

    __slots__ = ("called", "held", "limits", "run_id", "step", "uid")

    def __init__(self, run_id: str, uid: str, step: str, limits: Sequence[Limit]) -> None:
        self.run_id = run_id
        self.uid = uid
        self.step = step
        self.limits = limits
        self.held = 0
        self.called = anyio.Event()  # for whoever waits in memory: it has come, or the run stops

    def __repr__(self) -> str:
        return f"<turn of {self.step} in {self.run_id}, {self.held} of {len(self.limits)} slots>"

    @property
    def has_come(self) -> bool:
        """It has all its slots."""
        return self.held == len(self.limits)

    @property
    def waits_for(self) -> str | None:
        """The name of the limit it stands in line for; None for the general one."""
        return None if self.has_come else self.limits[self.held].name


class Turns:
    """The limits of one kernel."""

    def __init__(self, max_steps: int | None, named: Mapping[str, int]) -> None:
        """Raises ValueError for a limit below 1."""
        self._general = () if max_steps is None else (Limit(None, max_steps),)
        self._named = {name: (Limit(name, size), *self._general) for name, size in named.items()}
        self.has_limits = bool(self._general or self._named)
        self.left: dict[str, Turn] = {}  # by uid: the turns of runs that have left memory and not asked again yet
        self.call: Callable[[Turn], None] = lambda turn: None  # told of every such turn that has come

    def limits_of(self, name: str | None) -> tuple[Limit, ...]:
        """What a step with this limit, or with None, is under. A name the kernel was not given bounds nothing."""
        return self._named.get(name, self._general) if name is not None else self._general

    def take(self, uid: str, limits: Sequence[Limit]) -> bool:
        """Take a slot of each limit, if there is room and the run has no turn waiting for it."""
        if self.left and uid in self.left:
            return False
        for limit in limits:
            if not limit.free:
                return False
        for limit in limits:
            limit.free -= 1
        return True

    def give_back(self, limits: Sequence[Limit]) -> None:
        """Let the next in each line have the slot."""
        for limit in limits:
            if limit.line:
                turn, _ = limit.line.popitem(last=False)
                turn.held += 1
                self._advance(turn)
            else:
                limit.free += 1

    def line_up(self, run_id: str, uid: str, step: str, limits: Sequence[Limit]) -> Turn:
        """The turn that the run has left here, if it was for the same; otherwise a new one, at the end of the line."""
        turn = self.left.pop(uid, None)
        if turn is not None and turn.limits is limits:
            turn.step, turn.called = step, anyio.Event()
            return turn
        if turn is not None:
            self.give_up(turn)
        turn = Turn(run_id, uid, step, limits)
        self._advance(turn)
        return turn

    def leave(self, turn: Turn) -> None:
        """The run leaves memory; its turn stays."""
        self.left[turn.uid] = turn

    def forget(self, uid: str) -> None:
        """The run does not come back for the turn it has left here, if it has."""
        if (turn := self.left.pop(uid, None)) is not None:
            self.give_up(turn)

    def give_up(self, turn: Turn) -> None:
        """Leave the line, and give back what the turn had. Doing it twice does it once."""
        if not turn.has_come:
            del turn.limits[turn.held].line[turn]
        held, turn.limits, turn.held = turn.limits[: turn.held], (), 0
        self.give_back(held)

    def _advance(self, turn: Turn) -> None:
        """Take what is free, up to the first limit without room."""
        while not turn.has_come:
            limit = turn.limits[turn.held]
            if not limit.free:
                limit.line[turn] = None
                return
            limit.free -= 1
            turn.held += 1
        turn.called.set()
        if self.left.get(turn.uid) is turn:
            self.call(turn)
