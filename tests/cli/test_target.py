"""Which store a command finds, that looking for it makes nothing, and that other users' stores are refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from flujo.backends import open_backend
from flujo.cli.target import DEFAULT, ServerTarget, Target, discover, discover_store, with_credentials
from flujo.kernel.errors import InvalidTokensError, StoreUrlError, UntrustedOwnerError
from other_users import OTHER, give_away, root_only


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder two levels below one where settings and stores are put."""
    for name in ("FLUJO_STORE", "FLUJO_SERVER"):
        monkeypatch.delenv(name, raising=False)
    below = tmp_path / "project" / "below"
    below.mkdir(parents=True)
    return below


def test_the_flag_goes_before_everything(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--store beats FLUJO_STORE."""
    monkeypatch.setenv("FLUJO_STORE", "sqlite:/from/environment.db")

    assert discover_store("memory:", here=here).url == "memory:"
    assert discover_store(None, here=here).url == "sqlite:/from/environment.db"


def test_settings_go_before_a_folder_and_count_from_their_file(here: Path) -> None:
    """A relative path in flujo.toml is relative to it; options of the URL stay."""
    (here / ".flujo").mkdir()
    (here.parent / "flujo.toml").write_text('store = "sqlite:data/runs.db?durability=normal"\n', encoding="utf-8")

    found = discover_store(None, here=here)

    assert found.url == f"sqlite:{here.parent}/data/runs.db?durability=normal"
    assert found.workspaces == here.parent / "data" / "workspaces"


def test_settings_without_a_store_are_passed_over(here: Path) -> None:
    """flujo.toml may hold other things."""
    (here / "flujo.toml").write_text("[other]\n", encoding="utf-8")
    (here.parent / ".flujo").mkdir()

    assert discover_store(None, here=here).url == f"sqlite:{here.parent}/.flujo/state.db"


@pytest.mark.parametrize("text", ["store = 3\n", "store = \n"])
def test_settings_that_cannot_be_used_are_refused(here: Path, text: str) -> None:
    """Rather than taking another store in silence."""
    (here / "flujo.toml").write_text(text, encoding="utf-8")

    with pytest.raises(StoreUrlError, match=r"flujo\.toml"):
        discover_store(None, here=here)


def test_without_anything_the_store_is_here_and_is_not_made(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is a folder .flujo in the working directory, and so are the workspaces."""
    monkeypatch.setattr(os.path, "isdir", lambda path: False)  # whatever lies above the test's folder

    found = discover_store(None, here=here)

    assert found.url == DEFAULT
    assert found.workspaces == here / ".flujo" / "workspaces"
    assert list(here.iterdir()) == []


def test_a_server_goes_before_a_store(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--server, then --store, then FLUJO_SERVER, then FLUJO_STORE."""
    monkeypatch.setenv("FLUJO_STORE", "sqlite:/from/environment.db")
    monkeypatch.setenv("FLUJO_SERVER", "unix:from-environment.sock")

    assert discover("unix:flag.sock", "memory:", here=here) == ServerTarget("unix:flag.sock")
    assert discover(None, "memory:", here=here) == discover_store("memory:", here=here)
    assert discover(here=here) == ServerTarget("unix:from-environment.sock")
    monkeypatch.delenv("FLUJO_SERVER")
    assert discover(here=here) == discover_store("sqlite:/from/environment.db", here=here)


def test_settings_may_name_a_server(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`server` in flujo.toml is used like FLUJO_SERVER; a store that is named nearer goes before it."""
    (here.parent / "flujo.toml").write_text('server = "unix:/run/flujo.sock"\nstore = "file:runs"\n', encoding="utf-8")

    assert discover(here=here) == ServerTarget("unix:/run/flujo.sock")
    assert discover(None, "memory:", here=here) == discover_store("memory:", here=here)
    monkeypatch.setenv("FLUJO_STORE", "sqlite:near.db")
    assert discover(here=here) == discover_store("sqlite:near.db", here=here)


def test_a_file_store_counts_from_its_settings_as_well(here: Path) -> None:
    """A relative folder in flujo.toml is relative to it."""
    (here.parent / "flujo.toml").write_text('store = "file:data/runs"\n', encoding="utf-8")

    assert discover_store(here=here).url == f"file:{here.parent}/data/runs"


@pytest.mark.parametrize("name", ["C#", "a%41b", "q?x", "q?durability=normal", "sp ace"])
def test_a_store_is_found_whatever_its_folder_is_called(name: str, here: Path) -> None:
    """Its path becomes part of a URL, in which these characters might mean something else."""
    folder = here / name / "below"
    folder.mkdir(parents=True)
    (folder.parent / ".flujo").mkdir()

    found = discover_store(here=folder)

    assert open_backend(found.url).path == folder.parent / ".flujo" / "state.db"
    assert found.workspaces == folder.parent / ".flujo" / "workspaces"


# -- what belongs to another user -----------------------------------------------------------------------------------


@root_only
@pytest.mark.parametrize("planted", [".flujo", ".flujo/state.db", ".flujo/state.db-wal", ".flujo/state.db-kernels"])
@pytest.mark.parametrize("level", ["here", "above"])
def test_a_store_of_another_user_is_refused_unless_it_is_named(
    planted: str, level: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runs would execute that user's commands; --store and FLUJO_STORE are how a user insists."""
    folder = here if level == "here" else here.parent
    (folder / ".flujo").mkdir()
    if planted != ".flujo":
        (folder / planted).touch()
    give_away(folder / planted)

    with pytest.raises(UntrustedOwnerError) as refused:
        discover(here=here)

    url = f"sqlite:{folder}/.flujo/state.db"
    assert refused.value.path == str(folder / planted)
    assert refused.value.hints == (f"flujoctl list --store {url}  # if you trust {refused.value.owner}",)
    assert discover_store(url, here=here).url == url
    monkeypatch.setenv("FLUJO_STORE", url)
    assert discover(here=here) == discover_store(url, here=here)


@root_only
@pytest.mark.parametrize("setting", ['store = "sqlite:data/runs.db"', 'server = "unix:s"', "[other]"])
def test_settings_of_another_user_are_refused(setting: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they say; a store or server that is named makes them unnecessary."""
    (here.parent / "flujo.toml").write_text(setting + "\n", encoding="utf-8")
    give_away(here.parent / "flujo.toml")

    with pytest.raises(UntrustedOwnerError, match=r"flujo\.toml belongs to") as refused:
        discover(here=here)

    assert refused.value.hints[0].startswith("flujoctl list --store URL, or --server ADDRESS  # if you trust")
    assert discover(None, "memory:", here=here) == discover_store("memory:", here=here)
    monkeypatch.setenv("FLUJO_SERVER", "unix:named.sock")
    assert discover(here=here) == ServerTarget("unix:named.sock")


@root_only
def test_a_link_of_another_user_is_refused_although_it_leads_to_a_store_of_ours(here: Path, tmp_path: Path) -> None:
    """He could lead it elsewhere at any moment; and so could a link of ours lead to his."""
    (tmp_path / "ours").mkdir()
    (here / ".flujo").symlink_to(tmp_path / "ours")
    assert discover_store(here=here).url == DEFAULT
    give_away(here / ".flujo")

    with pytest.raises(UntrustedOwnerError, match=r"\.flujo belongs to"):
        discover_store(here=here)


@root_only
@pytest.mark.parametrize("planted", ["runs.db", ".", "files", "files/index"])
def test_a_store_that_settings_of_ours_name_is_looked_at_as_well(planted: str, here: Path) -> None:
    """The file is ours, and what lies at the place it names need not be."""
    place = here.parent / "data"
    (place / "files").mkdir(parents=True)
    (place / "files" / "index").touch()
    (place / "runs.db").touch()
    url = "file:data/files" if planted.startswith("files") else "sqlite:data/runs.db"
    (here.parent / "flujo.toml").write_text(f'store = "{url}"\n', encoding="utf-8")
    assert discover_store(here=here).url.endswith(url.partition(":")[2])
    give_away(place / planted)

    with pytest.raises(UntrustedOwnerError):
        discover_store(here=here)


@root_only
@pytest.mark.parametrize("planted", ["the socket", "its folder"])
def test_a_socket_of_another_user_is_refused_unless_it_is_named(
    planted: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be told the inputs and signals that are meant for our server."""
    monkeypatch.chdir(here)
    (here / "run").mkdir()
    (here / "flujo.toml").write_text('server = "unix:run/s"\n', encoding="utf-8")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("run/s")
    assert discover(here=here) == ServerTarget("unix:run/s")
    give_away(here / "run" / "s" if planted == "the socket" else here / "run")

    with pytest.raises(UntrustedOwnerError) as refused:
        discover(here=here)

    assert refused.value.hints[0].startswith("flujoctl list --server unix:run/s  # if you trust")
    assert discover("unix:run/s", here=here) == ServerTarget("unix:run/s")


def test_what_belongs_to_root_is_trusted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator may put settings and stores where users find them."""
    (here.parent / ".flujo").mkdir()
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: OTHER)

    assert discover_store(here=here).url == f"sqlite:{here.parent}/.flujo/state.db"


# -- what a server is shown ------------------------------------------------------------------------------------------


def test_a_token_comes_from_a_file_or_a_variable(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option wins over the token of the environment, and that over its file."""
    server = ServerTarget("tcp://127.0.0.1:1")
    for name in ("a", "b"):
        (here / name).write_text(f"token-{name}\n")
    monkeypatch.delenv("FLUJO_TOKEN", raising=False)
    monkeypatch.delenv("FLUJO_TOKEN_FILE", raising=False)
    assert with_credentials(server) == server
    monkeypatch.setenv("FLUJO_TOKEN_FILE", str(here / "a"))
    assert token_of(with_credentials(server)) == "token-a"
    monkeypatch.setenv("FLUJO_TOKEN", "token-e")
    assert token_of(with_credentials(server)) == "token-e"
    assert token_of(with_credentials(server, str(here / "b"))) == "token-b"


def token_of(target: Target) -> str | None:
    """The token for a server."""
    assert isinstance(target, ServerTarget)
    return target.credentials.token


@pytest.mark.parametrize("content", ["", "\n", "two words", "é", "a\nb"])
def test_a_file_that_holds_no_token_is_refused(content: str, here: Path) -> None:
    """And what it holds is not shown."""
    (here / "t").write_text(content)

    with pytest.raises(InvalidTokensError, match="does not hold one token"):
        with_credentials(ServerTarget("tcp://127.0.0.1:1"), str(here / "t"))


def test_a_store_is_shown_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that lies about is not even read."""
    monkeypatch.setenv("FLUJO_TOKEN_FILE", str(here / "missing"))
    target = discover(store="memory:", here=here)

    assert with_credentials(target) is target
