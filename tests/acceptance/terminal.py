"""A folder with a store, and a `flujoctl` on the PATH: what a person at a terminal has."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import foreground
from acceptance.warm import WarmStart
from shipped import ON_DISK

SQLITE = "sqlite:.flujo/state.db"
FILE = "file:.flujo/store"

STORES = [SQLITE if scheme == "sqlite" else f"{scheme}:.flujo/store" for scheme in ON_DISK]

on_every_store = pytest.mark.parametrize("terminal", STORES, ids=ON_DISK, indirect=True)
"""For a test at a terminal: on a database, which commands find by themselves, and a folder that FLUJO_STORE names."""

ROOT = Path(__file__).parents[2]
SOURCES = os.pathsep.join(str(ROOT / name) for name in ("kernel", "backends", "workflows", "server", "cli", "proto"))


SHELLS_OWN = re.compile(r"[;&|<>`$\n]")
"""What makes more of a line than one command."""

HIDDEN = "FLUJO_STORE", "NO_COLOR", "FORCE_COLOR"


def environment() -> dict[str, str]:
    """What is around every command, wherever its store is."""
    inherited = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    return {**inherited, "PYTHONPATH": SOURCES, "PYTHONWARNINGS": "error"}


class Ended(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def remedies(self) -> list[str]:
        """The commands it suggests, as they are printed."""
        return [line.removeprefix("try: ") for line in self.err.splitlines() if line.startswith("try: ")]


class Terminal:
    """Commands run in `folder` and find its store by themselves."""

    def __init__(self, folder: Path, store: str = SQLITE, warm: WarmStart | None = None) -> None:
        self.folder = folder
        self.store = store
        self._warm = warm
        self._started: list[subprocess.Popen[str]] = []
        (folder / ".flujo").mkdir(parents=True)  # or else a store further up would be found
        commands = folder / "bin"
        commands.mkdir()
        script = commands / "flujoctl"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m flujoctl "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        self.environment = {
            **environment(),
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            **({} if store == SQLITE else {"FLUJO_STORE": store}),
        }

    def write(self, name: str, text: str) -> Path:
        """Put a file into the folder."""
        (self.folder / name).write_text(text, encoding="utf-8")
        return self.folder / name

    def lines(self, name: str) -> list[str]:
        """The lines of a file in the folder."""
        return (self.folder / name).read_text(encoding="utf-8").split()

    def fifo(self, name: str) -> None:
        """Make a named pipe: opening it waits for the other side."""
        os.mkfifo(self.folder / name)

    def read(self, name: str) -> str:
        """What somebody writes into a named pipe, once they do."""
        return (self.folder / name).read_text(encoding="utf-8").strip()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `flujoctl` and go on."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options: dict[str, Any] = {"cwd": self.folder, "env": self.environment, "text": True, **streams}
        if self._warm is not None and self._warm.fits(self.environment):
            process = self._warm.popen(arguments, **options)
        else:
            command = [sys.executable, "-m", "flujoctl", *arguments]
            process = subprocess.Popen(command, preexec_fn=foreground.listen, **options)
        self._started.append(process)
        return process

    def leave(self) -> None:
        """End what a failed test has left running, and close its pipes."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            process.wait()

    def flujoctl(self, *arguments: str) -> Ended:
        """Run `flujoctl` to its end."""
        return finish(self.start(*arguments))

    def shell(self, command: str) -> Ended:
        """Type a command, as somebody does who copies it from the screen: a shell makes words of it. One of `flujoctl`
        alone is then started as `start` does."""
        if not command.startswith("flujoctl ") or SHELLS_OWN.search(command):
            return self._type(command)
        words = self._type(f'flujoctl() {{ printf "%s\\0" "$@"; }}\n{command}')
        assert (words.code, words.err) == (0, ""), words
        return self.flujoctl(*words.out.split("\0")[:-1])

    def _type(self, command: str) -> Ended:
        ended = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def inspect(self, run_id: str, *options: str) -> dict[str, Any]:
        """A run as JSON."""
        ended = self.flujoctl("inspect", run_id, "-o", "json", *options)
        assert ended.code == 0, ended
        state: dict[str, Any] = json.loads(ended.out)
        return state

    def inspect_interrupted(self, run_id: str, *options: str) -> dict[str, Any]:
        """A run as JSON, once its owner counts as dead: the guardian of its child processes outlives it a moment."""
        while not (state := self.inspect(run_id, *options))["interrupted"]:
            pass
        return state


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process and take what nobody has read of what it printed; flujoctl never prints a traceback."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process, ThreadPoolExecutor() as readers:  # `communicate` would leave out what `lines_until` has in its buffer
        out, err = readers.map(lambda stream: stream.read(), (process.stdout, process.stderr))
    assert "Traceback" not in err, err
    return Ended(process.returncode, out, err)


def lines_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """The lines a process prints on stderr, up to the one that contains `text`."""
    assert process.stderr is not None
    return _until(process, process.stderr, text)


def output_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """The lines a process prints on stdout, up to the one that contains `text`."""
    assert process.stdout is not None
    return _until(process, process.stdout, text)


def _until(process: subprocess.Popen[str], stream: Iterator[str], text: str) -> list[str]:
    seen: list[str] = []
    for line in stream:
        seen.append(line.rstrip("\n"))
        if text in line:
            return seen
    raise AssertionError(f"{text!r} was not printed, but: {seen}, and then: {finish(process)}")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if not sys.platform.startswith("linux"):
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def statuses(state: dict[str, Any]) -> list[str]:
    """The status of every step, with what is interrupted named so."""
    return ["interrupted" if step["interrupted"] else step["status"] for step in state["steps"]]


def kill(process: subprocess.Popen[str]) -> Ended:
    """End a process as a power cut would."""
    process.send_signal(signal.SIGKILL)
    return finish(process)
