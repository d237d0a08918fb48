"""`flujoctl config`: which store or server is used, and what says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from .conftest import Flujoctl


def told(flujoctl: Flujoctl, *options: str) -> Mapping[str, tuple[str, str]]:
    """Each setting with its value and its origin."""
    settings = json.loads(flujoctl("config", "-o", "json", *options).out)
    return {each["name"]: (each["value"], each["from"]) for each in settings}


def test_each_way_to_name_a_store_is_told_for_what_it_is(
    folder: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order in which they count, the last one first."""
    assert told(flujoctl)["store"] == ("sqlite:.flujo/state.db", f"the folder {folder / '.flujo'}")
    (folder / "flujo.toml").write_text('store = "sqlite:runs.db"\n')
    assert told(flujoctl)["store"] == (f"sqlite:{folder / 'runs.db'}", str(folder / "flujo.toml"))
    monkeypatch.setenv("FLUJO_STORE", "file:runs")
    assert told(flujoctl)["store"] == ("file:runs", "the variable FLUJO_STORE")
    assert told(flujoctl, "--store", "sqlite:x.db")["store"] == ("sqlite:x.db", "--store")


def test_nothing_is_made_and_a_folder_without_settings_says_so(
    tmp_path: Path, folder: Path, flujoctl: Flujoctl
) -> None:
    """The first run makes the store."""
    (folder / ".flujo").rmdir()

    assert told(flujoctl)["store"] == ("sqlite:.flujo/state.db", "the default; it is made by the first run")
    assert list(tmp_path.iterdir()) == []


def test_no_secret_is_shown(flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token and the password of a URL."""
    monkeypatch.setenv("FLUJO_TOKEN", "s3cret-token")
    monkeypatch.setenv("FLUJO_STORE", "postgresql://ada:s3cret-word@db/flujo")

    shown = flujoctl("config").out

    assert "FLUJO_TOKEN" in shown
    assert "s3cret" not in shown


def test_a_server_is_told_instead_of_a_store(flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks it."""
    monkeypatch.setenv("FLUJO_SERVER", "unix:absent.sock")

    settings = told(flujoctl)

    assert settings["server"] == ("unix:absent.sock", "the variable FLUJO_SERVER")
    assert "store" not in settings
