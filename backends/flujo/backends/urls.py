"""What the URL of a store on disk says: `sqlite:PATH[?durability=full|normal]`, and the same for `file:DIR`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from flujo.kernel.errors import StoreUrlError

Durability = Literal["full", "normal"]
"""`full`: what was acknowledged survives a power cut. `normal`: it survives the process, a power cut may take the last
commits; the store stays consistent either way."""


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
    match options.removeprefix("?durability=") if options else "full":
        case "full":
            return Address(path, "full")
        case "normal":
            return Address(path, "normal")
        case _:
            raise StoreUrlError(url, "the only option is durability=full or durability=normal")
