"""The names of owners: which host and process a kernel runs in, for people who read who owns a run."""

from __future__ import annotations

import os
import re
from pathlib import Path

_OWNER = re.compile(r"(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]+")


def name_owner(uid: str) -> str:
    """Return the id of a kernel of this process, which also is a part of file names; `uid` tells it from others."""
    return f"{host_name()}-{os.getpid()}-{uid[:8]}"


def host_name() -> str:
    """Return the name of this machine, as far as file names may hold it."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", os.uname().nodename).strip(".-")[:50] or "host"


def note_if_gone(owner: str) -> str:
    """Return what to add to the name of a live owner whose process is gone: what it has started holds its lock.

    Returns an empty text for any other owner, and where processes cannot be looked at (without /proc)."""
    named = _OWNER.fullmatch(owner)
    if named is None or named["host"] != host_name() or not Path("/proc/self").exists():
        return ""
    if Path("/proc", named["pid"]).exists():
        return ""
    return f" (process {named['pid']} is gone; a process that it has started still holds its lock)"
