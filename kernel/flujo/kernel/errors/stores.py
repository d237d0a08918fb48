"""Errors of a store. All of them leave it as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from shlex import quote
from typing import TYPE_CHECKING

from .base import FlujoError

if TYPE_CHECKING:
    from pathlib import Path


_LOOK_AT_THE_DISK = "look at the disk, its mount and the permissions of the store, then try again"


_PASSWORDS = r"(?i)(^|&)([^=&]*(?:password|passwd|pasword|pwd|secret)[^=&]*)=[^&]*"
"""Options of a URL that hold a password, also where their name was mistyped."""


def without_password(url: str) -> str:
    """Return the URL of a store as it may be shown, logged and stored: without what only its server is to know."""
    place, question, options = url.partition("?")
    if "@" not in place and re.search(r"//[^/:]*:[^/]*[^0-9/]", place):  # the password has a question mark in it
        place, question, options = url, "", ""
    place = re.sub(r"(//[^/@:]*):.*@", r"\1@", place, flags=re.DOTALL)
    if not re.match(r"(?i)(sqlite|file|memory):|[^:]*//", place):  # somebody has forgotten the slashes, or the scheme
        place = re.sub(r"^((?:postgres(?:ql)?:)?[^/@:]+):[^/@]*@", r"\1@", place)
    options = re.sub(_PASSWORDS, r"\1\2=***", options)
    return place + question + re.sub(r"(?i)(//|%2f%2f)([^/@:&%]*)(:|%3a)[^&]*(@|%40)", r"\1\2\4", options)


def without_passwords(text: str) -> str:
    """Return a text without the passwords of the URLs in it: somebody may have typed one where it is no use, and is
    told so with what was typed."""
    if "@" not in text:
        return text
    text = re.sub(r"(?i)\b([a-z][a-z0-9+.-]*://[^/\s:@]*):[^\s@]*@", r"\1@", text)
    return re.sub(r"(?i)\b(postgres(?:ql)?:[^/\s:@]+):[^/\s@]*@", r"\1@", text)


class StoreError(FlujoError):
    """A store could not do what was asked. What it had not acknowledged before may be missing from it.

    The message says what the system answered: look at the disk, its mount, and the permissions of the store.
    """

    reason = "STORE_UNAVAILABLE"

    def __init__(self, store: str, problem: str, hints: Iterable[str] = ()) -> None:
        store = without_password(store)
        super().__init__(f"{store}: {problem}", tuple(hints) or [_LOOK_AT_THE_DISK])
        self.store, self.problem = store, problem


class StoreNotFoundError(StoreError):
    """There is no store at this place, and reading never creates one.

    Run a workflow, which makes a store, or name another one with --store URL.
    """

    reason = "STORE_NOT_FOUND"

    def __init__(self, store: str) -> None:
        super().__init__(store, "there is no store here yet", ["flujoctl run FILE", "or name one with --store URL"])


class StoreUrlError(StoreError):
    """A store URL names no known backend or has a malformed part.

    Write SCHEME:PATH, as in sqlite:.flujo/state.db or file:DIR.
    """

    reason = "INVALID_FIELD"
    reason_code = "invalid-store-url"

    def __init__(self, url: str, problem: str, hints: Sequence[str] = ()) -> None:
        super().__init__(url, problem, hints or ["write SCHEME:PATH, as in sqlite:.flujo/state.db"])


class ForeignStoreError(StoreError):
    """The file at this place was not written by flujo; it is left untouched.

    Name another place: `--store sqlite:OTHER-PATH`, or that of a command that makes one, as `flujoctl run`.
    """

    reason = "STORE_FOREIGN"

    def __init__(self, store: str, problem: str) -> None:
        super().__init__(
            store,
            f"this is not a flujo store ({problem}); it was left untouched",
            ["flujoctl list --store sqlite:OTHER-PATH"],
        )


class NewerStoreError(StoreError):
    """The store was written by a newer release; it is left untouched.

    Upgrade this one: `pip install --upgrade flujoctl`.
    """

    reason = "STORE_NEWER"

    def __init__(self, store: str, found: int, known: int) -> None:
        super().__init__(
            store,
            f"it has schema {found}, this release knows up to {known}; it was left untouched",
            ["pip install --upgrade flujoctl"],
        )
        self.found, self.known = found, known


class OlderStoreError(StoreError):
    """The store was written by an older release and has to be migrated first, which reading never does.

    `flujoctl db migrate` copies the store and migrates it.
    """

    reason = "STORE_OLDER"

    def __init__(self, store: str, found: int, known: int) -> None:
        super().__init__(
            store,
            f"it has schema {found}, this release reads schema {known}; it was left untouched",
            [f"flujoctl db migrate --store {quote(store)}  # copies it first"],
        )
        self.found, self.known = found, known


class StoreInUseError(StoreError):
    """A command needs a store for itself, and other processes have it open. `kernels` names the live kernels among
    them; it is empty where the other process advances no runs.

    End the processes that have it open, which `fuser -v FILE` shows, then try again.
    """

    reason = "STORE_IN_USE"

    def __init__(self, store: str, purpose: str, kernels: Sequence[str], file: Path | str) -> None:
        holders = f"the kernels {', '.join(kernels)}" if kernels else "another process"
        super().__init__(
            store,
            f"{purpose} needs the store for itself, and {holders} {'have' if kernels else 'has'} it open",
            [f"fuser -v {quote(str(file))}  # shows which processes; end them, then try again"],
        )
        self.purpose, self.kernels, self.file = purpose, tuple(kernels), str(file)


class StoreExistsError(StoreError):
    """Something is already where a store or a copy of one should go; it is left untouched.

    Name a place where there is nothing yet.
    """

    reason = "STORE_EXISTS"

    def __init__(self, store: str, hints: Iterable[str] = ("name a place where there is nothing yet",)) -> None:
        super().__init__(store, "there is something here already; it was left untouched", hints)


class CorruptStoreError(StoreError):
    """The store is damaged; it is left as it is.

    Copy its files away before anything else; `flujoctl db check` says what is damaged, `flujoctl db restore` brings
    a backup back.
    """

    reason = "STORE_CORRUPT"

    def __init__(
        self,
        store: str,
        problem: str,
        hints: Iterable[str] = ("copy the file and its -wal away before anything else", "restore a backup"),
    ) -> None:
        super().__init__(store, f"the store is damaged: {problem}", hints)


class StoreLeaseLostError(StoreError):
    """A kernel has not reached its store for so long that others take it for dead. Its runs go on at others."""

    def __init__(self, store: str, kernel: str) -> None:
        super().__init__(
            store,
            f"the kernel {kernel} did not reach the store for too long, and was taken for dead",
            ["start it again; its runs go on with other kernels, or with it then"],
        )
        self.kernel = kernel


class StoreFullError(StoreError):
    """The disk under the store is full. Nothing recorded is lost; runs can be resumed once there is space.

    Free some space, then go on with `flujoctl resume ID`; `flujoctl prune` and `flujoctl db migrate` need some
    space themselves.
    """

    reason = "STORE_FULL"

    def __init__(self, store: str, hints: Iterable[str] = ("free some space, then: flujoctl resume RUN_ID",)) -> None:
        super().__init__(store, "the disk is full; what was recorded is safe", hints)


class StoreBusyError(StoreError):
    """Another process has held the store for too long.

    `fuser -v FILE` shows which process holds it; try again once it has ended.
    """

    reason = "STORE_BUSY"

    def __init__(self, store: str, holder: Path | str, seconds: float) -> None:
        super().__init__(
            store,
            f"another process has held {holder} for {seconds:g} seconds",
            [f"fuser -v {holder}  # shows which one"],
        )
