"""The socket file of a server: who may reach it, and who may have it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from flujo.client import Client
from flujo.client.addresses import ServerAddress
from flujo.kernel.errors import AddressInUseError, InvalidAddressError, PlaceTakenError
from flujo.server import serve
from flujo.server.sockets import claimed
from kernel.harness import Harness
from other_users import give_away, root_only
from server.flows import doubling
from server.harness import served


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_a_socket_is_for_its_owner_only(umask: int, folder: Path) -> None:
    """Mode 0600 in a folder of mode 0700, whatever the umask; and the umask is what it was."""
    place = folder / "a" / "b"
    before = os.umask(umask)
    try:
        kernel = Harness().kernel(doubling)
        async with kernel, served(kernel, f"unix:{place}/s"), Client(f"unix:{place}/s") as client:
            await client.info()
            assert (mode(place / "s"), mode(place / "s.lock"), mode(place)) == (0o600, 0o600, 0o700)
            assert stat.S_ISSOCK((place / "s").stat().st_mode)
    finally:
        assert os.umask(before) == umask
    assert [path.name for path in place.iterdir()] == ["s.lock"]


async def test_a_second_server_is_refused(folder: Path, address: str) -> None:
    """gRPC would let it take the first one's place; the first one goes on undisturbed."""
    first, second = Harness().kernel(doubling), Harness().kernel(doubling)
    async with first, served(first, address), second, Client(address) as client:
        with pytest.raises(AddressInUseError) as refused:
            await serve(second, address)

        assert refused.value.address == address
        assert (await client.info()).kernel_id == first.id
    assert not (folder / "s").exists()


async def test_a_server_may_come_after_another(folder: Path, address: str) -> None:
    """Each has the address to itself for its time, and the same client reaches both."""
    seen: list[str] = []
    async with Client(address) as client:
        for _ in range(3):
            kernel = Harness().kernel(doubling)
            async with kernel, served(kernel, address):
                info = await client._info(10, wait_for_ready=True)
                seen.append(info.kernel_id)
                assert info.kernel_id == kernel.id
            assert not (folder / "s").exists()
    assert len(set(seen)) == 3


async def test_the_socket_of_a_dead_server_is_replaced(folder: Path, address: str) -> None:
    """Nobody holds its lock, so nobody listens there."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / "s"))
    kernel = Harness().kernel(doubling)

    async with kernel, served(kernel, address), Client(address) as client:
        assert (await client.info()).kernel_id == kernel.id


@pytest.mark.parametrize("name", ["C#", "a%41b", "q?x", "sp ace", "ü"])
async def test_a_server_is_found_whatever_its_folder_is_called(name: str, folder: Path) -> None:
    """gRPC takes the path for a part of a URI; it names the same file for the server and for its client."""
    kernel = Harness().kernel(doubling)
    address = f"unix:{folder}/{name}/s"
    async with kernel, served(kernel, address), Client(address) as client:
        assert (await client.info()).kernel_id == kernel.id
        assert stat.S_ISSOCK((folder / name / "s").stat().st_mode)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(kind: str, folder: Path, address: str) -> None:
    """The address was a mistake, and nothing of the user's is removed for it."""
    path = folder / "s"
    match kind:
        case "file":
            path.write_text("precious", encoding="utf-8")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to(folder / "elsewhere")

    with pytest.raises(InvalidAddressError, match="no socket"), claimed(ServerAddress.parse(address)):
        raise AssertionError("it is ours")

    assert path.is_symlink() or path.exists()


@pytest.mark.parametrize("bits", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(bits: int, folder: Path) -> None:
    """They could put a socket of their own into the place of ours, and be sent what is meant for us."""
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(bits)

    with pytest.raises(InvalidAddressError, match="others may write"), claimed(ServerAddress.parse(f"unix:{shared}/s")):
        raise AssertionError("it is ours")

    assert list(shared.iterdir()) == []


@root_only
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    """Its owner could do the same, whatever its mode."""
    theirs = folder / "theirs"
    theirs.mkdir(mode=0o700)
    give_away(theirs)

    with pytest.raises(InvalidAddressError, match="belongs to user"), claimed(ServerAddress.parse(f"unix:{theirs}/s")):
        raise AssertionError("it is ours")

    assert list(theirs.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error_of_the_address(folder: Path) -> None:
    """Somewhere on the way there is a file."""
    (folder / "file").write_text("", encoding="utf-8")

    with (
        pytest.raises(InvalidAddressError, match="cannot be made"),
        claimed(ServerAddress.parse(f"unix:{folder}/file/s")),
    ):
        raise AssertionError("it is ours")


def test_what_is_no_lock_is_named_and_left_alone(folder: Path, address: str) -> None:
    """There is a folder in its place."""
    (folder / "s.lock").mkdir()

    with pytest.raises(PlaceTakenError, match=r"s\.lock is a folder"), claimed(ServerAddress.parse(address)):
        raise AssertionError("it is ours")


def test_an_address_is_free_again_after_an_error(address: str) -> None:
    """Whatever ends the block gives the lock back."""
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), claimed(ServerAddress.parse(address)):
            raise ZeroDivisionError
