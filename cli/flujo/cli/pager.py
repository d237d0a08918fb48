"""Show long answers in the user's pager, as git does: on a terminal, and only where somebody reads.

The pager is what FLUJO_PAGER names, else PAGER, else `less`. LESS=FRX, unless LESS says something else, tells it to go
away at once if all fits on the screen, to show colours, and to leave the screen as it is afterwards. An empty value,
`cat`, NO_PAGER and --no-pager turn it off, and so does a pager that cannot be started: the answer is printed then.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .session import Session, is_terminal

if TYPE_CHECKING:
    from subprocess import Popen

SETTINGS = {"LESS": "FRX", "LV": "-c"}
"""What git tells the pagers that know these variables, where the user has set none."""


def pager_command(environment: Mapping[str, str]) -> list[str]:
    """Return the words of the command that the user reads long texts with; none for no pager."""
    from shlex import split

    if environment.get("NO_PAGER"):
        return []
    named = next((environment[name] for name in ("FLUJO_PAGER", "PAGER") if name in environment), "less")
    try:
        words = split(named)
    except ValueError:  # a quote that is never closed
        return []
    return [] if words == ["cat"] else words


@contextmanager
def paged(session: Session) -> Iterator[None]:
    """Show what is printed on stdout inside of the block in a pager, and end when the user has left it.

    Whoever leaves early has read enough: the rest is not printed, and that is no error. What a command has to say on
    stderr is said behind the block, since the pager has the screen."""
    pager = None if session.no_pager or not _has_reader() else _started()
    if pager is None:
        yield
        return
    terminal = sys.stdout
    assert pager.stdin is not None
    sys.stdout = _Screen(pager.stdin, encoding=terminal.encoding, errors="replace")
    try:
        with suppress(BrokenPipeError):
            yield
    finally:
        screen, sys.stdout = sys.stdout, terminal
        with suppress(BrokenPipeError):
            screen.close()
        _wait(pager)


class _Screen(io.TextIOWrapper):
    """The pager's input, which is as good as the terminal behind it: it has colours and the terminal's width."""

    def isatty(self) -> bool:
        return True


def _has_reader() -> bool:
    """True if somebody sits at both ends: what types and reads by itself is asked for no key."""
    return is_terminal(sys.stdout) and bool(sys.stdin.isatty())


def _started() -> Popen[bytes] | None:
    import subprocess

    if not (command := pager_command(os.environ)):
        return None
    with suppress(OSError):
        return subprocess.Popen(command, stdin=subprocess.PIPE, env={**SETTINGS, **os.environ})
    return None


def _wait(pager: Popen[bytes]) -> None:
    """Wait until the user leaves the pager. Ctrl-C means something in a pager, and reaches this process too."""
    while True:
        with suppress(KeyboardInterrupt):
            pager.wait()
            return
