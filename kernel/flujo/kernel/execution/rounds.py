"""A step that is performed round by round, with pauses between, until its result is as wanted.

Rounds and pauses are items of the step, in turn: `poll[0]` is the first round, `poll[1]` the pause behind it. So each
has a record of its own, none is a failure of the step, and the step itself has an outcome once the last one has: a
graph can tell from the record whether it has come to its end, whichever task performs it (docs/adr/0031-*.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from flujo.kernel.errors import StepFailed
from flujo.kernel.journal.state import SETTLED, Failure
from flujo.kernel.keys import item_key

from .attempt_runner import Body, Described, Failed, StepOptions
from .current_attempt import Wait
from .live_run import LiveRun
from .step_runner import StepRunner


class Rounds(NamedTuple):
    """How a step is performed round by round.

    `body` makes the body of a round, whose number counts from 1, with the `options` of all. `is_last` says of what a
    round has returned whether it is what the step returns; it is asked again on a replay. Between two rounds it waits
    for `pause_seconds`."""

    body: Callable[[int], Body]
    options: StepOptions
    is_last: Callable[[Any], Awaitable[bool]]
    pause_seconds: float


class RoundsRunner:
    """Performs one step round by round. One owner: the call that has made it."""

    def __init__(self, run: LiveRun, steps: StepRunner, key: str, rounds: Rounds) -> None:
        self._run = run
        self._steps = steps
        self._key = key
        self._rounds = rounds
        self._next = 0  # the index of what comes next
        self._result: tuple[Any] | None = None
        self._problem: Exception | None = None

    async def perform(self) -> Any:
        """Return what the last round has returned; raises StepFailed."""
        step = self._run.state.steps.get(self._key)
        if step is None or step.status not in SETTLED:
            await self._go_through_the_record()
        return await self._steps.loop(self._key, self._work)

    async def _go_through_the_record(self) -> None:
        """Take what is recorded of rounds and pauses in its order, before anything new may begin."""
        steps = self._run.state.steps
        try:
            while self._result is None:
                recorded = steps.get(item_key(self._key, self._next))
                if recorded is None or recorded.status not in SETTLED:
                    return
                await self._advance()
        except Exception as error:
            self._problem = error

    async def _work(self) -> Any:
        try:
            if self._problem is not None:
                raise self._problem
            while self._result is None:
                await self._advance()
        except StepFailed as failure:  # of a round: it is the failure of the step
            told = Failure(failure.type, failure.error, self._key, failure.attempt)
            raise Described(Failed(told, ())) from failure
        return self._result[0]

    async def _advance(self) -> None:
        """Perform the next round, or the pause behind the last one."""
        index, self._next = self._next, self._next + 1
        key = item_key(self._key, index)
        if index % 2:
            await self._steps.wait(key, Wait(self._rounds.pause_seconds))
            return
        result = await self._steps.perform(key, self._rounds.body(index // 2 + 1), self._rounds.options)
        if await self._rounds.is_last(result):
            self._result = (result,)
