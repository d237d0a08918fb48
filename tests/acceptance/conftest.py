"""Real processes on real stores: every test has a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.terminal import SQLITE, Terminal, environment
from acceptance.warm import IS_POSSIBLE, WarmStart


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmStart | None]:
    """What commands are started from, where it can be had: a second of imports, once for all that a worker runs."""
    if not IS_POSSIBLE:
        yield None
        return
    with WarmStart(environment()) as warm:
        yield warm


@pytest.fixture
def terminal(tmp_path: Path, request: pytest.FixtureRequest, warm: WarmStart | None) -> Iterator[Terminal]:
    """A folder with a store in it: a database, or what `place.on_every_store` says."""
    terminal = Terminal(tmp_path / "terminal", getattr(request, "param", SQLITE), warm)
    yield terminal
    terminal.leave()
