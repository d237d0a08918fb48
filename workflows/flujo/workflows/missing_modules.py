"""A Python module that is not there, told so that its user finds it or knows what to install."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .blocking import GivenUp, may_block
from .wording import nearest

MOST_NAMES = 1000
"""How many names of a folder are compared with that of a module."""

NO_MODULE = re.compile(r"No module named '?([\w.]+)'?")
"""What Python says of a module, as an error and as a program."""

PLACES = {
    "workflow_dir": "beside the workflow's file",
    "workspace": "in the workspace",
    "start_dir": "where the run was started",
}
"""Where modules of users are looked for, by the name of the folder in templates, in the order of the search."""


async def told_of_module(missing: str, seen: Mapping[str, Any], where: Iterable[str] = PLACES) -> str:
    """Return where a module was looked for, and what to type; `where` names the places, among those that templates
    see."""
    folders = {place: Path(seen[place]) for place in where if seen.get(place)}
    others = {place: Path(seen[place]) for place in PLACES if place not in folders and seen.get(place)}

    def look(_: GivenUp) -> str:
        return _told(missing.partition(".")[0], folders, others)

    return await may_block(look)


def _told(name: str, folders: Mapping[str, Path], others: Mapping[str, Path]) -> str:
    listed = "".join(f"{PLACES[place]} ({folder}), " for place, folder in folders.items())
    looked = f"it was looked for {listed}and where {sys.executable} looks"
    for place, folder in others.items():
        if name in _modules_of(folder):
            way = f"type `import sys; sys.path.append(context[{place!r}])` above the import"
            return f"{looked}; there is one {PLACES[place]} ({folder}): {way}"
    if near := nearest(name, (each for folder in folders.values() for each in _modules_of(folder))):
        return f"{looked}; did you mean {near!r}?"
    return f"{looked}; put {name}.py there, or install what has it: {how_to_install('PACKAGE')}"


def how_to_install(what: str) -> str:
    """Return the command that installs something where flujo runs."""
    return f"{sys.executable} -m pip install {what}"


def _modules_of(folder: Path) -> list[str]:
    """Return the names of the modules and packages in a folder; none if it cannot be read."""
    try:
        names = sorted(os.listdir(folder))[:MOST_NAMES]
    except OSError:
        return []
    packages = (each for each in names if (folder / each / "__init__.py").exists())
    return [*(each.removesuffix(".py") for each in names if each.endswith(".py")), *packages]
