"""The task `list_files`: which files there are in a folder of the workspace."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from flujo.workflows.blocking import GivenUp, may_block
from flujo.workflows.registry import TaskCall, task

from .files import OUTSIDE, inside

MAX_FILES = 10_000
MAX_SEEN = 1_000_000
"""Files and folders that are looked at, those that do not match included."""


@task(
    "list_files",
    inputs={
        "path": {"type": "string", "default": ".", "minLength": 1},
        "pattern": {"type": "string", "default": "*", "minLength": 1, "maxLength": 1000},
        "recursive": {"type": "boolean", "default": False},
        **OUTSIDE,
    },
    spellings={"directory": "path", "folder": "path"},
    result={
        "type": "object",
        "properties": {"path": {"type": "string"}, "files": {"type": "array"}, "count": {"type": "integer"}},
    },
)
async def list_files(call: TaskCall) -> dict[str, Any]:
    """Return {path, files, count}: the files of a folder that match a pattern, seen from the folder, sorted.

    `*` and `?` stand for characters of one name, `**/` for any folders. Names that begin with a dot match a pattern
    that does. Links are not followed into folders. More than 10,000 files fail the step.
    """

    def find(given_up: GivenUp) -> dict[str, Any]:
        folder = inside(call, call.inputs["path"])
        pattern = call.inputs["pattern"].split("/")
        deep = call.inputs["recursive"] or len(pattern) > 1
        if call.inputs["recursive"] and pattern[0] != "**":
            pattern = ["**", *pattern]
        files = sorted(_matching(folder, pattern, deep, given_up))
        return {"path": str(folder), "files": files, "count": len(files)}

    return await may_block(find)


def _matching(folder: Path, pattern: Sequence[str], deep: bool, given_up: GivenUp) -> Iterator[str]:
    """Yield the files below a folder that match, as paths seen from it."""
    todo: list[tuple[str, ...]] = [()]
    seen = found = 0
    while todo:
        given_up.check()
        parts = todo.pop()
        with os.scandir(folder.joinpath(*parts)) as entries:
            for entry in entries:
                if (seen := seen + 1) > MAX_SEEN:
                    raise ValueError(f"{folder} holds more than {MAX_SEEN:,} files and folders; list one below it")
                path = (*parts, entry.name)
                if deep and entry.is_dir(follow_symlinks=False):
                    todo.append(path)
                elif not entry.is_dir() and _matches(path, pattern):
                    if (found := found + 1) > MAX_FILES:
                        raise ValueError(f"more than {MAX_FILES:,} files match; give a narrower `pattern`, or a folder")
                    yield os.fsencode("/".join(path)).decode(errors="backslashreplace")


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """True if the parts of a path match those of a pattern; `**` matches any number of folders."""
    places = {0}  # how much of the pattern may be used up
    for index, name in enumerate(path):
        is_folder = index < len(path) - 1
        places |= {place + 1 for place in places if place < len(pattern) and pattern[place] == "**"}
        following: set[int] = set()
        for place in places:
            if place == len(pattern):
                continue
            if pattern[place] == "**":
                if is_folder and not name.startswith("."):
                    following.add(place)
            elif fnmatchcase(name, pattern[place]) and name.startswith(".") <= pattern[place].startswith("."):
                following.add(place + 1)
        places = following
    return len(pattern) in places
