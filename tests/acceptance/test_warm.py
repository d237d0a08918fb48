"""Commands that start warm are what those that start cold are: tests of processes may rely on either."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from acceptance.terminal import Terminal
from acceptance.warm import IS_POSSIBLE, WarmStart

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="commands start cold on this machine")

SHOW = """
import os, sys, gc, signal
from flujo.kernel import Context, workflow


@workflow
async def show(ctx: Context, x: int) -> dict[str, object]:
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE
    signals = [str(signal.getsignal(each)).partition(" of ")[0] for each in numbers]
    streams = [(each.fileno(), each.encoding, each.errors, each.line_buffering) for each in (sys.stdout, sys.stderr)]
    sizes = len(os.listdir("/proc/self/fd")), os.getppid(), os.getpgrp(), gc.isenabled()
    return {"argv": sys.argv[1:], "path": sys.path, "env": dict(os.environ), "cwd": os.getcwd(), "main": __name__,
            "warnings": sys.warnoptions, "signals": signals, "streams": streams, "sizes": sizes}
"""


def test_a_warm_command_is_told_the_same(tmp_path: Path, warm: WarmStart) -> None:
    """Its arguments, path, environment, folder, signals, streams, open files, parent and group."""
    found = []
    for number, start in enumerate((None, warm)):
        terminal = Terminal(tmp_path / str(number), warm=start)
        terminal.environment["PATH"] = os.environ["PATH"]
        terminal.write("show.py", SHOW)
        ended = terminal.flujoctl("run", "show.py", "--id", "r", "-o", "json", "x=1")
        assert ended.code == 0, ended
        found.append(json.loads(ended.out.replace(str(terminal.folder), "FOLDER"))["output"])
        terminal.leave()

    cold, warmed = found
    assert warmed == cold


def test_a_warm_command_ends_as_any_process(tmp_path: Path, warm: WarmStart) -> None:
    """With its exit code, or by the signal it was sent."""
    terminal = Terminal(tmp_path / "terminal", warm=warm)
    absent = terminal.flujoctl("inspect", "absent")
    killed = terminal.start("serve", "--listen", "unix:s")
    killed.send_signal(signal.SIGKILL)

    assert absent.code == 3
    assert killed.wait() == -signal.SIGKILL
    terminal.leave()


def test_python_that_would_start_otherwise_starts_cold(tmp_path: Path, warm: WarmStart) -> None:
    """Some variables it reads when it starts only."""
    environment = Terminal(tmp_path / "terminal").environment

    assert warm.fits({**environment, "HOME": "/elsewhere"})
    assert not warm.fits({**environment, "PYTHONOPTIMIZE": "1"})
    assert not warm.fits({**environment, "LC_ALL": "C"})
