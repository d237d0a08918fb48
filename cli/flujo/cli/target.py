"""Which runs a command works on: those of a server, or those of a store, with what lies beside it.

In this order: --server ADDRESS; --store URL; FLUJO_SERVER, then FLUJO_STORE; `server = "…"` or `store = "…"` in the
nearest flujo.toml upwards; the nearest folder .flujo upwards; and `sqlite:.flujo/state.db` in the working directory.
Finding out creates nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from flujo.kernel.errors import StoreUrlError

DEFAULT = "sqlite:.flujo/state.db"


class StoreTarget(NamedTuple):
    """A store by its URL. `workspaces` is where its runs get folders of their own."""

    url: str
    workspaces: Path

    @property
    def listen(self) -> str:
        """Where a server of this store listens unless it is told otherwise."""
        return f"unix:{os.path.relpath(self.workspaces.parent / 'server.sock')}"


class ServerTarget(NamedTuple):
    """A server by its address."""

    address: str


Target = StoreTarget | ServerTarget


def discover(server: str | None = None, store: str | None = None, *, here: Path | None = None) -> Target:
    """The target of a command in the folder `here`, with `server` and `store` as its --server and --store."""
    here = here or Path.cwd()
    if server is None and store is None:
        server = os.environ.get("FLUJO_SERVER") or None
    if server is not None:
        return ServerTarget(server)
    if store is None and not os.environ.get("FLUJO_STORE"):
        file = _settings_file(here)
        if file is not None and (address := _setting(file, "server")) is not None:
            return ServerTarget(address)
    return discover_store(store, here=here)


def discover_store(given: str | None = None, *, here: Path | None = None) -> StoreTarget:
    """The store for a command that works on one itself, with `given` as its --store."""
    here = here or Path.cwd()
    url = given or os.environ.get("FLUJO_STORE") or _from_settings(here) or _from_folder(here) or DEFAULT
    return StoreTarget(url, _workspaces_of(url, here))


def _from_settings(here: Path) -> str | None:
    file = _settings_file(here)
    store = None if file is None else _setting(file, "store")
    if file is None or store is None:
        return None
    path = path_of(store)
    if path is None or path.is_absolute():
        return store
    scheme = store.partition(":")[0]
    _, question_mark, options = store.partition("?")
    return f"{scheme}:{file.parent / path}{question_mark}{options}"


def _settings_file(here: Path) -> Path | None:
    return next((file for folder in (here, *here.parents) if (file := folder / "flujo.toml").is_file()), None)


def _setting(file: Path, name: str) -> str | None:
    import tomllib

    try:
        value: Any = tomllib.loads(file.read_text(encoding="utf-8")).get(name)
    except (OSError, ValueError) as error:
        raise StoreUrlError(str(file), f"this file cannot be read: {error}") from error
    if value is None or isinstance(value, str):
        return value
    raise StoreUrlError(str(file), f"`{name}` must be a text")


def _from_folder(here: Path) -> str | None:
    for folder in (here, *here.parents):
        if (folder / ".flujo").is_dir():
            return DEFAULT if folder == here else f"sqlite:{folder / '.flujo' / 'state.db'}"
    return None


def path_of(url: str) -> Path | None:
    """The file or folder of a store; None for stores that have none."""
    scheme, _, rest = url.partition(":")
    if scheme not in ("sqlite", "file"):
        return None
    path = rest.partition("?")[0]
    return Path(path.removeprefix("//") if path.startswith("///") else path).expanduser()


def _workspaces_of(url: str, here: Path) -> Path:
    path = path_of(url)
    folder = here / ".flujo" if path is None else (here / path).parent
    return folder / "workspaces"
