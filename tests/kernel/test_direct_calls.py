"""Async functions without an event loop: what never waits ends at once, and anything else is refused."""

from __future__ import annotations

import subprocess
import sys

import anyio
import pytest

from flujo.kernel.direct_calls import has_event_loop, run_directly


async def add(one: int, other: int) -> int:
    return one + other


def test_what_never_waits_is_run_to_its_end() -> None:
    """Calls of other such functions included."""

    async def work() -> int:
        return await add(1, 2) + await add(3, 4)

    assert run_directly(work) == 10


def test_what_is_raised_reaches_the_caller() -> None:
    """As from any function."""

    async def work() -> None:
        raise LookupError("no such run")

    with pytest.raises(LookupError, match="no such run"):
        run_directly(work)


def test_what_waits_is_refused_and_cleans_up() -> None:
    """A wait that nothing can end must not end as if it had been answered."""
    closed = []

    async def work() -> None:
        try:
            await Waiting()
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match="takes an event loop"):
        run_directly(work)

    assert closed == [True]


class Waiting:
    """Something to wait for that no loop is there to bring."""

    def __await__(self):  # type: ignore[no-untyped-def]
        yield


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_an_event_loop_is_noticed(library: str) -> None:
    """Inside of it, and neither before nor after."""

    async def inside() -> bool:
        return has_event_loop()

    before = has_event_loop()
    within = anyio.run(inside, backend=library)

    assert (before, within, has_event_loop()) == (False, True, False)


def test_looking_for_a_loop_imports_none() -> None:
    """That would cost more than what is saved by doing without one."""
    script = (
        "import sys; from flujo.kernel.direct_calls import has_event_loop; "
        "print(has_event_loop(), *({'asyncio', 'trio'} & set(sys.modules)))"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["False"]
