"""What the URL of a store on PostgreSQL says.

    postgresql://USER@HOST:PORT/DATABASE?schema=flujo&lease=15&patience=60&listen=postgresql://…

What is not ours goes on to the driver, as far as that knows it (`libpq`): `sslmode`, `host`, `target_session_attrs` and
the like. What is not said comes from the environment, as for every client of PostgreSQL: PGHOST, PGUSER, PGPASSWORD,
PGPASSFILE, PGSERVICE.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from flujo.kernel.errors import StoreUrlError, without_password

from . import libpq

SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,40}")
LEAST_LEASE_SECONDS, LONGEST_LEASE_SECONDS = 1.0, 300.0
DEFAULT_LEASE_SECONDS = 15.0
DEFAULT_PATIENCE_SECONDS = 60.0


class Address(NamedTuple):
    """Where a store is, and how it is talked to."""

    dsn: str
    """What the driver connects to; it may hold a password, and is shown to nobody."""

    shown: str
    """The URL without passwords."""

    schema: str
    lease_seconds: float | None
    """The lease of a store that this URL creates; None for the default."""

    patience_seconds: float
    """For how long an owner tries again when the server does not answer."""

    listen_dsn: str | None
    """Where notifications are heard, if not at the DSN: a pooler gives each transaction another session."""

    must_be_durable: bool
    """Whether a server that acknowledges before it has synced is refused."""

    options: Mapping[str, Any]
    """Arguments of the driver's `connect`."""

    connect_seconds: float | None
    """How long a connection may take; None for the default."""

    application_name: str | None
    """What the server is told that connects; None for the default."""

    said: Mapping[str, str]
    """The options that go on to the driver."""

    def __repr__(self) -> str:
        """Return what may be shown: tracebacks with the values of variables, and debuggers, show this."""
        return f"<address {self.shown}>"

    def censored(self, message: str) -> str:
        """Return what a driver or a server says, without the passwords of this address."""
        for dsn in (self.dsn, self.listen_dsn or ""):
            split = urlsplit(dsn)
            said = dict(parse_qsl(split.query))
            given = {split.password, unquote(split.password or ""), said.get("password"), said.get("sslpassword")}
            for password in sorted(filter(None, given), key=len, reverse=True):
                message = message.replace(password, "***")
        return message


def parse(url: str) -> Address:
    """Return what a URL says; raises StoreUrlError."""
    scheme, _, rest = url.partition(":")
    if rest and not rest.startswith(("//", "?")):
        raise StoreUrlError(url, f"write {scheme}://USER@HOST/DATABASE, or {scheme}: and PGHOST, PGUSER, PGDATABASE")
    try:
        split = urlsplit(f"postgresql:{rest if rest.startswith('//') else '//' + rest}")
        _check_ports(split.netloc)
    except ValueError:  # whose text has a part of a password with a slash in it
        problem = "its host and port cannot be read; in a password write %40 for @, %2F for /, %3A for :, %3F for ?"
        raise StoreUrlError(url, problem) from None
    said = dict(parse_qsl(split.query, keep_blank_values=True))
    schema = said.pop("schema", "flujo")
    if not SCHEMA.fullmatch(schema):
        raise StoreUrlError(url, f"a schema has lower case letters, digits and '_', and begins with none: {schema!r}")
    lease = said.pop("lease", None)
    listen = said.pop("listen", None)
    hosts = split.netloc.rpartition("@")[2] or said.get("host") or os.environ.get("PGHOST", "")
    lease_seconds = None if lease is None else _lease(url, lease)
    patience_seconds = _seconds(url, "patience", said.pop("patience", str(DEFAULT_PATIENCE_SECONDS)))
    must_be_durable = _is_durable(url, said.pop("durability", "full"))
    options = _driver_options(url, said)
    try:
        asked = libpq.translated(said, hosts.count(",") + 1)
    except libpq.Unusable as error:
        raise StoreUrlError(url, str(error)) from None
    return Address(
        dsn=_without_options(split, asked.left),
        shown=without_password(url),
        schema=schema,
        lease_seconds=lease_seconds,
        patience_seconds=patience_seconds,
        listen_dsn=None if listen is None else parse(listen).dsn,
        must_be_durable=must_be_durable,
        options=options,
        connect_seconds=asked.connect_seconds,
        application_name=asked.application_name,
        said=asked.left,
    )


def _check_ports(place: str) -> None:
    """Raise ValueError for a port that is none, of whichever host of a URL."""
    for host in place.rpartition("@")[2].split(","):
        _ = urlsplit(f"//{host}").port


def _without_options(split: SplitResult, left: Mapping[str, str]) -> str:
    # A path that is no more than a slash would be a database without a name, and hide that of a service.
    path = "" if split.path == "/" else split.path
    return urlunsplit(split._replace(scheme="postgresql", path=path, query=urlencode(left, quote_via=quote)))


def _lease(url: str, written: str) -> float:
    seconds = _seconds(url, "lease", written)
    if not LEAST_LEASE_SECONDS <= seconds <= LONGEST_LEASE_SECONDS:
        bounds = f"{LEAST_LEASE_SECONDS:g} to {LONGEST_LEASE_SECONDS:g}"
        raise StoreUrlError(url, f"a lease takes {bounds} seconds, and not {written}")
    return seconds


def _seconds(url: str, name: str, written: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", written):
        raise StoreUrlError(url, f"{name} is a number of seconds, and not {written!r}")
    return float(written)


def _is_durable(url: str, written: str) -> bool:
    if written not in ("full", "normal"):
        raise StoreUrlError(url, f"durability is full or normal, and not {written!r}")
    return written == "full"


def _driver_options(url: str, said: dict[str, str]) -> Mapping[str, Any]:
    """Take the options of the driver that are no part of its DSN."""
    size = said.pop("statement_cache_size", None)
    if size is None:
        return {}
    if not re.fullmatch(r"[0-9]{1,4}", size):
        raise StoreUrlError(url, f"statement_cache_size is a number, and not {size!r}")
    return {"statement_cache_size": int(size)}
