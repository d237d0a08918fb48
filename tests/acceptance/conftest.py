"""Real processes on real stores: every test has a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with a store in it."""
    return Place(tmp_path / "place")
