"""Real processes on real stores: every test has a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.terminal import SQLITE, Terminal


@pytest.fixture
def terminal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A folder with a store in it: a database, or what `place.on_every_store` says."""
    terminal = Terminal(tmp_path / "terminal", getattr(request, "param", SQLITE))
    yield terminal
    terminal.leave()
