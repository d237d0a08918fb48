"""Which store a command finds, and that looking for it makes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from flujo.cli.target import DEFAULT, ServerTarget, discover, discover_store
from flujo.kernel.errors import StoreUrlError


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
    monkeypatch.setattr(Path, "is_dir", lambda self: False)  # whatever lies above the test's folder

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
