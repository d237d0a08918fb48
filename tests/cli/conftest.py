"""Commands run in this process, in a folder of their own, with what they print kept apart."""

from __future__ import annotations

import logging
import shutil
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

Fill = Callable[[Flujoctl], None]
"""Puts files into the current folder, and runs into its store."""

Copied = Callable[[Fill], None]


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
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory in which no store of the outside world is found."""
    for variable in ("FLUJO_STORE", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])  # loading a Python workflow adds its folder
    where = tmp_path
    if "copied" in request.fixturenames:
        where = request.getfixturevalue("same_place")
    (where / ".flujo").mkdir()
    monkeypatch.chdir(where)
    yield where
    if where != tmp_path:
        where.rename(tmp_path / "folder")  # where pytest looks after it, and the next test finds the place empty


@pytest.fixture
def flujoctl(folder: Path, capsys: pytest.CaptureFixture[str]) -> Flujoctl:
    """Run one command line."""

    def call(*arguments: str) -> Ended:
        code = run(arguments)
        return Ended(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def filled() -> dict[Fill, Path]:
    """What folders are filled with, by the function that does it."""
    return {}


@pytest.fixture
def same_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new folder whose path is the same for every test with `copied`, since a run knows absolute paths."""
    path = tmp_path_factory.getbasetemp() / "same-place"
    path.mkdir()
    return path


@pytest.fixture
def copied(
    folder: Path, flujoctl: Flujoctl, filled: dict[Fill, Path], tmp_path_factory: pytest.TempPathFactory
) -> Copied:
    """Fill the folder of a test as a function does, which is called for the first of them only: to make runs takes
    longer than what most tests do with them."""

    def fill(how: Fill) -> None:
        if how not in filled:
            how(flujoctl)
            filled[how] = tmp_path_factory.mktemp("filled") / "copy"
            shutil.copytree(folder, filled[how])
        else:
            shutil.copytree(filled[how], folder, dirs_exist_ok=True)

    return fill
