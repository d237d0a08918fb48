"""The waits for signals of one live run: which steps wait for which name, and what payload each of them can read.

A signal goes to the first wait of its name that can read it. One that no wait of its name can read is refused before it
is recorded, while its sender can still be told; a wait that finds one in the journal sets it aside (step_runner.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from flujo.kernel.codecs import Codec
from flujo.kernel.errors import InvalidValueError, SignalMisfitError
from flujo.kernel.journal.events import SignalReceived
from flujo.kernel.journal.failures import MAX_MESSAGE, bounded
from flujo.kernel.journal.state import StepStatus, WorkflowState

PATIENCE_SECONDS = 1.0
"""How long a sender waits for a program that has just come back into memory to reach its wait."""


class SignalWaits:
    """The waits of one live run. Which steps wait is in its state; what they can read is known once the program has
    reached them in this life."""

    def __init__(self, state: WorkflowState) -> None:
        self._state = state
        self._codecs: dict[str, Codec] = {}  # by key of the step
        self._arrived: dict[str, anyio.Event] = {}
        self._reached: anyio.Event | None = None  # if somebody waits for the program to reach a wait
        self._is_left = False

    @contextmanager
    def waiting(self, name: str, key: str, codec: Codec) -> Iterator[None]:
        """Inside, the program is at the wait of the step `key` for a signal of this name."""
        self._codecs[key] = codec
        if self._reached is not None:
            self._reached.set()
            self._reached = None
        try:
            yield
        finally:
            self.wake(name)  # another wait may have left a signal to this one

    def leave(self) -> None:
        """Have nobody wait any longer for the program to reach a wait: it is stopped."""
        self._is_left = True
        if self._reached is not None:
            self._reached.set()

    def wake(self, name: str) -> None:
        """Have every wait of this name look again."""
        if (arrived := self._arrived.pop(name, None)) is not None:
            arrived.set()

    async def until_woken(self, name: str) -> None:
        """Return when another signal of this name has been received, or another wait has left one."""
        await self._arrived.setdefault(name, anyio.Event()).wait()

    async def until_reached(self, name: str) -> None:
        """Return when the program has reached every wait for this signal that is recorded, or is not going to soon."""
        with anyio.move_on_after(PATIENCE_SECONDS):
            while not self._is_left and self._ahead(name):
                self._reached = self._reached or anyio.Event()
                await self._reached.wait()

    def may_be_read(self, name: str, payload: str) -> bool:
        """True if some wait of this name can read a payload, or if the program has not reached all of them yet."""
        return bool(self._ahead(name)) or any(
            _misfit(self._codecs[key], payload) is None for key in self._waiting_steps(name)
        )

    def require_fit(self, signal: SignalReceived) -> None:
        """Raise SignalMisfitError for a signal that the run waits for, with a payload that no wait of its name can
        read."""
        waiting = self._waiting_steps(signal.name)
        is_for_later = len(self._state.signals.get(signal.name, ())) >= len(waiting)
        if is_for_later or self.may_be_read(signal.name, signal.payload):
            return
        codec = self._codecs[waiting[0]]
        if (misfit := _misfit(codec, signal.payload)) is not None:
            raise SignalMisfitError(
                self._state.run_id,
                signal.name,
                bounded(misfit.path, MAX_MESSAGE),
                bounded(misfit.problem, MAX_MESSAGE),
                codec.fits,
            ) from misfit

    def _waiting_steps(self, name: str) -> list[str]:
        """Return the keys of the steps that wait for this signal by the journal."""
        steps = self._state.open_steps()
        return [step.name for step in steps if step.status is StepStatus.WAITING and step.signal == name]

    def _ahead(self, name: str) -> list[str]:
        """Return those of them that the program has not reached in this life."""
        return [key for key in self._waiting_steps(name) if key not in self._codecs]


def _misfit(codec: Codec, payload: str) -> InvalidValueError | None:
    try:
        codec.decode(payload)
    except InvalidValueError as error:
        return error
    return None
