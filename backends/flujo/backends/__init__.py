"""Where runs live: `open_backend("sqlite:state.db")` and the backends themselves.

A backend is named by a URL whose scheme picks the factory. The built-in schemes are known here; others are found as
entry points of the group `flujo.backends`, which is scanned only when an unknown scheme is asked for. Importing this
package imports no backend, so nobody pays for a driver they do not use.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from flujo.kernel.backend import StateBackend
from flujo.kernel.errors import StoreUrlError

if TYPE_CHECKING:
    from .file import FileBackend
    from .memory import InMemoryBackend
    from .sqlite import SQLiteBackend

__all__ = ["FileBackend", "InMemoryBackend", "SQLiteBackend", "open_backend"]

_BUILT_IN = {
    "file": "flujo.backends.file:open_file",
    "memory": "flujo.backends.memory:open_memory",
    "sqlite": "flujo.backends.sqlite:open_sqlite",
}
_EXPORTS = {
    "FileBackend": "flujo.backends.file",
    "InMemoryBackend": "flujo.backends.memory",
    "SQLiteBackend": "flujo.backends.sqlite",
}


def open_backend(url: str) -> StateBackend:
    """The backend a store URL names; nothing is touched before its `open`.

    `memory:` is private to the object. `sqlite:PATH[?durability=full|normal]` is a file and
    `file:DIR[?durability=full|normal]` a folder, relative to the working directory unless they begin with a slash
    (`sqlite:///abs/path` is accepted too). Raises StoreUrlError.
    """
    scheme, colon, _ = url.partition(":")
    if not colon:
        raise StoreUrlError(
            url, f"a store URL begins with a scheme; for a file write sqlite:{url}, for a folder file:{url}"
        )
    return _factory(url, scheme)(url)


def _factory(url: str, scheme: str) -> Callable[[str], StateBackend]:
    factory: Any
    if scheme in _BUILT_IN:
        module, _, name = _BUILT_IN[scheme].partition(":")
        factory = getattr(import_module(module), name)
    else:
        found = {point.name: point for point in entry_points(group="flujo.backends")}
        if scheme not in found:
            known = ", ".join(f"{name}:" for name in sorted(_BUILT_IN | found))
            raise StoreUrlError(url, f"no backend is called {scheme!r}; there are {known}")
        factory = found[scheme].load()
    made: Callable[[str], StateBackend] = factory
    return made


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
