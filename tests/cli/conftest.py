"""Commands run in this process, in a folder of their own, with what they print kept apart."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from flujo.cli.program import run


class Ended(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Flujoctl = Callable[..., Ended]


@pytest.fixture(autouse=True)
def unlogged() -> Iterator[None]:
    """Take away what `-v` has set up in this process: what it writes to is closed behind a test."""
    root, ours = logging.getLogger(), logging.getLogger("flujo")
    before, level = [*root.handlers], ours.level
    yield
    for handler in [*root.handlers]:
        if type(handler) is logging.StreamHandler and handler not in before:
            root.removeHandler(handler)
    ours.setLevel(level)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory in which no store of the outside world is found."""
    for variable in ("FLUJO_STORE", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])  # loading a Python workflow adds its folder
    (tmp_path / ".flujo").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def flujoctl(folder: Path, capsys: pytest.CaptureFixture[str]) -> Flujoctl:
    """Run one command line."""

    def call(*arguments: str) -> Ended:
        code = run(arguments)
        return Ended(code, *capsys.readouterr())

    return call
