"""Which store is meant when none is named, and where the folders of its runs lie.

In this order: what the caller gives; FLUJO_STORE; `store = "…"` in the nearest flujo.toml upwards, where a relative
path counts from that file; the nearest folder .flujo upwards; and `sqlite:.flujo/state.db` in the working directory.
Finding out creates nothing. flujoctl and `flujo.state` both ask here.

A store that was found and not named, and a flujo.toml, is refused if another user owns it or what belongs to it
(flujo.kernel.trust): the first two ways name a store, which is how a user insists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from flujo.kernel.errors import StoreUrlError
from flujo.kernel.trust import require_trusted

from . import open_backend
from .urls import split

DEFAULT = "sqlite:.flujo/state.db"


class FoundStore(NamedTuple):
    """A store by its URL. `workspaces` is where its runs get folders of their own."""

    url: str
    workspaces: Path


def find_store(given: str | None = None, *, here: Path | None = None) -> FoundStore:
    """Return the store for a caller in the folder `here`, with `given` as the URL the caller names, if any.

    Raises StoreUrlError for a flujo.toml that cannot be used, UntrustedOwnerError for what another user owns."""
    here = here or Path.cwd()
    url = given or os.environ.get("FLUJO_STORE")
    if not url:
        url = _from_settings(here) or _from_folder(here) or DEFAULT
        require_trusted(_files_of(url, here), f"flujoctl list --store {quote(anchored(url, here))}")
    return FoundStore(url, workspaces_of(url, here))


def nearest_setting(here: Path, name: str) -> str | None:
    """Return what the nearest flujo.toml upwards says under a name; None if there is none, or it does not say.

    Raises StoreUrlError for a file that cannot be read, and for what is no text; UntrustedOwnerError for a file of
    another user."""
    file = settings_file(here)
    return None if file is None else _setting(file, name)


def path_of(url: str) -> Path | None:
    """Return the path of a store as its URL writes it, perhaps a relative one; None for a store that has none, as its
    backend says. Raises StoreUrlError."""
    if open_backend(url).path is None:
        return None
    _, path, _ = split(url)
    return Path(path.removeprefix("//") if path.startswith("///") else path).expanduser()


def anchored(url: str, folder: Path) -> str:
    """Return the URL of the same store for somebody who works elsewhere: a relative path in it counts from `folder`."""
    path = path_of(url)
    if path is None or path.is_absolute():
        return url
    scheme, _, options = split(url)
    return f"{scheme}:{folder / path}{options}"


def workspaces_of(url: str, here: Path) -> Path:
    """Return where the runs of a store get folders of their own: beside it, or in .flujo for a store that has no
    path."""
    path = path_of(url)
    return here / ".flujo" / "workspaces" if path is None else workspaces_beside(here / path)


def workspaces_beside(path: Path) -> Path:
    """Return the same for a store whose file or folder is known."""
    return path.parent / "workspaces"


def _from_settings(here: Path) -> str | None:
    file = settings_file(here)
    store = None if file is None else _setting(file, "store")
    return None if file is None or store is None else anchored(store, file.parent)


def settings_file(here: Path) -> Path | None:
    """Return the nearest flujo.toml upwards; None if there is none."""
    files = (folder / "flujo.toml" for folder in (here, *here.parents))
    return next((file for file in files if os.path.isfile(file)), None)


def _setting(file: Path, name: str) -> str | None:
    import tomllib

    require_trusted([file], "flujoctl list --store URL, or --server ADDRESS")
    try:
        value: Any = tomllib.loads(file.read_text(encoding="utf-8")).get(name)
    except (OSError, ValueError) as error:
        raise StoreUrlError(str(file), f"this file cannot be read: {error}") from error
    if value is None or isinstance(value, str):
        return value
    raise StoreUrlError(str(file), f"`{name}` must be a text")


def _from_folder(here: Path) -> str | None:
    for folder in (here, *here.parents):
        if os.path.isdir(folder / ".flujo"):  # and not Path.is_dir, which raises where a folder may not be entered
            return DEFAULT if folder == here else f"sqlite:{folder / '.flujo' / 'state.db'}"
    return None


def _files_of(url: str, here: Path) -> Iterator[Path]:
    """Yield the files of a store whose owners count: itself, its folder, and what lies beside or in it."""
    if (path := path_of(url)) is None:
        return
    path = here / path
    yield from (path.parent, path)
    if os.path.isdir(path):
        with suppress(OSError):  # a folder that cannot be read is an error of the opening
            yield from path.iterdir()
    else:
        database = Path(os.path.realpath(path))
        yield from (database.with_name(database.name + ending) for ending in ("-wal", "-shm", "-kernels"))
