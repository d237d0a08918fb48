"""A small disk that is full: what is said, what is left, and what goes on once there is space again."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from acceptance.terminal import STORES, Terminal
from faults.history import Append, Holding, Moment, creation, differences, history, observe
from faults.victims import opened, problems
from flujo.kernel.backend import StateBackend
from flujo.kernel.errors import StoreFullError
from shipped import ON_DISK

SIZE = 4 << 20
NOTHING = Append((), None)
MORE = [creation(f"more-{number}", "w", 1) for number in range(2_000)]  # more than has room on any page

FLOW = """\
import os

from flujo.kernel import Context, step, workflow


@step
async def begin() -> str:
    return "begun"


@step
async def fill() -> str:
    try:
        os.mkdir("once")
    except FileExistsError:
        return "x" * 100_000
    with open("ballast", "wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(4096)):
                pass
        except OSError:
            return "x" * 100_000


@workflow(name="filling")
async def filling(ctx: Context) -> int:
    await ctx.step(begin)
    return len(await ctx.step(fill))
"""


def fill(disk: Path) -> Path:
    """A file that takes all the space there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return ballast
    raise AssertionError("the disk has no end")


async def write_until_full(handle: StateBackend, *, trusting: bool = False) -> Holding:
    """Write until the disk is full; what was acknowledged by then. One that is trusting acknowledges that too."""
    held: Holding = {}
    for at in history("w", 1):
        held = at.held
        try:
            await at.operation.perform(handle)
        except StoreFullError:
            return at.operation.after(held) if trusting else held
    return held


@pytest.mark.parametrize("scheme", ON_DISK)
async def test_a_full_disk_is_named_and_takes_nothing(scheme: str, small_memory: Path) -> None:
    """Whoever writes is told that the disk is full, as often as they try. All that was acknowledged can be read, and as
    soon as there is space the same handle goes on; nothing is damaged."""
    store = f"{scheme}:{small_memory}/store"
    ballast = small_memory / "ballast"
    ballast.write_bytes(bytes(SIZE // 2))
    async with opened(store, "w") as handle:
        held = await write_until_full(handle)
        for _ in range(3):
            with pytest.raises(StoreFullError, match="the disk is full") as told:
                await handle.append(MORE)
        assert "free some space" in told.value.hints[0]
        assert differences(await observe(handle, "w"), Moment(held, NOTHING)) == []
        ballast.unlink()

        assert await handle.append([creation("after", "w", 1)]) == {}
    assert await problems(store, "w", Moment(held, NOTHING)) == []


@pytest.mark.parametrize("scheme", ON_DISK)
async def test_a_store_is_opened_once_there_is_space(scheme: str, small_memory: Path) -> None:
    """On a full disk no store is opened for writing and none is made; what was there is as before afterwards."""
    store, another = f"{scheme}:{small_memory}/store", f"{scheme}:{small_memory}/another"
    moments = list(islice(history("w", 1), 31))
    async with opened(store, "w") as handle:
        for at in moments[:-1]:
            await at.operation.perform(handle)
    ballast = fill(small_memory)
    for terminal in (store, another):
        with pytest.raises(StoreFullError):
            async with opened(terminal, "next"):
                pass
    ballast.unlink()

    assert await problems(store, "w", moments[-1]._replace(operation=NOTHING)) == []
    async with opened(another, "next"):
        pass


@pytest.mark.parametrize("scheme", ON_DISK)
async def test_a_writer_that_acknowledges_what_did_not_fit_is_caught(scheme: str, small_memory: Path) -> None:
    """Who takes StoreFullError for success has lost something."""
    async with opened(f"{scheme}:{small_memory}/store", "w") as handle:
        held = await write_until_full(handle, trusting=True)

        assert differences(await observe(handle, "w"), Moment(held, NOTHING)) != []


@pytest.mark.parametrize("store", STORES, ids=ON_DISK)
def test_a_run_that_filled_the_disk_is_resumed(store: str, small_memory: Path) -> None:
    """`flujoctl run` on a disk that becomes full ends with 5 and says what helps; that done, the run completes."""
    terminal = Terminal(small_memory / "terminal", store)
    terminal.write("flow.py", FLOW)
    ended = terminal.flujoctl("run", "flow.py", "--id", "night")

    assert ended.code == 5, ended
    assert "the disk is full" in ended.err
    assert "free some space, then: flujoctl resume" in ended.err

    (terminal.folder / "ballast").unlink()
    resumed = terminal.flujoctl("resume", "night")
    assert (resumed.code, resumed.out.split()[:2]) == (0, ["completed", "night"]), resumed
