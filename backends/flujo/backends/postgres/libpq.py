"""What URLs for PostgreSQL say that is meant for libpq, the client that most of the world connects with.

Consoles of hosted databases hand out URLs for libpq. The driver here is another one: what it does not know it takes for
a setting of the server, which refuses it. So each option of libpq is translated, left out where it changes nothing, or
refused with what to write instead."""

from __future__ import annotations

import configparser
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

WITHOUT_EFFECT = frozenset(
    (
        *("fallback_application_name", "load_balance_hosts", "sslcompression", "sslsni", "client_encoding"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
    )
)
"""Options that may be left out: heartbeats find out about a connection that is dead, and texts are in UTF-8."""

_ONLY: Mapping[str, tuple[tuple[str, ...], str]] = {
    "channel_binding": (
        ("disable", "prefer"),
        "the driver binds no channels; sslmode=verify-full proves the server by its certificate",
    ),
    "gssencmode": (("disable", "prefer"), "the driver encrypts by TLS only: sslmode=require"),
    "sslcertmode": (("allow", "disable"), "the driver does not know it: leave it out"),
    "require_auth": ((), "the driver does not know it: sslmode=verify-full proves the server by its certificate"),
    "requirepeer": ((), "the driver does not know it: leave it out"),
    "hostaddr": ((), "write the address as the host"),
    "ssl": ((), "write sslmode=require, or sslmode=verify-full and sslrootcert=FILE"),
    "pgbouncer": ((), "leave it out; before PgBouncer 1.21 write statement_cache_size=0"),
    "connection_limit": ((), "leave it out: a kernel has four connections"),
    "pool_timeout": ((), "leave it out: patience=SECONDS says for how long a kernel tries again"),
}
"""Options with the values that may be left out, and what to do about any other."""

FILES = {"sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslcrl": "PGSSLCRL"}
"""Options that name a file, and the variables of the environment that do the same."""


class Unusable(Exception):
    """An option of a URL cannot be used; the text says what to write."""


class Asked(NamedTuple):
    """What such options come to."""

    left: dict[str, str]
    """What the driver understands."""

    connect_seconds: float | None
    application_name: str | None


def translated(said: Mapping[str, str], hosts: int) -> Asked:
    """Return what the options of a URL come to that names so many hosts. Raises Unusable."""
    left = {name: value for name, value in said.items() if name not in WITHOUT_EFFECT}
    for name, (fine, advice) in _ONLY.items():
        if (value := left.pop(name, None)) is not None and value not in fine:
            raise Unusable(f"{name}={value} cannot be had: {advice}")
    connect_seconds = _connect_seconds(left.pop("connect_timeout", None))
    application_name = left.pop("application_name", None)
    if left.get("sslrootcert") == "system":
        left |= _by_the_system(left.get("sslmode"))
    if hosts > 1 and "target_session_attrs" not in left and "PGTARGETSESSIONATTRS" not in os.environ:
        left["target_session_attrs"] = "primary"  # whichever of them that is, after each failover
    if "service" not in left and (service := os.environ.get("PGSERVICE")):
        left["service"] = service  # asyncpg 0.32 reads this variable once it has looked for the service
    return Asked(left, connect_seconds, application_name or None)


def missing_file(said: Mapping[str, str]) -> str | None:
    """Return what is wrong with a file of certificates or keys that a URL or the environment names; None if nothing
    is."""
    for option, variable in FILES.items():
        path = said.get(option) or os.environ.get(variable)
        if path and not os.access(path, os.R_OK):
            return f"the file of {option if option in said else variable} is not there, or not to be read: {path}"
    return None


def unknown_service(said: Mapping[str, str]) -> str | None:
    """Return what is wrong with the service that a URL or the environment names; None if nothing is. The driver passes
    over one that is not there, and connects to this host."""
    if (service := said.get("service")) is None:
        return None
    file = Path(os.environ.get("PGSERVICEFILE") or Path("~/.pg_service.conf").expanduser())
    known = configparser.ConfigParser(interpolation=None)
    try:
        known.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        return f"the service file {file} cannot be read: {type(error).__name__}"
    return None if service in known.sections() else f"there is no service {service!r} in {file}"


def _connect_seconds(written: str | None) -> float | None:
    if written is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,5}", written):
        raise Unusable(f"connect_timeout is a number of seconds, and not {written!r}")
    return max(int(written), 2) if int(written) > 0 else None  # as libpq has it: no less than two, and 0 for no limit


def _by_the_system(mode: str | None) -> Mapping[str, str]:
    """Return the options that trust the authorities which this machine trusts."""
    if mode not in (None, "verify-full"):
        raise Unusable(f"sslrootcert=system goes with sslmode=verify-full, and not with {mode}")
    authorities = ssl.get_default_verify_paths().cafile
    if authorities is None:
        raise Unusable("this machine has no file of the authorities it trusts: name one, sslrootcert=FILE")
    return {"sslmode": "verify-full", "sslrootcert": authorities}
