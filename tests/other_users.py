"""Files of another user: only root can make them, so tests that need them say loudly that they were left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

OTHER = 54321
"""A user id that this process does not have."""

root_only = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may give a file to another user; run the tests as root, or in a container"
)


def give_away(path: Path) -> None:
    """Make `path` belong to another user; a link itself, and not what it leads to."""
    os.chown(path, OTHER, -1, follow_symlinks=False)
