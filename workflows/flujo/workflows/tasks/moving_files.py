"""Tasks that change which files there are in the workspace: append_file, copy_file, move_file, delete_file.

Both ends of a copy or move are confined as `files.py` has it. A link is moved and deleted itself, never what it leads
to. A move or a deletion that an attempt before had carried out when it was interrupted counts as done.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from flujo.workflows.blocking import GivenUp, may_block
from flujo.workflows.registry import TaskCall, task
from flujo.workflows.texts import as_text

from .files import (
    FILE,
    FILE_PATH,
    OUTPUT_FILE,
    OUTSIDE,
    TEXT,
    WRITTEN,
    confined,
    encoded,
    inside,
    mode_of,
    opened,
    require_file,
    write_whole,
)

_CHUNK = 1 << 20

_ENDS: dict[str, dict[str, Any]] = {
    "source": {"type": "string", "required": True, "minLength": 1},
    "destination": {"type": "string", "required": True, "minLength": 1},
    **OUTSIDE,
}
_MOVED = {"type": "object", "properties": {"source": {"type": "string"}, "destination": {"type": "string"}}}


@task(
    "append_file",
    inputs={**FILE_PATH, "content": {"required": True}, **TEXT, **OUTSIDE},
    spellings=OUTPUT_FILE,
    result=WRITTEN,
)
async def append_file(call: TaskCall) -> dict[str, Any]:
    """Write at the end of a file, which is made if it is not there; return {path, size}, the size of the whole.

    Anything but text is written as JSON. An attempt that is repeated appends again.
    """

    def work(given_up: GivenUp) -> dict[str, Any]:
        path = inside(call, call.inputs["path"])
        data = encoded(as_text(call.inputs["content"]), call.inputs["encoding"])
        return {"path": str(path), "size": append(path, data, given_up)}

    return await may_block(work)


def append(path: Path, data: bytes, given_up: GivenUp) -> int:
    """Write at the end of a file, durably; returns the size it has then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if (mode := mode_of(path)) is not None:
        require_file(path, mode)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "ab") as file:  # less the umask
        given_up.check()
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


@task("copy_file", inputs=_ENDS, result={"type": "object", "properties": {**_MOVED["properties"], "size": {}}})  # type: ignore[dict-item]
async def copy_file(call: TaskCall) -> dict[str, Any]:
    """Copy a file, with its mode, to a path or into a folder; return {source, destination, size}."""

    def copy(given_up: GivenUp) -> dict[str, Any]:
        source = inside(call, call.inputs["source"])
        destination = _destination(call, source.name)
        with opened(source) as file:
            mode = os.fstat(file.fileno()).st_mode
            size = write_whole(destination, _chunks(file), given_up, mode)
        return {"source": str(source), "destination": str(destination), "size": size}

    return await may_block(copy)


@task("move_file", inputs=_ENDS, result=_MOVED)
async def move_file(call: TaskCall) -> dict[str, Any]:
    """Move a file to a path or into a folder; return {source, destination}."""

    def move(given_up: GivenUp) -> dict[str, Any]:
        source = _itself(call, call.inputs["source"])
        destination = _destination(call, source.name)
        if (mode := mode_of(source)) is None:
            if call.attempt.attempt == 1 or mode_of(destination) is None:
                raise _missing(source)
        else:
            _require_movable(source, mode)
            if (replaced := mode_of(destination)) is not None:
                _require_movable(destination, replaced)
            destination.parent.mkdir(parents=True, exist_ok=True)
            given_up.check()
            _rename(source, destination, given_up)
        return {"source": str(source), "destination": str(destination)}

    return await may_block(move)


@task(
    "delete_file",
    inputs={**FILE_PATH, "missing_ok": {"type": "boolean", "default": False}, **OUTSIDE},
    spellings=FILE,
    result={"type": "object", "properties": {"path": {"type": "string"}, "deleted": {"type": "boolean"}}},
)
async def delete_file(call: TaskCall) -> dict[str, Any]:
    """Delete a file; return {path, deleted}. One that is not there is an error unless `missing_ok` is true."""

    def delete(given_up: GivenUp) -> dict[str, Any]:
        path = _itself(call, call.inputs["path"])
        if (mode := mode_of(path)) is None:
            if call.attempt.attempt == 1 and not call.inputs["missing_ok"]:
                raise _missing(path)
            return {"path": str(path), "deleted": False}
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "this is a folder, and `delete_file` deletes files", str(path))
        given_up.check()
        path.unlink(missing_ok=True)
        return {"path": str(path), "deleted": True}

    return await may_block(delete)


def _itself(call: TaskCall, path: str) -> Path:
    """Return where a file lies, without following it should it be a link; raises OutsideWorkspaceError."""
    name = os.path.basename(path.rstrip("/"))
    if name in ("", ".", ".."):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    folder = os.path.dirname(path.rstrip("/")) or "."
    return confined(folder, call.workspace, allow_outside=call.inputs["allow_outside"]) / name


def _destination(call: TaskCall, name: str) -> Path:
    """Return the place of a file that is copied or moved: the path given, or in the folder that this leads to."""
    given = call.inputs["destination"]
    path = inside(call, given)
    return path / name if given.endswith("/") or path.is_dir() else path


def _require_movable(path: Path, mode: int) -> None:
    if not stat.S_ISLNK(mode):
        require_file(path, mode)


def _rename(source: Path, destination: Path, given_up: GivenUp) -> None:
    """Move a file; to another disk by a copy, so that the destination is whole at any time."""
    try:
        os.replace(source, destination)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with opened(source) as file:
            write_whole(destination, _chunks(file), given_up, os.fstat(file.fileno()).st_mode)
        source.unlink()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _missing(path: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
