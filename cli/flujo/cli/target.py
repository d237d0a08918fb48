"""Find which runs a command works on: those of a server, or those of a store, and where the store is.

In this order: --server ADDRESS; --store URL; FLUJO_SERVER, then FLUJO_STORE; `server = "…"` or `store = "…"` in the
nearest flujo.toml upwards; the nearest folder .flujo upwards; and `sqlite:.flujo/state.db` in the working directory.
Which store that is, `flujo.backends.discovery` says. Finding out creates nothing. A socket that flujo.toml names is
refused if another user owns it or its folder; the flags and the variables name it, which is how a user insists.
"""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from flujo.backends import open_backend
from flujo.backends.discovery import DEFAULT as DEFAULT
from flujo.backends.discovery import find_store, nearest_setting
from flujo.client.credentials import NO_CREDENTIALS, Credentials, read_token
from flujo.kernel.errors import without_password
from flujo.kernel.trust import require_trusted


class StoreTarget(NamedTuple):
    """A store by its URL. `workspaces` is where its runs get folders of their own."""

    url: str
    workspaces: Path

    @property
    def shown(self) -> str:
        """Return the URL as it is printed: without a password."""
        return without_password(self.url)

    @property
    def listen(self) -> str:
        """Return the default address of a server of this store."""
        return f"unix:{os.path.relpath(self.workspaces.parent / 'server.sock')}"

    @property
    def tokens(self) -> Path:
        """Return the default file of tokens for such a server."""
        return Path(os.path.relpath(self.workspaces.parent / "tokens.json"))


class ServerTarget(NamedTuple):
    """A server by its address, and what it is shown on TCP."""

    address: str
    credentials: Credentials = NO_CREDENTIALS


Target = StoreTarget | ServerTarget


def is_shared(target: Target) -> bool:
    """True for a store whose kernels are on several hosts, and do what others leave to them. Raises StoreUrlError."""
    return isinstance(target, StoreTarget) and open_backend(target.url).capabilities.several_hosts


def with_credentials(
    target: Target,
    token_file: str | None = None,
    ca: str | None = None,
    certificate: str | None = None,
    key: str | None = None,
) -> Target:
    """Return the target with what its server is shown: of the options, else of the environment.

    Raises InvalidTokensError for a token that cannot be read."""
    if not isinstance(target, ServerTarget):
        return target
    token = None if token_file else os.environ.get("FLUJO_TOKEN") or None
    if token is None and (name := _file(token_file, "FLUJO_TOKEN_FILE")) is not None:
        token = read_token(name)
    return target._replace(
        credentials=Credentials(
            token,
            _file(ca, "FLUJO_TLS_CA"),
            _file(certificate, "FLUJO_TLS_CLIENT_CERT"),
            _file(key, "FLUJO_TLS_CLIENT_KEY"),
        )
    )


def _file(given: str | None, variable: str) -> Path | None:
    name = given or os.environ.get(variable)
    return Path(name).expanduser() if name else None


def discover(server: str | None = None, store: str | None = None, *, here: Path | None = None) -> Target:
    """Return the target of a command in the folder `here`, with `server` and `store` as its --server and --store.

    Raises StoreUrlError, InvalidAddressError, UntrustedOwnerError."""
    here = here or Path.cwd()
    if server is None and store is None:
        server = os.environ.get("FLUJO_SERVER") or None
    if server is not None:
        return ServerTarget(server)
    if store is None and not os.environ.get("FLUJO_STORE") and (address := nearest_setting(here, "server")) is not None:
        _require_own_socket(address)
        return ServerTarget(address)
    return discover_store(store, here=here)


def discover_store(given: str | None = None, *, here: Path | None = None) -> StoreTarget:
    """Return the store for a command that works on one itself, with `given` as its --store."""
    return StoreTarget(*find_store(given, here=here))


def _require_own_socket(address: str) -> None:
    """Raise UntrustedOwnerError for a socket of another user, who would be sent inputs and signals.

    The owner of its folder counts too, and could replace the socket between this check and the connection."""
    from flujo.client.addresses import ServerAddress

    path = ServerAddress.parse(address).path
    if path is None:
        return
    require_trusted([path.parent, path], f"flujoctl list --server {quote(address)}")
