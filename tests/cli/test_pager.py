"""What is longer than the screen goes to the pager that the user has, on a terminal and nowhere else."""

from __future__ import annotations

import os
import pty
import select
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from flujo.cli.pager import pager_command
from flujo.cli.program import run

from .conftest import Flujoctl

SAYS = """\
name: says
steps:
  - {name: a, task: shell, inputs: {command: "printf 'x\\\\033[2Jy\\\\n'; seq 300"}}
"""

PAGED = {
    "list": "list",
    "events": "events r",
    "logs": "logs r",
    "inspect": "inspect r",
    "inspect a step": "inspect r --step a",
    "inspect a definition": "inspect r --definition",
    "inspect the past": "inspect r --at 2",
    "diff": "diff r fails",
    "json": "events r -o json",
}


@contextmanager
def terminal() -> Iterator[list[str]]:
    """A terminal that this process reads from and prints on inside the block; what it has shown is there behind it."""
    ours, theirs = pty.openpty()
    shown: list[str] = []

    def read() -> None:
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux tells so that nobody has the terminal open any more
                break
            if not part:
                break
            parts.append(part)
        shown.append(b"".join(parts).decode().replace("\r\n", "\n"))

    reader = Thread(target=read)
    reader.start()
    kept, streams = [os.dup(number) for number in range(3)], (sys.stdin, sys.stdout, sys.stderr)
    for number in range(3):
        os.dup2(theirs, number)
    sys.stdin, sys.stdout, sys.stderr = (open(n, mode, closefd=False) for n, mode in enumerate("rww"))  # noqa: SIM115
    try:
        yield shown
    finally:
        sys.stdout.flush()
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, file in enumerate(kept):
            os.dup2(file, number)
            os.close(file)
        os.close(theirs)
        reader.join()
        os.close(ours)


def typed(line: str) -> tuple[int, str]:
    """How a command ends at a terminal, and what that shows."""
    with terminal() as shown:
        code = run(line.split())
    return code, shown[0]


@pytest.fixture
def runs(folder: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> Flujoctl:
    """Two runs, one of which has printed more than a screen, and something that would clear it."""
    (folder / "says.yaml").write_text(SAYS, encoding="utf-8")
    (folder / "marks").write_text("#!/bin/sh\nexec sed 's/^/paged: /'\n", encoding="utf-8")
    (folder / "marks").chmod(0o755)
    for name in ("FLUJO_PAGER", "PAGER", "NO_PAGER", "LESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    flujoctl("run", "says.yaml", "--id", "r", "-q")
    (folder / "fails.yaml").write_text("name: fails\nsteps: [{name: f, task: fail}]\n", encoding="utf-8")
    flujoctl("run", "fails.yaml", "--id", "fails", "-q")
    return flujoctl


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("line", PAGED.values(), ids=PAGED)
def test_an_answer_goes_through_the_pager(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, with nothing in it that a terminal would obey but colours."""
    monkeypatch.setenv("FLUJO_PAGER", "./marks")

    code, shown = typed(line)

    lines = shown.splitlines()
    assert code == 0
    assert lines
    assert [line for line in lines if not line.startswith(("paged: ", "try: ", "as it stood "))] == []
    assert "\x1b[2J" not in shown


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({"PAGER": "./marks", "NO_PAGER": "1"}, ""),
        ({"PAGER": "./marks"}, " --no-pager"),
        ({"PAGER": "cat"}, ""),
        ({"PAGER": ""}, ""),
        ({"PAGER": "./marks", "FLUJO_PAGER": "cat"}, ""),
        ({"PAGER": "no-such-pager -x"}, ""),
        ({"PAGER": "./marks 'never closed"}, ""),
        ({"PAGER": "./marks", "TERM": "dumb"}, ""),
    ],
)
def test_without_a_pager_the_answer_is_printed(
    variables: Mapping[str, str], options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody wants one, and where the one that is wanted cannot be started."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    code, shown = typed(f"logs r{options}")

    assert code == 0
    assert shown.count("\n") == 301
    assert "paged: " not in shown


@pytest.mark.usefixtures("runs")
def test_what_is_followed_is_not_paged(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no end that a pager could wait for."""
    monkeypatch.setenv("PAGER", "./marks")

    code, shown = typed("logs r -f")

    assert (code, "paged: " in shown, shown.count("\n")) == (0, False, 301)


def test_nothing_is_paged_in_a_pipe(runs: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program gets what it asked for."""
    monkeypatch.setenv("PAGER", "./marks")

    assert "paged: " not in runs("logs", "r").out


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("pager", ["head -n 1", "false"])
def test_a_pager_that_is_left_early_is_no_error(pager: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its user has read enough."""
    monkeypatch.setenv("PAGER", pager)

    code, shown = typed("logs r")

    assert code == 0
    assert shown.count("\n") <= 1


@pytest.mark.skipif(shutil.which("less") is None, reason="needs less")
@pytest.mark.usefixtures("runs")
def test_less_keeps_a_long_answer_and_lets_a_short_one_pass() -> None:
    """In a terminal of its own, which it reads the keys from."""
    long, short = pages_of("logs r"), pages_of("list")

    assert next(long).splitlines()[-1].endswith(":")
    assert next(long) == "0"
    assert "says" in next(short)
    assert next(short) == "0"


def pages_of(line: str) -> Iterator[str]:
    """What a command shows before it waits for a key or ends, and then, once `q` was typed, its exit code."""
    child, ours = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-m", "flujoctl", *line.split()])
    shown = ""
    try:
        while not shown.rstrip("\x1b[K").endswith("\n:") and select.select([ours], [], [], 60)[0]:
            shown += os.read(ours, 65536).decode().replace("\r", "")
        yield shown.removesuffix("\x1b[K")
        os.write(ours, b"q")
    except OSError:  # it has ended
        yield shown
    yield str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.close(ours)


@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ({}, ["less"]),
        ({"PAGER": "more -s"}, ["more", "-s"]),
        ({"PAGER": "more", "FLUJO_PAGER": "less -S"}, ["less", "-S"]),
        ({"PAGER": "cat"}, []),
        ({"PAGER": "more", "FLUJO_PAGER": ""}, []),
        ({"PAGER": "more", "NO_PAGER": "1"}, []),
        ({"PAGER": "more '"}, []),
    ],
)
def test_the_pager_is_found_as_git_finds_its_own(environment: Mapping[str, str], command: list[str]) -> None:
    """By a variable of ours, by the one that all know, or else it is `less`."""
    assert pager_command(environment) == command
