"""Whose files are trusted although the user did not name them, and how flujo makes files of its own.

The user's own files are trusted, and root's. A store holds commands that its runs execute, a settings file says which
store is used, and a server is told inputs and signals. One that another user has put into a folder above the working
directory, such as /tmp, must not act in the name of the person who only typed a command there.

In such a folder somebody may also have been first where flujo makes a file or a folder of its own. So all of these are
made here: without following a link, without waiting for a pipe, and with the same modes whatever the umask.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .errors import PlaceTakenError, UntrustedOwnerError

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


def make_own_folder(folder: Path, beside: Path | None, insist: str | None = None) -> None:
    """Make a folder that only its owner can look into, unless it is there.

    Raises UntrustedOwnerError, or PlaceTakenError where no command `insist` helps, if somebody has put one there, or a
    link, who owns neither that nor `beside`: whatever is written there would be written where they want it. Raises
    PlaceTakenError for what is no folder, and OSError."""
    _make_folder(folder, 0o700)
    if insist is None:
        require_own_folder(folder, beside)
    elif (owner := foreign_owner(folder, beside)) is not None:
        raise UntrustedOwnerError(str(folder), owner, insist)


def _make_folder(folder: Path, mode: int) -> None:
    try:
        folder.mkdir(mode)
    except FileNotFoundError:
        if folder.parent.is_dir():
            raise  # a place that takes no folders, such as /proc
        _make_folder(folder.parent, 0o777)
        _make_folder(folder, mode)
    except FileExistsError:
        if not folder.is_dir():
            raise PlaceTakenError(str(folder), _described(folder)) from None
    else:
        if (kept := stat.S_IMODE(os.lstat(folder).st_mode)) & 0o700 != 0o700:  # a umask may take even this away
            set_mode(folder, kept | 0o700)


def set_mode(file: Path | int, mode: int) -> None:
    """Give what this process has made its mode, whatever the umask. A file system without modes (vfat, exFAT, some
    folders that virtual machines share) refuses that; there the mount says who may read what is on it."""
    try:
        os.chmod(file, mode)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise


def require_own_folder(folder: Path, beside: Path | None = None) -> None:
    """Raise PlaceTakenError for a folder, or a link in its place, of anybody but the user, root and who owns `beside`,
    and for what is no folder. There may be nothing."""
    is_there = os.path.lexists(folder)
    if is_there and (not folder.is_dir() or foreign_owner(folder, beside) is not None):
        raise PlaceTakenError(str(folder), _described(folder))


def require_own_file(file: Path, beside: Path | None = None) -> None:
    """Raise PlaceTakenError for a file of anybody but the user, root and who owns `beside`, and for what is no plain
    file, such as a link. There may be nothing."""
    try:
        found = os.lstat(file)
    except OSError:
        return
    if not stat.S_ISREG(found.st_mode) or foreign_owner(file, beside) is not None:
        raise PlaceTakenError(str(file), _described(file))


def open_own(file: Path, flags: int) -> int:
    """Return a descriptor of a plain file; with O_CREAT one that only its owner can read is made if there is none.

    Raises PlaceTakenError for what is no plain file, such as a link, or a pipe, which would be waited for;
    FileExistsError with O_EXCL, also for a link; and OSError."""
    try:
        descriptor = os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise
    except OSError:
        require_own_file(file)  # which may tell why, and better
        raise
    found = os.fstat(descriptor)
    try:
        if not stat.S_ISREG(found.st_mode):
            raise PlaceTakenError(str(file), _described(file))
        if flags & os.O_CREAT and stat.S_IMODE(found.st_mode) & 0o600 != 0o600:  # a umask may take even this away
            set_mode(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def remove_own(file: Path) -> None:
    """Remove a file, if it is there; of a link, the link. Raises PlaceTakenError for a folder, and OSError."""
    try:
        file.unlink(missing_ok=True)
    except OSError:
        if file.is_dir():  # for which some systems say that it is not permitted
            raise PlaceTakenError(str(file), _described(file)) from None
        raise


def write_own(file: Path, text: str) -> None:
    """Write a new file that only its owner can read, whatever the umask. Raises FileExistsError, also for a link."""
    with open(open_own(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8") as opened:
        opened.write(text)


def read_plain(file: Path, limit: int) -> str:
    """Return the text of a file of at most so many bytes. Raises OSError for anything but a plain file, such as a link,
    or a pipe, which would be waited for."""
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), encoding="utf-8") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            raise OSError(errno.EINVAL, "this is no such file", str(file))
        return opened.read()


_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
    stat.S_IFSOCK: "a socket",
}


def _described(path: Path) -> str:
    """Return what is at a path, and whose it is if that is what is wrong with it."""
    try:
        kind = _KINDS.get(stat.S_IFMT(os.lstat(path).st_mode), "a device")
    except OSError:
        kind = "something else"
    owner = foreign_owner(path)
    return kind if owner is None else f"{kind} of {owner}"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a user of another machine or container
        return f"user {uid}"
