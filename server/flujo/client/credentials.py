"""What a client shows a server over TCP, and by what it knows the server. Nothing of it is needed on a unix socket."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from flujo.kernel.checked_calls import check_argument
from flujo.kernel.errors import InvalidAddressError, InvalidTokensError

from .addresses import ServerAddress

VISIBLE = "visible ASCII characters only; strip the end of the line from one that was read from a file"
"""What a token has to be: others make no header, and a library says of them what it likes, the token included."""


class Credentials(NamedTuple):
    """A token; the certificate of the authority that has signed the server's, which turns TLS on; and a certificate of
    the client's own with its key, for servers that ask for one."""

    token: str | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __repr__(self) -> str:
        token = None if self.token is None else "…"  # a token belongs into no log
        return f"Credentials(token={token}, ca={self.ca}, certificate={self.certificate}, key={self.key})"

    def check(self, address: ServerAddress) -> None:
        """Raise InvalidAddressError for what must not be sent there, InvalidTokensError for a token that cannot be."""
        check_argument("token", str | None, self.token)
        for name in ("ca", "certificate", "key"):
            check_argument(name, Path | None, getattr(self, name))
        if not all("!" <= letter <= "~" for letter in self.token or ""):
            raise InvalidTokensError("the token", f"it is not {VISIBLE}")
        if (self.certificate is None) != (self.key is None):
            raise InvalidAddressError(address.text, "a certificate and its key go together")
        if self.certificate is not None and self.ca is None:
            raise InvalidAddressError(address.text, "a certificate needs TLS; pass the authority of the server as well")
        if address.path is None and self.ca is None and not address.is_local:
            raise InvalidAddressError(
                address.text,
                "without TLS everybody on the way reads and changes what is sent; pass the server's authority",
            )


NO_CREDENTIALS = Credentials()


def read_token(path: Path) -> str:
    """Return the token in a file; raises InvalidTokensError."""
    token = read_file(path).decode(errors="replace").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidTokensError(str(path), "it does not hold one token")
    return token


def read_file(path: Path) -> bytes:
    """Return what is in a file; raises InvalidTokensError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidTokensError(str(path), error.strerror or str(error)) from error
