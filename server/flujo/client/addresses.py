"""Parse the address of a server: `unix:PATH`, a socket file.

A unix socket is reached by users who may open its file, and from no other machine. TCP needs authentication
first and is not there yet (SCOPE.md).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from flujo.kernel.errors import InvalidAddressError

LONGEST_PATH = 103
"""Bytes in the path of a socket: 107 on Linux, 103 on macOS."""


class ServerAddress(NamedTuple):
    """A socket file. `text` is what the user wrote."""

    text: str
    path: Path

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Return the address in `unix:PATH` or `unix:///PATH`; raises InvalidAddressError.

        A relative path counts from the working directory."""
        scheme, colon, rest = text.partition(":")
        if not colon or scheme != "unix":
            raise InvalidAddressError(text, "a server listens on a unix socket; TCP is not there yet")
        if rest.startswith("//"):
            if not rest.startswith("///"):
                raise InvalidAddressError(text, "unix:// takes an absolute path, with a third slash")
            rest = rest[2:]
        if not rest or "\0" in rest:
            raise InvalidAddressError(text, "it names no file")
        return cls(text, Path(rest).expanduser().absolute())

    @property
    def target(self) -> str:
        """Return the target for gRPC; a path that is too long is given relative to the working directory.

        Raises InvalidAddressError if neither is short enough."""
        if _fits(path := str(self.path)) or _fits(path := os.path.relpath(path)):
            return f"unix:{quote(os.fsencode(path))}"  # gRPC reads it as a URI: `#`, `?` and `%41` mean other things
        raise InvalidAddressError(
            self.text, f"the path of a socket has at most {LONGEST_PATH} bytes; choose a shorter one"
        )


def _fits(path: str) -> bool:
    return len(os.fsencode(path)) <= LONGEST_PATH
