"""Real processes on real stores: every test has a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.terminal import SQLITE, Place


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A folder with a store in it: a database, or what `place.on_every_store` says."""
    place = Place(tmp_path / "place", getattr(request, "param", SQLITE))
    yield place
    place.leave()
