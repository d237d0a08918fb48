"""The root of all errors that flujo raises on purpose."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_SHARED_REASONS = ("INTERNAL", "INVALID_FIELD", "PAYLOAD_INVALID", "PAYLOAD_TOO_LARGE", "STEP_FAILED")
"""Reasons of several classes, which therefore give no class its code."""


class FlujoError(Exception):
    """An error that flujo raises on purpose. `str(error)` says what happened, `hints` says what to try."""

    reason = "INTERNAL"
    """What the error is called over gRPC; several classes may share one."""

    reason_code = "internal"
    """What the error is called by people, as in `error[run-not-found]: …`. No two classes that a user meets share one,
    and none changes from release to release: docs/errors.md lists them."""

    retry_after_seconds: float | None = None
    """How long whoever failed asks to be left alone: the next attempt of a step that fails with this error waits at
    least as long."""

    tells_causes = False
    """True for an error that stands for one of another place, and brings along what that was raised from: the record
    tells it. Of other errors of flujo the message says all."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "reason_code" not in vars(cls):
            has_its_own = "reason" in vars(cls) and cls.reason not in _SHARED_REASONS
            cls.reason_code = cls.reason.lower().replace("_", "-") if has_its_own else _in_words(cls.__name__)

    def __init__(self, message: str, hints: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hints)


_LONGEST_SHOWN = 100
"""Characters of a value that a message shows."""

_MOST_BITS = 300


def shown(value: object) -> str:
    """Return what a message shows of a value that was refused, which may be of any size, and any object: its repr,
    cut, or that of its class where it has none."""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return "a number of more digits than can be shown"
    try:
        text = repr(value)
    except Exception:  # of an object of the user's, or of such a number in a list
        text = repr(type(value))
    return text if len(text) <= _LONGEST_SHOWN + 2 else f"{text[:_LONGEST_SHOWN]}…"


def _in_words(class_name: str) -> str:
    """Return `outside-workspace` for `OutsideWorkspaceError`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", class_name.removesuffix("Error")).lower()
