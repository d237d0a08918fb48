"""Show on a terminal how many runs a command is through with."""

from __future__ import annotations

import sys
from typing import Any

from .session import Session

_MANY = 20
"""From so many runs on a terminal shows how far the command is."""


class Counter:
    """Shows on a terminal how many runs a command is through with, once they are many."""

    def __init__(self, session: Session, expected: int | None, word: str = "") -> None:
        self._is_shown = session.draws_on(sys.stderr) and (expected is None or expected >= _MANY)
        self._session, self._expected, self._word = session, expected, word
        self._progress: Any = None
        self._task: Any = None

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, total: int) -> None:
        """Show that the command is through with `total` runs."""
        if not self._is_shown:
            return
        if self._progress is None:
            from rich.progress import BarColumn, Progress, TextColumn

            from .display import console_of

            columns = [TextColumn(self._word), BarColumn(), TextColumn("{task.completed:.0f} runs")]
            self._progress = Progress(*columns, console=console_of(self._session), transient=True)
            self._task = self._progress.add_task("", total=self._expected)
            self._progress.start()
        self._progress.update(self._task, completed=total)
