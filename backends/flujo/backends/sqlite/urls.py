"""What the URL of a SQLite store says: `sqlite:PATH[?durability=full|normal]`."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from flujo.kernel.errors import StoreUrlError

Durability = Literal["full", "normal"]
"""`full`: what was acknowledged survives a power cut. `normal`: it survives the process, a power cut may take the last
commits; the store stays consistent either way."""


class Address(NamedTuple):
    """A path, relative or absolute, and how durable a commit is."""

    path: str
    durability: Durability


def parse(url: str) -> Address:
    """What a URL that begins with `sqlite:` says. Raises StoreUrlError."""
    rest, question, options = url.removeprefix("sqlite:").partition("?")
    durability = options.removeprefix("durability=") if question else "full"
    if rest.startswith("//"):
        path = rest[2:]
        if not path.startswith("/"):
            raise StoreUrlError(url, f"a path does not follow two slashes; write sqlite:{path}")
    else:
        path = rest
    if path in ("", ":memory:"):
        raise StoreUrlError(url, "there is no path; for a store in memory write memory:")
    if durability not in get_args(Durability):
        raise StoreUrlError(url, "the only option is durability=full or durability=normal")
    return Address(path, "full" if durability == "full" else "normal")
