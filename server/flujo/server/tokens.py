"""The file of those whom a server lets in over TCP: digests of tokens, and names of certificates, each with a role.

`flujoctl token` changes the file, and a running server sees that with the next call. A token itself is shown once,
where it is made, and stored nowhere: the file holds its SHA-256, which is enough for 256 random bits.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from flujo.kernel.errors import InvalidNameError, InvalidTokensError
from flujo.kernel.trust import foreign_owner, open_own, remove_own

PREFIX = "flujo_"
"""How every token begins, so that a scanner of secrets finds one that has got into a repository."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/*-]{0,99}")
_FORMAT = 1


class Role(StrEnum):
    """What a caller may do; each role may do what those before it may."""

    VIEWER = "viewer"
    """Read runs."""

    OPERATOR = "operator"
    """Also start runs and act on them."""

    ADMIN = "admin"
    """Also delete and prune runs."""

    def may(self, needed: Role) -> bool:
        """True if this role includes another one."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Entry(NamedTuple):
    """One who is let in: by a token with this digest, or, without one, by a certificate that has `name`."""

    name: str
    role: Role
    sha256: str | None
    created_at: int  # microseconds UTC
    expires_at: int | None = None  # from then on it is as good as revoked

    def is_valid(self, now: int) -> bool:
        """True before it expires."""
        return self.expires_at is None or now < self.expires_at

    @property
    def id(self) -> str:
        """Return what tells it from others of the same name."""
        return "certificate" if self.sha256 is None else self.sha256[:8]


def digest_of(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def add_token(
    path: Path, name: str, role: Role, now: int, random: Callable[[int], bytes], *, expires_at: int | None = None
) -> str:
    """Make a token and return it; the file gets its digest. `random` returns so many random bytes.

    Raises InvalidNameError, InvalidTokensError."""
    token = PREFIX + random(32).hex()
    _check_name(name)
    with _changed(path) as entries:
        entries.append(Entry(name, role, digest_of(token), now, expires_at))
    return token


def add_certificate(path: Path, name: str, role: Role, now: int, *, expires_at: int | None = None) -> None:
    """Let in whoever shows a certificate with this name in it. Raises InvalidNameError, InvalidTokensError."""
    _check_name(name)
    with _changed(path) as entries:
        entries[:] = [each for each in entries if each.sha256 is not None or each.name != name]
        entries.append(Entry(name, role, None, now, expires_at))


def revoke(path: Path, which: str) -> Sequence[Entry]:
    """Let in no longer those that have this id or name; return them. Raises InvalidTokensError if there are none."""
    with _changed(path) as entries:
        gone = [each for each in entries if which in (each.id, each.name)]
        if not gone:
            raise InvalidTokensError(str(path), f"there is no token {which!r}", ["flujoctl token list"])
        entries[:] = [each for each in entries if each not in gone]
    return gone


def read_entries(path: Path) -> list[Entry]:
    """Return who is let in. Raises InvalidTokensError for a file that is missing, malformed or open to other users."""
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read()
    except FileNotFoundError:
        hint = f"flujoctl token create NAME --role operator --tokens {path}"
        raise InvalidTokensError(str(path), "there is no such file", [hint]) from None
    except OSError as error:
        raise InvalidTokensError(str(path), error.strerror or str(error)) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidTokensError(str(path), "other users may open it", [f"chmod 600 {path}"])
    if (owner := foreign_owner(path)) is not None:
        raise InvalidTokensError(str(path), f"it belongs to {owner}")
    try:
        told = json.loads(content)
    except ValueError as error:
        raise InvalidTokensError(str(path), f"it is not a file of tokens: {error}") from error
    return list(_entries(path, told))


def _entries(path: Path, told: Any) -> Iterator[Entry]:
    if not isinstance(told, dict) or told.get("format") != _FORMAT or not isinstance(told.get("entries"), list):
        raise InvalidTokensError(str(path), "it is not a file of tokens that this release reads")
    for each in told["entries"]:
        try:
            expires_at = None if each.get("expires_at") is None else int(each["expires_at"])
            yield Entry(str(each["name"]), Role(each["role"]), each["sha256"], int(each["created_at"]), expires_at)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidTokensError(str(path), f"an entry is malformed: {error!r}") from error


class TokenFile:
    """The file as a server reads it: again whenever it has changed, and nobody is let in by one that cannot be read."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidTokensError."""
        self.path = path
        self._seen: object = None
        self._entries: Sequence[Entry] = read_entries(path)

    def by_token(self, token: str) -> Entry | None:
        """Return who has this token. It is compared with every digest, in constant time. Raises InvalidTokensError."""
        wanted = digest_of(token)
        found = None
        for entry in self._current():
            if hmac.compare_digest(entry.sha256 or "", wanted):
                found = entry
        return found

    def by_names(self, names: Sequence[str]) -> Entry | None:
        """Return who has a certificate with one of these names. Raises InvalidTokensError."""
        known = {entry.name: entry for entry in self._current() if entry.sha256 is None}
        return next((known[name] for name in names if name in known), None)

    def _current(self) -> Sequence[Entry]:
        try:
            found = self.path.stat()
            seen: object = (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError:
            seen = None
        if seen is None or seen != self._seen:
            self._entries = read_entries(self.path)
            self._seen = seen
        return self._entries


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidNameError("name", name, "a letter or digit, then up to 99 letters, digits, . _ @ : / * or -")


@contextmanager
def _changed(path: Path) -> Iterator[list[Entry]]:
    """Yield the entries to be changed; the file is replaced as a whole at the end. One process at a time changes it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = open_own(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise InvalidTokensError(str(path), error.strerror or str(error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = read_entries(path) if path.exists() else []
        yield entries
        _replace(path, json.dumps({"format": _FORMAT, "entries": [_stored(each) for each in entries]}, indent=1))
    finally:
        os.close(lock)


def _stored(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in entry._asdict().items() if name != "expires_at" or value is not None}


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    remove_own(fresh)  # of a process that died in here
    handle = open_own(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
