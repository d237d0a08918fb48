"""Which store a command finds, and that looking for it makes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from flujo.cli.target import DEFAULT, ServerTarget, discover, discover_store
from flujo.kernel.errors import StoreUrlError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder two levels below one where settings and stores are put."""
    monkeypatch.delenv("FLUJO_STORE", raising=False)
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
