"""What the URL of a store on disk says: `sqlite:PATH[?durability=full|normal]`, and the same for `file:DIR`."""

from __future__ import annotations

import os
from shlex import quote
from typing import Literal, NamedTuple

from flujo.kernel.errors import StoreUrlError

Durability = Literal["full", "normal"]
"""`full`: what was acknowledged survives a power cut. `normal`: it survives the process, a power cut may take the last
commits; the store stays consistent either way."""


MAX_NAME = 240
MAX_PATH = 3_840
"""Bytes of a name and of a path. Linux takes 255 and 4,095; what stands beside a store and in it has longer ones."""


class Address(NamedTuple):
    """A path, relative or absolute, and how durable a commit is."""

    path: str
    durability: Durability


def split(url: str) -> tuple[str, str, str]:
    """Return the scheme of a URL, its path, and its options with their question mark.

    Options hold no slash: a question mark in the name of a folder belongs to the path."""
    scheme, _, rest = url.partition(":")
    path, question, options = rest.rpartition("?")
    return (scheme, rest, "") if not question or "/" in options else (scheme, path, question + options)


def parse(url: str, what: str) -> Address:
    """Return what a URL says; `what` the path is of, for messages. Raises StoreUrlError."""
    scheme, path, options = split(url)
    if path.startswith("//"):
        path = path[2:]
        if not path.startswith("/"):
            raise StoreUrlError(url, f"a path does not follow two slashes; write {scheme}:{path}")
    if path in ("", ":memory:"):
        raise StoreUrlError(url, f"there is no {what}; for a store in memory write memory:")
    _refuse_long(url, path)
    match options.removeprefix("?durability=") if options else "full":
        case "full":
            return Address(path, "full")
        case "normal":
            return Address(path, "normal")
        case _:
            raise StoreUrlError(
                url,
                f"behind the last ? stand the options of a store, and {options[1:]!r} is none; there is only "
                "durability=full and durability=normal",
                [
                    f"--store {quote(f'{url}?durability=full')}  # where the ? belongs to the name",
                    f"--store {quote(f'{scheme}:{path}')}  # without options",
                ],
            )


def _refuse_long(url: str, path: str) -> None:
    """Raise StoreUrlError for a path that no file system takes: each says so in another place, and in its own words."""
    longest = max(len(os.fsencode(part)) for part in path.split("/"))
    size = len(os.fsencode(os.path.abspath(os.path.expanduser(path))))
    if longest <= MAX_NAME and size <= MAX_PATH:
        return
    told = f"a name in its path has {longest} bytes, and may have {MAX_NAME}"
    if longest <= MAX_NAME:
        told = f"its path has {size} bytes, and may have {MAX_PATH}"
    raise StoreUrlError(f"{url[:40]}…", told, ["name a shorter path, as in sqlite:.flujo/state.db"])
