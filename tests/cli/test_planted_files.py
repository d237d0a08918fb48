"""What somebody has put where flujo makes files and folders of its own, in a folder that is open to others: it is named
with what to do, or makes room; never followed, waited for or written to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from flujo.client.addresses import ServerAddress
from flujo.kernel.errors import PlaceTakenError
from flujo.server.sockets import claimed
from other_users import OTHER, give_away, root_only

from .conftest import Ended, Flujoctl

WORKFLOW = "name: w\nsteps: [{name: s, task: shell, inputs: {command: touch made}}]\n"


class Place(NamedTuple):
    """Where flujo makes something: in a `store`, beside it, or for a server."""

    path: str
    store: str = "sqlite:app.db"
    is_folder: bool = False
    makes_room: bool = False
    """True for what flujo makes anew whenever it likes."""


def _of_a_file_store(path: str, *, is_folder: bool = False, makes_room: bool = False) -> Place:
    return Place(path, "file:app", is_folder, makes_room)


PLACES = [
    Place("app.db-kernels", is_folder=True),
    Place("app.db-kernels/store.lock"),
    Place("app.db-kernels/unchecked", makes_room=True),
    Place("app.db-kernels/reserve", makes_room=True),
    Place("app.db-wal"),
    Place("app.db-shm"),
    Place("app.db-journal"),
    Place("workspaces", is_folder=True),
    Place("workspaces/new", is_folder=True),
    Place("workspaces/.store", makes_room=True),
    Place("workspaces/new.log", makes_room=True),
    _of_a_file_store("app/flujo-store.json"),
    _of_a_file_store("app/kernels", is_folder=True),
    _of_a_file_store("app/kernels/store.lock"),
    _of_a_file_store("app/kernels/copying", makes_room=True),
    _of_a_file_store("app/runs", is_folder=True),
    _of_a_file_store("app/definitions", is_folder=True),
    _of_a_file_store("app/blobs", is_folder=True),
    _of_a_file_store("app/quarantine", is_folder=True),
    _of_a_file_store("app/index", makes_room=True),
    _of_a_file_store("app/index.new", makes_room=True),
    _of_a_file_store("app/runs/old/journal", makes_room=True),
    _of_a_file_store("app/runs/old/inbox", is_folder=True, makes_room=True),
    _of_a_file_store("app/runs/old/damaged.json", makes_room=True),
]


def _plant_link(place: Path, leads_to: Path) -> None:
    place.symlink_to(leads_to)


def _plant_pipe(place: Path, _: Path) -> None:
    os.mkfifo(place)


def _plant_link_of_other(place: Path, leads_to: Path) -> None:
    place.symlink_to(leads_to)
    give_away(place)


def _plant_folder_of_other(place: Path, _: Path) -> None:
    place.mkdir()
    give_away(place)


PLANTS = {
    "a link to nothing": lambda place, _: _plant_link(place, place.with_name("nothing")),
    "a pipe": _plant_pipe,
    "another user's link": pytest.param(_plant_link_of_other, marks=root_only),
    "another user's folder": pytest.param(_plant_folder_of_other, marks=root_only),
}


@pytest.fixture(params=[*PLANTS.values()], ids=[*PLANTS])
def plant(request: pytest.FixtureRequest) -> Callable[[Path, Path], None]:
    """Puts something into a place; a link leads to the path that is given."""
    found: Callable[[Path, Path], None] = request.param
    return found


@pytest.fixture
def treasure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that somebody would like to have changed, with a file."""
    folder = tmp_path_factory.mktemp("treasure")
    (folder / "gold").write_text("gold")
    return folder


def is_untouched(treasure: Path) -> bool:
    """True if a treasure is as it was."""
    return {path.name: path.read_text() for path in treasure.iterdir()} == {"gold": "gold"}


def make_way(place: Path, folder: Path) -> None:
    """Let there be nothing in a place."""
    if os.path.lexists(place):
        place.rename(folder / "out-of-the-way")
    place.parent.mkdir(parents=True, exist_ok=True)


def is_in_place(place: Path, ended: Ended) -> bool:
    """True if a command has named what is in a place, and what to do about it."""
    named = os.path.relpath(place) in ended.err
    return ended.code in (1, 5) and named and "try: " in ended.err and "[Errno" not in ended.err


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.path)
def test_nothing_of_somebody_elses_is_followed_waited_for_or_written(
    place: Place, plant: Callable[[Path, Path], None], treasure: Path, folder: Path, flujoctl: Flujoctl
) -> None:
    """A run is started, the store read, checked and copied: each ends, and works or names the place."""
    (folder / "w.yaml").write_text(WORKFLOW)
    assert flujoctl("run", "--id", "old", "--store", place.store, "w.yaml").code == 0
    at = folder / place.path
    make_way(at, folder)
    plant(at, treasure if place.is_folder else treasure / "gold")

    ended = [
        flujoctl(*command, "--store", place.store)
        for command in (("run", "--id", "new", "w.yaml"), ("list",), ("db", "check"), ("db", "backup", "copy"))
    ]

    assert is_untouched(treasure)
    assert not at.with_name("nothing").exists()
    assert place.makes_room or is_in_place(at, ended[0])
    assert [each for each in ended if each.code != 0 and not each.out and not is_in_place(at, each)] == []


@pytest.mark.parametrize("name", ["app.db-kernels", "app.db-wal", "app.db-kernels/new.db", "workspaces"])
def test_a_new_store_is_not_made_of_what_others_have_put_there(
    name: str, plant: Callable[[Path, Path], None], treasure: Path, folder: Path, flujoctl: Flujoctl
) -> None:
    """Whoever knows the name of a store may have been there before it was made."""
    (folder / "w.yaml").write_text(WORKFLOW)
    make_way(folder / name, folder)
    plant(folder / name, treasure)

    ended = flujoctl("run", "--id", "new", "--store", "sqlite:app.db", "w.yaml")

    assert is_untouched(treasure)
    assert not (folder / "nothing").exists()
    assert is_in_place(folder / name, ended) or (ended.code == 0 and name.endswith("new.db"))


@root_only
@pytest.mark.parametrize("name", ["app.db-wal", "app.db-shm", "app.db-kernels/store.lock"])
def test_a_file_of_another_user_is_not_taken_for_the_stores(name: str, folder: Path, flujoctl: Flujoctl) -> None:
    """A log would be played into the store, and an index of it could be changed while it is used."""
    (folder / "w.yaml").write_text(WORKFLOW)
    assert flujoctl("run", "--store", "sqlite:app.db", "w.yaml").code == 0
    make_way(folder / name, folder)
    (folder / name).touch(0o666)
    give_away(folder / name)

    ended = flujoctl("list", "--store", "sqlite:app.db")

    if name.endswith("lock"):  # it lies in a folder of one's own, where others can put nothing
        assert ended.code == 0
    else:
        assert ended.err.startswith(f"error[place-taken]: {folder}/{name} is a file of user {OTHER}; flujo keeps")


@pytest.mark.parametrize("name", ["server.sock.lock", "tokens.json.lock", "tokens.json.new"])
def test_a_server_makes_its_files_likewise(
    name: str, plant: Callable[[Path, Path], None], treasure: Path, folder: Path, flujoctl: Flujoctl
) -> None:
    """Beside its socket, and beside the file of tokens."""
    at = folder / ".flujo" / name
    plant(at, treasure / "gold")

    if name.startswith("server"):
        address = ServerAddress.parse(f"unix:{folder}/.flujo/server.sock")
        with pytest.raises(PlaceTakenError, match=str(at)), claimed(address):
            pass
    else:
        ended = flujoctl("token", "create", "me", "--role", "viewer")
        assert is_in_place(at, ended) or (ended.code == 0 and name.endswith("new"))

    assert is_untouched(treasure)
    assert not at.with_name("nothing").exists()
