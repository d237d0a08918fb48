"""Processes of their own that write to a store (`store_process.py`), as tests start and talk to them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def processes(url: str, *owners: str, runs: int, commits: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a process for each owner; each has said "open", and waits for a line (`let_write`). None outlives this."""
    script = Path(__file__).with_name("store_process.py")
    children = [
        subprocess.Popen(
            [sys.executable, str(script), url, owner, str(runs), str(commits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for owner in owners
    ]
    try:
        for child in children:
            assert next_line(child) == "open"
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def next_line(child: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def let_write(child: subprocess.Popen[str]) -> None:
    """Let a process begin."""
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()
