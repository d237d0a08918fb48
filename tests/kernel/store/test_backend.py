"""The port as a class: what a backend gets for nothing. Its promises are kept in tests/backends/test_conformance.py."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Kernel
from flujo.kernel.backend import FIXED_COLUMNS, SAME_VALUE, RunFilter, RunSummary, StateBackend, keep_fixed_columns

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


def test_a_part_of_a_filter_that_asks_for_one_value_names_its_column() -> None:
    """Every text in a filter is such a part, or the beginning of an id, which has a meaning of its own."""
    texts = {name for name, type in RunFilter.__annotations__.items() if "str | None" in str(type)}

    assert set(SAME_VALUE) == texts - {"id_prefix"}
    assert set(SAME_VALUE.values()) <= set(RunSummary._fields)


def test_what_only_a_creation_sets_is_what_the_page_for_authors_says() -> None:
    """docs/writing-a-backend.md names each such column, and a commit keeps those and no others."""
    (named,) = re.findall(r"\*\*What the creation sets, stays\.\*\* (.+?)\n- ", PAGE, re.DOTALL)
    stored = RunSummary._make((name, "stored") for name in RunSummary._fields)
    told = RunSummary._make((name, "told") for name in RunSummary._fields)

    kept = keep_fixed_columns(stored, told)

    assert set(FIXED_COLUMNS) == set(re.findall(r"`(\w+)`", named))
    assert {name for name, value in kept._asdict().items() if value[1] == "stored"} == set(FIXED_COLUMNS)


def test_every_call_of_the_port_says_what_it_promises() -> None:
    """A docstring is all that the author of a backend has."""
    assert [name for name in ABSTRACT if not inspect.getdoc(getattr(StateBackend, name))] == []
