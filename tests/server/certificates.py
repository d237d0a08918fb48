"""Certificates for tests, made by the very commands that docs/securing-a-server.md shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "securing-a-server.md"


def commands() -> str:
    """The block of the page that makes certificates for a lab."""
    found = re.search(r"```sh lab\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert found is not None
    return found[1]


def make_certificates(folder: Path) -> None:
    """Make an authority, and certificates of a server and of a client that it has signed, in a folder."""
    subprocess.run(["sh", "-e", "-c", commands()], cwd=folder, check=True, capture_output=True, timeout=60)
