"""Which store a command works on, and what lies beside it.

In this order: --store URL, FLUJO_STORE, `store = "…"` in the nearest flujo.toml upwards, the nearest folder .flujo
upwards, and `sqlite:.flujo/state.db` in the working directory. Finding out creates nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from flujo.kernel.errors import StoreUrlError

DEFAULT = "sqlite:.flujo/state.db"


class Target(NamedTuple):
    """A store by its URL. `workspaces` is where its runs get folders of their own."""

    url: str
    workspaces: Path


def discover(given: str | None, *, here: Path | None = None) -> Target:
    """The store for a command in the folder `here`, with `given` as its --store."""
    here = here or Path.cwd()
    url = given or os.environ.get("FLUJO_STORE") or _from_settings(here) or _from_folder(here) or DEFAULT
    return Target(url, _workspaces_of(url, here))


def _from_settings(here: Path) -> str | None:
    for folder in (here, *here.parents):
        file = folder / "flujo.toml"
        if file.is_file():
            return _store_in(file)
    return None


def _store_in(file: Path) -> str | None:
    import tomllib

    try:
        store = tomllib.loads(file.read_text(encoding="utf-8")).get("store")
    except (OSError, ValueError) as error:
        raise StoreUrlError(str(file), f"this file cannot be read: {error}") from error
    if store is None:
        return None
    if not isinstance(store, str):
        raise StoreUrlError(str(file), "`store` must be a text")
    path = path_of(store)
    if path is None or path.is_absolute():
        return store
    _, question_mark, options = store.partition("?")
    return f"sqlite:{file.parent / path}{question_mark}{options}"


def _from_folder(here: Path) -> str | None:
    for folder in (here, *here.parents):
        if (folder / ".flujo").is_dir():
            return DEFAULT if folder == here else f"sqlite:{folder / '.flujo' / 'state.db'}"
    return None


def path_of(url: str) -> Path | None:
    """The file of an SQLite store; None for other stores."""
    scheme, _, rest = url.partition(":")
    if scheme != "sqlite":
        return None
    path = rest.partition("?")[0]
    return Path(path.removeprefix("//") if path.startswith("///") else path).expanduser()


def _workspaces_of(url: str, here: Path) -> Path:
    path = path_of(url)
    folder = here / ".flujo" if path is None else (here / path).parent
    return folder / "workspaces"
