"""A random sample of changes over all of the product, the same for the same seed and tree."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

from mutation.changes import Change, changes_of

TESTS_FOR_OTHERS = "conformance"
"""The package of tests that flujo ships for backends of others: to leave out a test is noticed by no test."""


class Mutant(NamedTuple):
    """The product with one change."""

    path: str
    change: Change

    @property
    def place(self) -> str:
        """Where the change is, as editors take it."""
        return f"{self.path}:{self.change.line}"

    @property
    def package(self) -> str:
        """The package that is changed, at most two folders deep: `kernel`, `kernel/journal`, `backends/sqlite`."""
        folders = Path(self.path).parts[:-1]
        below = folders[folders.index("flujo") + 1 :] if "flujo" in folders else folders
        return "/".join(below[:2])

    def diff(self, root: Path) -> str:
        """Return the change as a diff without context."""
        before = (root / self.path).read_bytes()
        old, new = before.decode().splitlines(), self.change.apply(before).decode().splitlines()
        return "\n".join(list(difflib.unified_diff(old, new, n=0, lineterm=""))[3:])


def product_files(root: Path) -> Iterator[str]:
    """Yield the paths of the product's own code: what the coverage settings name, without tests for others."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    for source in project["tool"]["coverage"]["run"]["source"]:
        for path in sorted((root / source).rglob("*.py")):
            if TESTS_FOR_OTHERS not in path.relative_to(root).parts:
                yield path.relative_to(root).as_posix()


def draw(root: Path, count: int, seed: int, within: Sequence[str] = ()) -> list[Mutant]:
    """Return `count` different mutants, drawn evenly from all changes, so that a file counts by its size.

    `within` keeps to the files whose path begins with one of these.
    """
    paths = [path for path in product_files(root) if path.startswith(tuple(within) or "")]
    sources = {path: (root / path).read_bytes() for path in paths}
    everything = [Mutant(path, change) for path, source in sources.items() for change in changes_of(source)]
    Random(seed).shuffle(everything)
    return list(islice((each for each in everything if each.change.compiles(sources[each.path])), count))
