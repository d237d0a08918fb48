"""A file that a task has not found, told so that its user finds it: most often it lies where the run was started, and
a path counts from the workspace."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .blocking import GivenUp, may_block


async def told_of_missing(error: FileNotFoundError, workspace: Path, seen: Mapping[str, Any]) -> FileNotFoundError:
    """Return an error of the system as one in plain words, with what to type if the file is elsewhere; any other one
    as it is."""
    if type(error) is not FileNotFoundError or error.errno != errno.ENOENT or not isinstance(error.filename, str):
        return error
    missing = Path(error.filename)

    def look(_: GivenUp) -> str:
        return _told(missing, workspace, seen)

    return FileNotFoundError(await may_block(look))


def _told(missing: Path, workspace: Path, seen: Mapping[str, Any]) -> str:
    folder = next((each for each in (workspace, workspace.resolve()) if missing.is_relative_to(each)), None)
    if folder is None:
        return f"there is no {str(missing)!r}"
    name = str(missing.relative_to(folder))
    told = f"there is no {name!r} in the workspace, {folder}"
    for place, what in (("start_dir", "where the run was started"), ("workflow_dir", "beside the workflow's file")):
        if seen.get(place) and os.path.exists(os.path.join(seen[place], name)):
            written = f"{{{{ {place} }}}}/{name}"
            return f"{told}; there is one {what}: write {written!r} with `allow_outside: true`"
    return told
