"""The socket file of a server: one server at a time, reached by no other user.

gRPC itself would let a second server take a live socket over, and the first one to stop would then remove the other's
file. So a server holds an OS lock on `PATH.lock` for as long as it listens, and only the holder changes the socket.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flujo.client.addresses import ServerAddress
from flujo.kernel.errors import AddressInUseError, InvalidAddressError
from flujo.kernel.trust import foreign_owner, open_own


@contextmanager
def claimed(address: ServerAddress) -> Iterator[None]:
    """Hold the address inside the block; a socket of an earlier server is removed before it, and ours after it. A port
    is only looked at: gRPC holds it from when it is bound.

    Raises AddressInUseError, InvalidAddressError, PlaceTakenError."""
    if address.path is None:
        _require_free_port(address)
        yield
        return
    _make_folder(address)
    try:
        lock = open_own(address.socket.with_name(address.socket.name + ".lock"), os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise InvalidAddressError(address.text, f"its lock file cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AddressInUseError(address.text) from None
        _remove_socket(address)
        try:
            yield
        finally:
            _remove_socket(address)
    finally:
        os.close(lock)  # the file stays: removing it would take it from under a server that is about to lock it


@contextmanager
def private(address: ServerAddress) -> Iterator[None]:
    """Make the socket that is created inside the block accessible to its owner only, from the first moment on."""
    before = os.umask(0o077)  # and not 0o177: other threads may be making folders just now
    try:
        yield
    finally:
        os.umask(before)
    address.socket.chmod(0o600)


def _require_free_port(address: ServerAddress) -> None:
    """Raise AddressInUseError if somebody listens there, InvalidAddressError for an address that is not this machine's.

    A server whose port is taken must not have resumed runs by the time it finds out."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(address.text) from None
        raise InvalidAddressError(address.text, error.strerror or str(error)) from error


def _make_folder(address: ServerAddress) -> None:
    folder = address.socket.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = folder.stat().st_mode
    except OSError as error:
        raise InvalidAddressError(address.text, f"its folder cannot be made: {error.strerror}") from error
    # Another user who may write there could put a socket into the place of ours, and be sent what is meant for us.
    if (owner := foreign_owner(folder)) is not None:
        raise InvalidAddressError(address.text, f"the folder {folder} belongs to {owner}; choose one of your own")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InvalidAddressError(address.text, f"others may write to the folder {folder}; choose one of your own")


def _remove_socket(address: ServerAddress) -> None:
    path: Path = address.socket
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise InvalidAddressError(address.text, "there is a file of this name, which is no socket")
    path.unlink()
