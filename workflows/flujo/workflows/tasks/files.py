"""Tasks that read and write files in the workspace: read_file, write_file.

A path is relative to the workspace and may not lead out of it, through `..`, a symbolic link or an absolute path,
unless `allow_outside` is true. A file is written beside its place and then moved there, so that no reader sees half of
it. Only ordinary files are read and replaced: pipes, sockets and devices may block for ever. Disks may as well, so all
of this happens where it can be given up (`blocking.py`).
"""

from __future__ import annotations

import codecs
import errno
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flujo.kernel.errors import FlujoError
from flujo.workflows.blocking import GivenUp, may_block
from flujo.workflows.registry import TaskCall, task
from flujo.workflows.texts import as_text

MAX_READ_BYTES = 16 * 1024 * 1024


class OutsideWorkspaceError(FlujoError, PermissionError):
    """A path leads out of the workspace."""

    reason = "INVALID_FIELD"
    type = "OutsideWorkspaceError"

    def __init__(self, path: str, workspace: Path) -> None:
        super().__init__(f"{path!r} leads out of {workspace}; give a path inside it, or `allow_outside: true`")


class NotAFileError(FlujoError, OSError):
    """A path leads to a pipe, a socket or a device."""

    reason = "INVALID_FIELD"
    type = "NotAFileError"

    def __init__(self, path: Path, mode: int) -> None:
        kind = next((name for test, name in _KINDS if test(mode)), "no ordinary file")
        super().__init__(
            f"{str(path)!r} is {kind}, and only ordinary files are read and written; use `shell` for others"
        )


_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a symbolic link"),
)

_PATH: dict[str, dict[str, Any]] = {
    "path": {"type": "string", "required": True, "minLength": 1},
    "encoding": {"type": "string", "default": "utf-8"},
    "allow_outside": {"type": "boolean", "default": False},
}


@task("read_file", inputs=_PATH)
async def read_file(call: TaskCall) -> str:
    """Return the text of a file."""
    return await may_block(lambda _: read_text(_path(call.inputs, call.workspace), call.inputs["encoding"]))


@task("write_file", inputs={**_PATH, "content": {"required": True}})
async def write_file(call: TaskCall) -> dict[str, Any]:
    """Write a file, and the folders it needs; return {path, size}. Anything but text is written as JSON."""

    def write(given_up: GivenUp) -> dict[str, Any]:
        path = _path(call.inputs, call.workspace)
        size = write_text(path, as_text(call.inputs["content"]), call.inputs["encoding"], given_up)
        return {"path": str(path), "size": size}

    return await may_block(write)


def _path(inputs: Mapping[str, Any], workspace: Path) -> Path:
    return confined(inputs["path"], workspace, allow_outside=inputs["allow_outside"])


def confined(path: str, folder: Path, *others: Path, allow_outside: bool) -> Path:
    """Return `path` seen from `folder`, without symbolic links; raises OutsideWorkspaceError if no folder holds it."""
    if "\0" in path:
        raise ValueError("a path cannot hold a NUL character")
    resolved = (folder / path).resolve()
    if allow_outside or any(resolved.is_relative_to(each.resolve()) for each in (folder, *others)):
        return resolved
    raise OutsideWorkspaceError(path, folder)


def read_text(path: Path, encoding: str) -> str:
    """Return the text of an ordinary file of bounded size; raises NotAFileError."""
    require_file(path, os.stat(path).st_mode)
    # It may be another file by now: opening a pipe would wait for its other end, and links were resolved above.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_NOFOLLOW)) as file:
        require_file(path, os.fstat(file.fileno()).st_mode)
        data = file.read(MAX_READ_BYTES + 1)
    if len(data) > MAX_READ_BYTES:
        raise ValueError(f"{path} is larger than {MAX_READ_BYTES // 1024 // 1024} MiB")
    return data.decode(_checked(encoding))


def require_file(path: Path, mode: int) -> None:
    """Raise IsADirectoryError or NotAFileError unless a mode is that of an ordinary file."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise NotAFileError(path, mode)


def _checked(encoding: str) -> str:
    """Return the name of an encoding; raises LookupError for those of host names, which take a time that is squared."""
    if (name := codecs.lookup(encoding).name) in ("idna", "punycode"):
        raise LookupError(f"{encoding} is an encoding of host names, not of files")
    return name


def write_text(path: Path, text: str, encoding: str, given_up: GivenUp) -> int:
    """Put a file in its place as a whole, durably. Return its size in bytes."""
    data = text.encode(_checked(encoding))
    path.parent.mkdir(parents=True, exist_ok=True)
    if (replaced := mode_of(path)) is not None:
        require_file(path, replaced)
    beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # less the umask
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            put_in_place(descriptor, beside, path, given_up)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return len(data)


def put_in_place(descriptor: int, beside: Path, path: Path, given_up: GivenUp) -> None:
    """Let a file that is written take its place, durably; the mode of one that is replaced stays."""
    replaced = mode_of(path)
    if replaced is not None:
        os.fchmod(descriptor, replaced & 0o777)
    os.fsync(descriptor)
    given_up.check()  # a later attempt may have written it by now
    os.replace(beside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the move itself; the step is recorded as done right after this
    finally:
        os.close(folder)


def mode_of(path: Path) -> int | None:
    """Return the mode of what stands at a place itself; None if nothing does."""
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return None
