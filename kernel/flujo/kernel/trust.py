"""Whose files are trusted although the user did not name them: the user's own, and root's.

A store holds commands that its runs execute, a settings file says which store is used, and a server is told inputs and
signals. One that another user has put into a folder above the working directory, such as /tmp, must not act in the name
of the person who only typed a command there.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from pathlib import Path

from .errors import UntrustedOwnerError

_ROOT = 0


def foreign_owner(path: Path) -> str | None:
    """Return who owns `path`, or the link at that place, if that is neither the user of this process nor root.

    A path that does not exist, or cannot be looked at, has no owner."""
    for status in (os.lstat, os.stat):
        try:
            uid = status(path).st_uid
        except OSError:
            continue
        if uid not in (_ROOT, os.geteuid()):
            return _user_name(uid)
    return None


def require_trusted(paths: Iterable[Path], insist: str) -> None:
    """Raise UntrustedOwnerError for the first path that another user owns; `insist` is a command that names it."""
    for path in paths:
        if (owner := foreign_owner(path)) is not None:
            raise UntrustedOwnerError(str(path), owner, insist)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a user of another machine or container
        return f"user {uid}"
