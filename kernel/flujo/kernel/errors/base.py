"""The root of all errors that flujo raises on purpose."""

from __future__ import annotations

from collections.abc import Iterable


class FlujoError(Exception):
    """An error that flujo raises on purpose. `str(error)` says what happened, `hints` says what to try."""

    reason = "INTERNAL"

    retry_after_seconds: float | None = None
    """How long whoever failed asks to be left alone: the next attempt of a step that fails with this error waits at
    least as long."""

    def __init__(self, message: str, hints: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hints)
