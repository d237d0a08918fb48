"""Where runs live: `open_backend("sqlite:state.db")` and the backends themselves.

A backend is named by a URL whose scheme is an entry point of the group `flujo.backends`; the value is a function that
makes an unopened backend of a URL. That group is the only registry: flujo's own backends stand in it, in
pyproject.toml, beside those of other packages, and what a backend can do it says itself (`StateBackend.path`,
`StateBackend.capabilities`). docs/writing-a-backend.md shows a whole one. To read the registry costs more than to open
most stores, so the modules beside this one are asked first: `sqlite:` is `flujo.backends.sqlite.open_sqlite`, as the
registry has it too.

Importing this package imports no backend, so that a program pays for the driver it uses and for no other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flujo.kernel.errors import StoreUrlError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from flujo.kernel.backend import StateBackend

    from .file import FileBackend
    from .memory import InMemoryBackend
    from .postgres import PostgresBackend
    from .sqlite import SQLiteBackend

__all__ = ["FileBackend", "InMemoryBackend", "PostgresBackend", "SQLiteBackend", "open_backend", "schemes"]

_GROUP = "flujo.backends"
_MODULES = {
    "FileBackend": "file",
    "InMemoryBackend": "memory",
    "PostgresBackend": "postgres",
    "SQLiteBackend": "sqlite",
}


def open_backend(url: str) -> StateBackend:
    """Return the backend a store URL names, not open yet: nothing is touched before its `open`.

    `memory:` is private to the object. `sqlite:PATH[?durability=full|normal]` is a file and
    `file:DIR[?durability=full|normal]` a folder, relative to the working directory unless they begin with a slash
    (`sqlite:///abs/path` is accepted too). `postgresql://USER@HOST/DATABASE` is a schema of a database. Raises
    StoreUrlError, and ExtraMissingError for a backend whose driver is not installed.
    """
    if not isinstance(url, str):
        from flujo.kernel.checked_calls import check_argument  # only now: most programs give a text

        check_argument("url", str, url)
    if "\0" in url or not _is_file_name(url):
        raise StoreUrlError(ascii(url), "a store URL is a text that a file name can hold")
    scheme, colon, _ = url.partition(":")
    if colon and scheme in _MODULES.values():
        return _own_factory(scheme)(url)
    registered = _registered()
    if scheme not in registered:
        _registered_on.cache_clear()  # its package may have been installed since
        registered = _registered()
    known = ", ".join(f"{name}:" for name in sorted(registered))
    if not colon:
        raise StoreUrlError(url, f"a store URL begins with a scheme, as in sqlite:{url}; there are {known}")
    if scheme not in registered:
        raise StoreUrlError(url, f"no backend is called {scheme!r}; there are {known}")
    return _factory(url, registered[scheme])(url)


def _is_file_name(url: str) -> bool:
    """True unless a URL holds half a character, which stands for no byte of a file name either."""
    try:
        return url.isascii() or bool(os.fsencode(url))
    except UnicodeEncodeError:
        return False


def _own_factory(scheme: str) -> Callable[[str], StateBackend]:
    made: Callable[[str], StateBackend] = getattr(import_module(f"{__name__}.{scheme}"), f"open_{scheme}")
    return made


def _factory(url: str, point: EntryPoint) -> Callable[[str], StateBackend]:
    try:
        made: Callable[[str], StateBackend] = point.load()
    except (ImportError, AttributeError) as error:
        problem = f"the backend {point.name!r} cannot be loaded from {point.value}: {error}"
        raise StoreUrlError(url, problem) from error
    return made


def schemes() -> list[str]:
    """Return the schemes of all installed backends, in order."""
    return sorted(_registered())


def _registered() -> Mapping[str, EntryPoint]:
    """Return the entry points by scheme. No other package can take a scheme of flujo's own."""
    return _registered_on(tuple(sys.path))


@lru_cache(maxsize=1)
def _registered_on(path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """Return the entry points of the packages on this path. Reading them all costs milliseconds, so it is done once."""
    from importlib.metadata import entry_points  # costs as much as a third of the kernel, and only opening needs it

    points = sorted(entry_points(group=_GROUP), key=lambda point: point.module.startswith(f"{__name__}."))
    return {point.name: point for point in points}


if not TYPE_CHECKING:  # a type checker would take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
