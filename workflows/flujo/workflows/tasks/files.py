"""Tasks that read and write files in the workspace: read_file, write_file.

A path is relative to the workspace and may not lead out of it, through `..`, a symbolic link or an absolute path,
unless `allow_outside` is true. A file is written beside its place and then moved there, so that nobody sees half of it.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import anyio.to_thread

from flujo.kernel.errors import FlujoError
from flujo.workflows.registry import TaskCall, task

MAX_READ_BYTES = 16 * 1024 * 1024


class OutsideWorkspaceError(FlujoError, PermissionError):
    """A path leads out of the workspace."""

    reason = "INVALID_FIELD"
    type = "OutsideWorkspaceError"

    def __init__(self, path: str, workspace: Path) -> None:
        super().__init__(f"{path!r} leads out of {workspace}; give a path inside it, or `allow_outside: true`")


_PATH: dict[str, dict[str, Any]] = {
    "path": {"type": "string", "required": True, "minLength": 1},
    "encoding": {"type": "string", "default": "utf-8"},
    "allow_outside": {"type": "boolean", "default": False},
}


@task("read_file", inputs=_PATH)
async def read_file(call: TaskCall) -> str:
    """Return the text of a file."""
    path = confined(call.inputs["path"], call.workspace, allow_outside=call.inputs["allow_outside"])
    return await anyio.to_thread.run_sync(read_text, path, call.inputs["encoding"])


@task("write_file", inputs={**_PATH, "content": {"required": True}})
async def write_file(call: TaskCall) -> dict[str, Any]:
    """Write a file, and the folders it needs; return {path, size}. Anything but text is written as JSON."""
    path = confined(call.inputs["path"], call.workspace, allow_outside=call.inputs["allow_outside"])
    text = as_text(call.inputs["content"])
    size = await anyio.to_thread.run_sync(write_text, path, text, call.inputs["encoding"])
    return {"path": str(path), "size": size}


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def confined(path: str, folder: Path, *others: Path, allow_outside: bool) -> Path:
    """`path` seen from `folder`, without symbolic links; raises OutsideWorkspaceError if no given folder holds it."""
    if "\0" in path:
        raise ValueError("a path cannot hold a NUL character")
    resolved = (folder / path).resolve()
    if allow_outside or any(resolved.is_relative_to(each.resolve()) for each in (folder, *others)):
        return resolved
    raise OutsideWorkspaceError(path, folder)


def read_text(path: Path, encoding: str) -> str:
    """The text of a file of bounded size."""
    with path.open("rb") as file:
        data = file.read(MAX_READ_BYTES + 1)
    if len(data) > MAX_READ_BYTES:
        raise ValueError(f"{path} is larger than {MAX_READ_BYTES // 1024 // 1024} MiB")
    return data.decode(encoding)


def write_text(path: Path, text: str, encoding: str) -> int:
    """Put a file in its place as a whole, durably; the mode of one that is replaced stays. Returns its size."""
    data = text.encode(encoding)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # less the umask
    try:
        with os.fdopen(descriptor, "wb") as file:
            if path.exists():
                os.fchmod(descriptor, path.stat().st_mode & 0o777)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the move itself; the step is recorded as done right after this
    finally:
        os.close(folder)
    return len(data)
