"""The port as a class: what a backend gets for nothing. Its promises are kept in tests/backends/test_conformance.py."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Kernel
from flujo.kernel.backend import StateBackend

PAGE = (Path(__file__).parents[3] / "docs" / "writing-a-backend.md").read_text()

ABSTRACT = sorted(StateBackend.__abstractmethods__)


async def test_a_backend_is_a_context_that_opens_for_reading_and_closes() -> None:
    """Without an owner, also when its block raises."""
    opened: list[str | None] = []
    closed: list[bool] = []

    class Noting(InMemoryBackend):
        async def open(self, owner: str | None) -> None:
            opened.append(owner)
            await super().open(owner)

        async def close(self) -> None:
            closed.append(True)
            await super().close()

    store = MemoryStore()
    async with Kernel(InMemoryBackend(store)):
        pass  # there is a store from now on

    async def fail_inside() -> None:
        async with Noting(store) as backend:
            assert isinstance(backend, Noting)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_inside()

    assert (opened, closed) == ([None], [True])


def test_a_backend_has_no_descriptor_unless_it_says_so() -> None:
    """None is what a store without processes says."""
    assert InMemoryBackend().liveness_fd is None


@pytest.mark.parametrize("missing", ABSTRACT)
def test_a_backend_that_lacks_a_call_cannot_be_made(missing: str) -> None:
    """Rather when it is made than when the call comes."""
    body = {name: None for name in ABSTRACT if name != missing}

    with pytest.raises(TypeError, match=missing):
        type("Partial", (StateBackend,), body)()


def test_every_call_of_the_port_says_what_it_promises() -> None:
    """A docstring is all that the author of a backend has."""
    assert [name for name in ABSTRACT if not inspect.getdoc(getattr(StateBackend, name))] == []
