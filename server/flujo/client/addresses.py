"""Parse the address of a server: `unix:PATH`, a socket file, or `tcp://HOST:PORT`.

A unix socket is reached by users who may open its file, and from no other machine. What comes over TCP needs a token or
a certificate (flujo.server.access), and from another machine TLS.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from flujo.kernel.errors import InvalidAddressError

LONGEST_PATH = 103
"""Bytes in the path of a socket: 107 on Linux, 103 on macOS."""

_TCP = r"(?:tcp://)?(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})/?"


class ServerAddress(NamedTuple):
    """A socket file, or a port of a host. `text` is what the user wrote."""

    text: str
    path: Path | None = None
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Return the address in `unix:PATH`, `unix:///PATH`, `tcp://HOST:PORT` or `HOST:PORT`.

        A relative path counts from the working directory. Raises InvalidAddressError."""
        scheme, colon, rest = text.partition(":")
        if colon and scheme == "unix":
            return cls(text, _socket_path(text, rest))
        if (match := re.fullmatch(_TCP, text)) is None:
            raise InvalidAddressError(text, "it is neither unix:PATH nor tcp://HOST:PORT")
        host, port = match[1] or match[2], int(match[3])
        if port > 65535:
            raise InvalidAddressError(text, "ports go up to 65535")
        if match[1] is not None and not _is_ip(host):
            raise InvalidAddressError(text, f"{host!r} is no IPv6 address")
        return cls(text, None, host, port)

    @property
    def socket(self) -> Path:
        """Return the socket file; raises InvalidAddressError for an address of another kind."""
        if self.path is None:
            raise InvalidAddressError(self.text, "it names no socket file")
        return self.path

    @property
    def is_local(self) -> bool:
        """True if only this machine reaches it: a socket file, or a port of the loopback interface."""
        if self.path is not None or self.host == "localhost":
            return True
        return _is_ip(self.host) and ipaddress.ip_address(self.host).is_loopback

    @property
    def target(self) -> str:
        """Return the target for gRPC; a path that is too long is given relative to the working directory.

        Raises InvalidAddressError if neither is short enough."""
        if self.path is None:
            return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        if _fits(path := str(self.path)) or _fits(path := os.path.relpath(path)):
            return f"unix:{quote(os.fsencode(path))}"  # gRPC reads it as a URI: `#`, `?` and `%41` mean other things
        raise InvalidAddressError(
            self.text, f"the path of a socket has at most {LONGEST_PATH} bytes; choose a shorter one"
        )


def _socket_path(text: str, rest: str) -> Path:
    if rest.startswith("//"):
        if not rest.startswith("///"):
            raise InvalidAddressError(text, "unix:// takes an absolute path, with a third slash")
        rest = rest[2:]
    if not rest or "\0" in rest:
        raise InvalidAddressError(text, "it names no file")
    return Path(rest).expanduser().absolute()


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _fits(path: str) -> bool:
    return len(os.fsencode(path)) <= LONGEST_PATH
