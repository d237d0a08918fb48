"""Look at a file that is to hold a workflow before it is opened, and say what helps where it cannot be used.

A folder, a named pipe that nobody writes to (which would be waited for without end), a link that leads to itself, what
may not be read: each is one line and a command (tests/cli/test_source_files.py).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from shlex import quote

from .failures import SourceNotFoundError
from .nearest import nearest

ANY = "flujoctl run FILE, or FILE.py:NAME"
MOST_NAMED = 3
MOST_BYTES = 2**18

_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a disk"}
_OPEN_ALREADY = ("/dev/fd/", "/dev/stdin", "/proc/")
"""Where a shell puts what it has opened itself, such as `<(command)`: there a pipe has a writer."""


def require_file(file: Path) -> None:
    """Raise SourceNotFoundError for a path that names nothing that can be read to its end."""
    try:
        kind = stat.S_IFMT(os.stat(file).st_mode)
        if kind == stat.S_IFDIR:
            raise SourceNotFoundError(f"{str(file)!r} is a folder, not a file", _in_folder(file))
        if kind in _KINDS and not str(file).startswith(_OPEN_ALREADY):
            raise SourceNotFoundError(f"{str(file)!r} is {_KINDS[kind]}, not a file", [ANY])
        with open(file, "rb"):
            pass
    except FileNotFoundError:
        raise missing(file, ANY) from None
    except PermissionError as error:
        problem = f"{str(file)!r} cannot be read: {error.strerror}"
        raise SourceNotFoundError(problem, [f"ls -ld {quote(str(file))}  # shows who may"]) from error
    except OSError as error:  # a link that leads to itself, a file where a folder should be
        problem = f"{str(file)!r} cannot be read: {error.strerror}"
        raise SourceNotFoundError(problem, [f"ls -l {quote(str(file))}", ANY]) from error


def ways_on(file: Path) -> tuple[str, ...]:
    """Return what helps with a file that holds no definition at all; nothing for one that holds a wrong one."""
    try:
        with open(file, "rb") as opened:
            text = opened.read(MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return (ANY,)
    lines = (line.strip() for line in text.splitlines())
    is_empty = all(not line or line.startswith("#") for line in lines)
    return ("flujoctl init  # puts a workflow to start from here",) if is_empty else ()


def unreadable(file: Path, error: OSError) -> SourceNotFoundError:
    """Return the error of a file of data that cannot be read, or is none."""
    if isinstance(error, FileNotFoundError):
        return missing(file, f"ls {quote(str(file.parent))}  # what there is")
    if isinstance(error, IsADirectoryError):
        return SourceNotFoundError(f"{str(file)!r} is a folder, not a file", [f"ls {quote(str(file))}"])
    return SourceNotFoundError(f"{str(file)!r} cannot be read: {error.strerror}", [f"ls -ld {quote(str(file))}"])


def missing(file: Path, *hints: str) -> SourceNotFoundError:
    """Return the error of a file that is not there, with the name in its folder that was probably meant."""
    try:
        names = [each.name for each in file.parent.iterdir() if each.is_file()]
        meant = next((name for name in sorted(names) if name in (f"{file.name}.yaml", f"{file.name}.yml")), None)
        meant = meant or nearest(file.name, names)
    except OSError:
        meant = None
    if meant is None:
        return SourceNotFoundError(f"there is no file {str(file)!r}", hints)
    other = str(file.with_name(meant))
    hints = tuple(f"flujoctl run {quote(other)}" if hint == ANY else hint for hint in hints)
    error = SourceNotFoundError(f"there is no file {str(file)!r}; did you mean {other!r}?", hints)
    error.meant = (str(file), other)
    return error


def _in_folder(folder: Path) -> list[str]:
    """Return commands that run what may be a workflow in a folder; one that says how to begin if nothing may."""
    try:
        names = sorted(each.name for each in folder.iterdir() if each.suffix in (".yaml", ".yml"))
    except OSError:
        return [ANY]
    if not names:
        return [ANY, f"flujoctl init {quote(str(folder))}  # puts a workflow to start from there"]
    return [f"flujoctl run {quote(str(folder / name))}" for name in names[:MOST_NAMED]]
