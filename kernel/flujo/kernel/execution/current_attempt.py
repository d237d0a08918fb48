"""What a step's body can know of itself, and what it may return besides a value."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from functools import cache
from typing import Any, NamedTuple

from flujo.kernel.lifetimes import is_inside
from flujo.kernel.loops import this_loop
from flujo.kernel.traces import TraceContext, of_attempt

from .subprocesses import Children

logger = logging.getLogger("flujo.kernel")

Report = Callable[[str | None, float, float | None, str | None, Mapping[str, float]], None]
"""Takes a step's key, or None for the run as a whole, and what it says of its progress."""


Redacted = Callable[[str], None]


def _noted_nowhere(step: str) -> None:
    pass


class Attempt(NamedTuple):
    """The attempt a body runs in, from `current_attempt()`.

    `idempotency_key` is `run_id/step@generation`: the same for every attempt of one generation, so that a service that
    remembers it can tell a repeat from a new request.
    """

    run_id: str
    uid: str
    step: str
    generation: int
    attempt: int
    children: Children
    report: Report
    run_span: TraceContext | None = None
    """The span of the run, if whoever started it is traced."""
    redacted: Redacted = _noted_nowhere
    """Takes the key of a step that secrets were cut out of."""

    def progress(self, done: float, total: float | None = None, message: str | None = None, **metrics: float) -> None:
        """Say how far this step is, in units of its own, with whatever else can be counted.

        At most one report per second is recorded, and always the last one. May be called from a plain `def` as well.
        Raises InvalidValueError for numbers that are none."""
        self.report(self.step, done, total, message, metrics)

    def note_redaction(self) -> None:
        """Note that secrets were cut out of what is recorded of this step, which its outcome tells."""
        self.redacted(self.step)

    @property
    def idempotency_key(self) -> str:
        return f"{self.run_id}/{self.step}@{self.generation}"

    def environment(self) -> dict[str, str]:
        """Return the variables that a child process of this attempt gets; by them it is also found after a crash."""
        return {
            "FLUJO_RUN_ID": self.run_id,
            "FLUJO_RUN_UID": self.uid,
            "FLUJO_STEP": self.step,
            "FLUJO_ATTEMPT": str(self.attempt),
            "FLUJO_IDEMPOTENCY_KEY": self.idempotency_key,
            **({} if self.traceparent is None else {"TRACEPARENT": self.traceparent}),
        }

    @property
    def traceparent(self) -> str | None:
        """The span of this attempt in the words of W3C Trace Context, if whoever started the run is traced."""
        if self.run_span is None:
            return None
        return of_attempt(self.run_span, self.uid, self.step, self.generation, self.attempt).header


_current: ContextVar[Attempt | None] = ContextVar("flujo_attempt", default=None)


class _UnknownAttempt(Attempt):
    """Stands for the attempt of a thread that a body may have made itself, of which Python does not tell whose it is.

    What it reports is left out, with one warning, and fails no step. Nothing else is known of it."""

    def __getattribute__(self, name: str) -> Any:
        if name == "progress":
            return _leave_out
        if name.startswith("__"):
            return super().__getattribute__(name)
        raise RuntimeError(f"current_attempt().{name} is not known in a thread of your own: {_HAND_ON}")


_HAND_ON = "call current_attempt() in the body of the step, and hand what it returns on to the thread"
_UNKNOWN = tuple.__new__(_UnknownAttempt)


@cache  # so that it is said once
def _warn() -> None:
    logger.warning("progress that is reported by a thread of your own is left out: %s", _HAND_ON)


def _leave_out(done: float, total: float | None = None, message: str | None = None, **metrics: float) -> None:
    _warn()


def current_attempt() -> Attempt:
    """Return the attempt this code runs in; raises RuntimeError outside of a step's body.

    A thread that a body has made itself has to be given the attempt. What it gets here can only be told of progress,
    which is left out."""
    attempt = _current.get()
    if attempt is None:
        if _is_thread_of_users():
            return _UNKNOWN
        raise RuntimeError("current_attempt() was called outside of a step")
    return attempt


def _is_thread_of_users() -> bool:
    """True in a thread that neither is the main one nor runs the event loop of a kernel."""
    if threading.current_thread() is threading.main_thread():
        return False
    try:
        this_loop()
    except RuntimeError:
        return True
    return not is_inside()


def in_attempt() -> bool:
    """True if this code runs in a step's body."""
    return _current.get() is not None


enter_attempt: Callable[[Attempt], Token[Attempt | None]] = _current.set
"""Make an attempt the current one in this context, which is that of its body alone."""


def account() -> tuple[str, str] | None:
    """Name the run (its uid) and the step that the commands started here are charged to; None outside of a body."""
    attempt = _current.get()
    return None if attempt is None else (attempt.uid, attempt.step)


def leave_every_attempt() -> None:
    """This task is not part of the attempt that started it."""
    _current.set(None)


class Wait(NamedTuple):
    """A body that returns this ends its attempt, and the step then waits durably, with nothing kept running.

    With `signal` the step completes with the payload of the oldest untaken signal of that name and fails with a
    TimeoutError after `seconds`, if given; without, it completes with null after `seconds`.
    """

    seconds: float | None = None
    signal: str | None = None

    @property
    def kind(self) -> str:
        """Return the kind of step that waits so."""
        return "sleep" if self.signal is None else "signal"
