"""How a store URL finds its backend."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

import flujo.backends
from flujo.backends import InMemoryBackend, open_backend
from flujo.kernel.errors import StoreUrlError


def test_other_packages_bring_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheme that is an entry point of another package opens what it names."""
    point = EntryPoint("ram", "flujo.backends.memory:InMemoryBackend", "flujo.backends")
    monkeypatch.setattr(flujo.backends, "entry_points", lambda group: [point])

    assert isinstance(open_backend("ram:"), InMemoryBackend)


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    """A URL of an unknown scheme is refused with the ones there are."""
    with pytest.raises(StoreUrlError, match="file:, memory:, sqlite:"):
        open_backend("postgres://host/db")


def test_a_bare_path_is_shown_as_a_url() -> None:
    """A path without a scheme is refused with the URLs it could have been."""
    with pytest.raises(StoreUrlError, match=r"sqlite:state\.db, for a folder file:state\.db"):
        open_backend("state.db")


def test_nothing_else_is_exported() -> None:
    """A name the package does not have is an AttributeError."""
    with pytest.raises(AttributeError, match="PostgresBackend"):
        flujo.backends.PostgresBackend
