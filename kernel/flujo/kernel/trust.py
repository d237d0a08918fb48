"""Whose files are trusted although the user did not name them: the user's own, and root's.

A store holds commands that its runs execute, a settings file says which store is used, and a server is told inputs and
signals. One that another user has put into a folder above the working directory, such as /tmp, must not act in the name
of the person who only typed a command there.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .errors import UntrustedOwnerError

NAMING_A_WORKSPACE = "flujoctl run --workspace DIR FILE"
"""How a user insists on a folder for a run."""

_ROOT = 0


def foreign_owner(path: Path, beside: Path | None = None) -> str | None:
    """Return who owns `path`, or the link at that place, if that is neither the user of this process nor root, nor who
    owns `beside`: what is used already.

    A path that does not exist, or cannot be looked at, has no owner."""
    trusted = {_ROOT, os.geteuid()}
    if beside is not None:
        with suppress(OSError):
            trusted.add(os.stat(beside).st_uid)
    for status in (os.lstat, os.stat):
        try:
            uid = status(path).st_uid
        except OSError:
            continue
        if uid not in trusted:
            return _user_name(uid)
    return None


def require_trusted(paths: Iterable[Path], insist: str) -> None:
    """Raise UntrustedOwnerError for the first path that another user owns; `insist` is a command that names it."""
    for path in paths:
        if (owner := foreign_owner(path)) is not None:
            raise UntrustedOwnerError(str(path), owner, insist)


def make_own_folder(folder: Path, beside: Path | None, insist: str) -> None:
    """Make a folder that only its owner can look into, unless it is there.

    Raises UntrustedOwnerError if somebody has put one there, or a link, who owns neither that nor `beside`: whatever is
    written there would be written where they want it. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (owner := foreign_owner(folder, beside)) is not None:
        raise UntrustedOwnerError(str(folder), owner, insist)


def write_own(file: Path, text: str) -> None:
    """Write a new file that only its owner can read, whatever the umask. Raises FileExistsError, also for a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(file, flags, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)


def read_plain(file: Path, limit: int) -> str:
    """Return the text of a file of at most so many bytes. Raises OSError for anything but a plain file, such as a link,
    or a pipe, which would be waited for."""
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), encoding="utf-8") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            raise OSError(errno.EINVAL, "this is no such file", str(file))
        return opened.read()


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a user of another machine or container
        return f"user {uid}"
