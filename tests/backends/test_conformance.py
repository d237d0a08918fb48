"""Every backend that ships with flujo keeps every promise of the port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flujo.backends.conformance import BEHAVIOURS, Behaviour, Harness
from shipped import HARNESSES, ON_EVERY_LOOP


@pytest.fixture(params=ON_EVERY_LOOP, ids="-".join)
def backend_and_loop(request: pytest.FixtureRequest) -> tuple[str, str]:
    pair: tuple[str, str] = request.param
    return pair


@pytest.fixture
def anyio_backend(backend_and_loop: tuple[str, str]) -> str:
    return backend_and_loop[1]


@pytest.fixture
async def harness(backend_and_loop: tuple[str, str], tmp_path: Path) -> AsyncIterator[Harness]:
    async with HARNESSES[backend_and_loop[0]](tmp_path) as harness:
        yield harness


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=[behaviour.name for behaviour in BEHAVIOURS])
async def test_the_port(behaviour: Behaviour, harness: Harness) -> None:
    """The backend keeps this promise."""
    await behaviour.check(harness)


def test_the_suite_is_readable() -> None:
    """Every behaviour has a name of its own and says in one sentence what it promises."""
    assert len({behaviour.name for behaviour in BEHAVIOURS}) == len(BEHAVIOURS) >= 150
    for behaviour in BEHAVIOURS:
        assert behaviour.promise.endswith(".")
        assert "\n" not in behaviour.promise
