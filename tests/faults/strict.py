"""What a strict disk (strict.c) has after a power cut."""

from __future__ import annotations

import shutil
from pathlib import Path


def rebuild(kept: Path, target: Path) -> None:
    """Make the folder `target` what is there after a power cut, of what a strict disk has put into `kept`."""
    _make(kept, kept / "root", target)


def _make(kept: Path, names: Path, target: Path) -> None:
    target.mkdir()
    if not names.exists():  # the folder was never synced: it is there, and empty
        return
    for line in names.read_text().splitlines():
        key, kind, name = line.split(" ", 2)
        if kind == "d":
            _make(kept, kept / key, target / name)
        elif (kept / key).exists():
            shutil.copy(kept / key, target / name)
        else:  # its name was synced, and nothing of what is in it
            (target / name).touch()
