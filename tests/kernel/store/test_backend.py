"""The port as a class: what a backend gets for nothing. Its promises are kept in tests/backends/test_conformance.py."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Kernel
from flujo.kernel.backend import StateBackend
from flujo.kernel.events import CancelRequested, SignalReceived
from flujo.kernel.store.reading import post
from kernel.flows import waiting
from kernel.harness import Harness

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


async def test_a_backend_finds_what_was_asked_of_paused_runs_by_its_other_calls() -> None:
    """One that does not know a quicker way: `paused_with` costs a page of the list and a call for each paused run."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel, harness.backend() as reader:
        for name in ("asked", "told", "goes on"):
            await kernel.start(waiting, run_id=name.replace(" ", "-"))
        for run_id in ("asked", "told"):
            await kernel.pause(run_id)
            await kernel.wait(run_id)
        for run_id in ("asked", "goes-on"):
            await post(reader, run_id, CancelRequested(), harness.clock.now())
        await post(reader, "told", SignalReceived("go", "1"), harness.clock.now())

        found = await StateBackend.paused_with(reader, "cancel")
        assert found == await reader.paused_with("cancel")
        assert [run_id for run_id, _ in found] == ["asked"]


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
