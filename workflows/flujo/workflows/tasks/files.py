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
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from flujo.kernel.errors import FlujoError
from flujo.kernel.trust import set_mode
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


class NotTextError(FlujoError, ValueError):
    """A file holds bytes that are no text in the encoding that was asked for."""

    reason = "INVALID_FIELD"
    type = "NotTextError"

    def __init__(self, path: Path, encoding: str, error: UnicodeDecodeError) -> None:
        super().__init__(
            f"{str(path)!r} is not {encoding} text: its byte {error.start + 1} cannot be read; "
            "give its `encoding`, or `errors: replace`"
        )


Keywords = dict[str, dict[str, Any]]

FILE_PATH: Keywords = {"path": {"type": "string", "required": True, "minLength": 1}}
TEXT: Keywords = {"encoding": {"type": "string", "default": "utf-8"}}
OUTSIDE: Keywords = {"allow_outside": {"type": "boolean", "default": False}}
FILE = {"file": "path", "file_path": "path"}
"""The words for `path` in the files of other engines."""

OUTPUT_FILE = {**FILE, "output_file": "path"}
"""The same for what is written."""

WRITTEN = {"type": "object", "properties": {"path": {"type": "string"}, "size": {"type": "integer"}}}
"""What a task returns that has written a file: its absolute path, and its size in bytes."""


@task(
    "read_file",
    inputs={
        "path": {"type": "string", "minLength": 1},
        "file": {"type": "string", "minLength": 1},
        **TEXT,
        "errors": {"type": "string", "enum": ["strict", "replace"], "default": "strict"},
        **OUTSIDE,
    },
    one_of=[("path", "file")],
    spellings={"file_path": "path"},
    result={"type": ["string", "object"]},
)
async def read_file(call: TaskCall) -> Any:
    """Return the text of the file `path`; of `file`, as other engines call it, {path, content}."""
    given = call.inputs
    path = await may_block(lambda _: inside(call, given.get("path", given.get("file"))))
    text = await may_block(lambda _: read_text(path, given["encoding"], given["errors"]))
    return text if "path" in given else {"path": str(path), "content": text}


@task(
    "write_file",
    inputs={**FILE_PATH, **TEXT, **OUTSIDE, "content": {"required": True}},
    spellings=OUTPUT_FILE,
    result=WRITTEN,
)
async def write_file(call: TaskCall) -> dict[str, Any]:
    """Write a file, and the folders it needs; return {path, size}. Anything but text is written as JSON."""

    return await written(call, as_text(call.inputs["content"]))


async def written(call: TaskCall, text: str) -> dict[str, Any]:
    """Write a text to the file that a call names; return {path, size}."""

    def write(given_up: GivenUp) -> dict[str, Any]:
        path = inside(call, call.inputs["path"])
        return {"path": str(path), "size": write_text(path, text, call.inputs["encoding"], given_up)}

    return await may_block(write)


def inside(call: TaskCall, path: str) -> Path:
    """Return a path seen from the workspace of a call, which may lead out of it only with `allow_outside`."""
    return confined(path, call.workspace, allow_outside=call.inputs["allow_outside"])


def beside_or_inside(call: TaskCall, name: str) -> Path:
    """Return the file a relative path names: beside the workflow's file, if it has one, or else in the workspace.
    Raises FileNotFoundError, which names both, if it is in neither."""
    outside = call.inputs["allow_outside"]
    if not call.context["workflow_dir"]:
        return confined(name, call.workspace, allow_outside=outside)
    folder = Path(call.context["workflow_dir"])
    beside = confined(name, folder, call.workspace, allow_outside=outside)
    if beside.exists():
        return beside
    inside = confined(name, call.workspace, folder, allow_outside=outside)
    if inside.exists() or beside == inside:
        return inside
    raise FileNotFoundError(
        f"there is no {name!r} beside the workflow's file, {folder}, or in the workspace, {call.workspace}"
    )


def confined(path: str, folder: Path, *others: Path, allow_outside: bool) -> Path:
    """Return `path` seen from `folder`, without symbolic links; raises OutsideWorkspaceError if no folder holds it."""
    if "\0" in path:
        raise ValueError("a path cannot hold a NUL character")
    resolved = (folder / path).resolve()
    if allow_outside or any(resolved.is_relative_to(each.resolve()) for each in (folder, *others)):
        return resolved
    raise OutsideWorkspaceError(path, folder)


def read_text(path: Path, encoding: str, errors: str = "strict") -> str:
    """Return the text of an ordinary file of bounded size; raises NotAFileError and NotTextError."""
    with opened(path) as file:
        data = file.read(MAX_READ_BYTES + 1)
    if len(data) > MAX_READ_BYTES:
        raise ValueError(f"{path} is larger than {MAX_READ_BYTES // 1024 // 1024} MiB")
    try:
        return data.decode(_checked(encoding), errors)
    except UnicodeDecodeError as error:
        raise NotTextError(path, encoding, error) from None


def opened(path: Path) -> BinaryIO:
    """Open an ordinary file for reading; raises NotAFileError."""
    require_file(path, os.stat(path).st_mode)
    # It may be another file by now: opening a pipe would wait for its other end, and links were resolved before.
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_NOFOLLOW))  # noqa: SIM115
    try:
        require_file(path, os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    return file


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
    return write_whole(path, [encoded(text, encoding)], given_up)


def encoded(text: str, encoding: str) -> bytes:
    """Return a text as bytes; raises UnicodeEncodeError for what the encoding does not have."""
    return text.encode(_checked(encoding))


def write_whole(path: Path, chunks: Iterable[bytes], given_up: GivenUp, mode: int | None = None) -> int:
    """Put a file in its place as a whole, durably, with a mode if one is given. Return its size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if (replaced := mode_of(path)) is not None:
        require_file(path, replaced)
    beside = path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # less the umask
    size = 0
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                given_up.check()
                size += file.write(chunk)
            file.flush()
            put_in_place(descriptor, beside, path, given_up, mode)
    except OSError as error:
        beside.unlink(missing_ok=True)
        if (
            error.filename is None and error.errno is not None
        ):  # of a full disk, or a broken one, the system does not say for which file
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return size


def put_in_place(descriptor: int, beside: Path, path: Path, given_up: GivenUp, mode: int | None = None) -> None:
    """Let a file that is written take its place, durably; without a `mode` that of one that is replaced stays."""
    kept = mode_of(path) if mode is None else mode
    if kept is not None:
        set_mode(descriptor, kept & 0o777)
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
