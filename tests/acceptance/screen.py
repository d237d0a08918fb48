"""A terminal whose screen a test reads: a command on a pty, and an emulator that draws what it prints."""

from __future__ import annotations

import io
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pexpect

pyte: Any = import_module("pyte")  # it has no types


class Screen:
    """One command on a terminal of so many columns and rows."""

    def __init__(
        self, command: str, *, folder: Path, environment: Mapping[str, str], columns: int = 100, rows: int = 30
    ) -> None:
        self._child: Any = pexpect.spawn(
            "/bin/sh", ["-c", command], cwd=str(folder), env=dict(environment), dimensions=(rows, columns), timeout=60
        )
        self._child.delaybeforesend = None
        self._screen = pyte.HistoryScreen(columns, rows, history=2000)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        """All that the command has written."""

    @property
    def lines(self) -> list[str]:
        """What the screen shows now, without the blanks behind."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines)

    @property
    def everything(self) -> str:
        """What has scrolled out of the screen, and what it shows."""
        past = ["".join(row[column].data for column in range(self._screen.columns)) for row in self._screen.history.top]
        return "\n".join([*(line.rstrip() for line in past), *self.lines])

    def picture(self, title: str) -> str:
        """What the screen shows now, with its colours, as an SVG."""
        from rich.console import Console
        from rich.text import Text

        names = {"default": "", "brown": "yellow"}
        console = Console(record=True, width=self._screen.columns, file=io.StringIO(), force_terminal=True)
        last = max(number for number, line in enumerate(self.lines) if line)
        for row in range(last + 1):
            text = Text(no_wrap=True)
            for column in range(self._screen.columns):
                cell = self._screen.buffer[row][column]
                text.append(cell.data, style=names.get(cell.fg, cell.fg))
            console.print(text, soft_wrap=True)
        return console.export_svg(title=title, unique_id="flujo")

    def wait_for(self, shows: Callable[[Screen], bool], seconds: float = 30) -> None:
        """Draw what comes until the screen shows something; fails with the screen after so many seconds."""
        end = time.monotonic() + seconds
        while not shows(self):
            if time.monotonic() > end or not self._draw(0.1):
                assert shows(self), f"the screen is:\n{self.everything}"

    def press(self, key: str) -> None:
        """Press a key with control, as in press("c")."""
        self._child.sendcontrol(key)

    def type(self, text: str) -> None:
        """Type a text."""
        self._child.send(text)

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size, which the command is told."""
        self._screen.resize(rows, columns)
        self._child.setwinsize(rows, columns)

    def end(self) -> int:
        """Draw all that comes until the command has ended, and return its exit code."""
        while self._draw(60):
            pass
        self._child.close()
        return int(self._child.exitstatus if self._child.exitstatus is not None else -self._child.signalstatus)

    def close(self) -> None:
        """End a command that a test has left."""
        if self._child.isalive():
            os.killpg(os.getpgid(self._child.pid), signal.SIGKILL)
        self._child.close(force=True)

    def _draw(self, seconds: float) -> bool:
        """Draw what comes within a time; False once the command has closed the terminal."""
        ready, _, _ = select.select([self._child.child_fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self._child.child_fd, 65536)
        except OSError:  # what Linux says of a terminal whose last user has gone
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)
