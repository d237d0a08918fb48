"""A working directory of its own for each test, in which no store of the outside world is found."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with an empty folder .flujo."""
    for variable in ("FLUJO_STORE", "FLUJO_SERVER"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / ".flujo").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path
