"""What a forked child has of the stores its parent had open: it is told so at once, and loses nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flujo.backends.inherited import INHERITED, unusable
from flujo.kernel.errors import ForkedProcessError, StoreError

PROGRAM = """
import asyncio, os, signal, sys
from collections.abc import Awaitable, Callable
from flujo.backends import open_backend
from flujo.kernel import Kernel, Observer, workflow

url, what = sys.argv[1:]

@workflow()
async def doubling(ctx, number: int) -> int:
    return 2 * number

async def count(reader) -> int:
    return await Observer(reader).count()

async def close(reader) -> str:
    await reader.close()
    return "nothing happened"

async def again(reader) -> int:
    async with reader:
        return await count(reader)

async def own(reader) -> int:
    async with Kernel(open_backend(url), [doubling]) as kernel:
        return await kernel.run(doubling, {"number": 2}, run_id="of-child")

def in_a_child(work) -> None:
    signal.alarm(30)  # nothing may wait for ever
    try:
        print(asyncio.run(work), flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    os._exit(0)

def fork(work) -> int:
    if (child := os.fork()) == 0:
        in_a_child(work)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

async def main() -> None:
    async with Kernel(open_backend(url), [doubling]) as kernel:
        await kernel.run(doubling, {"number": 1}, run_id="of-parent")
        reader = open_backend(url)
        async with reader:
            if what != "closed":
                code = await asyncio.to_thread(fork, globals()[what](reader))
                print(code, await Observer(reader).count(), await kernel.run(doubling, {"number": 4}))
    if what == "closed":
        print(await asyncio.to_thread(fork, own(None)))

asyncio.run(main())
"""


def said(tmp_path: Path, scheme: str, what: str) -> list[str]:
    """What the child and then its parent print."""
    script = tmp_path / "forks.py"
    script.write_text(PROGRAM)
    command = [sys.executable, "-W", "ignore", str(script), f"{scheme}:{tmp_path / 'store'}", what]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.stderr == ""
    return ended.stdout.splitlines()


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_a_handle_that_was_open_at_the_fork_says_so(scheme: str, tmp_path: Path) -> None:
    """Nobody in the child would ever answer it; its parent goes on with it."""
    told, parent = said(tmp_path, scheme, "count")

    assert told.startswith(f"ForkedProcessError: the store {scheme}:")
    assert parent == "0 1 8"


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_closing_it_in_the_child_leaves_it_to_the_parent(scheme: str, tmp_path: Path) -> None:
    """As closing a kernel there does."""
    assert said(tmp_path, scheme, "close") == ["nothing happened", "0 1 8"]


@pytest.mark.parametrize("what", ["own", "again"])
def test_a_database_that_was_open_at_the_fork_is_not_opened_in_the_child(what: str, tmp_path: Path) -> None:
    """SQLite would take the locks of the parent for the child's own, and what the child acknowledged would be lost as
    soon as the parent closes the store: a child that asks for that is refused, with what helps."""
    told, parent = said(tmp_path, "sqlite", what)

    assert told.startswith("ForkedProcessError: the database of sqlite:")
    assert parent == "0 1 8"


def test_a_file_store_is_opened_anew_in_the_child(tmp_path: Path) -> None:
    """Its locks are files, which the child has of its own."""
    assert said(tmp_path, "file", "own") == ["4", "0 2 8"]


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_what_is_closed_before_the_fork_is_opened_in_the_child(scheme: str, tmp_path: Path) -> None:
    """As servers do that load their application first."""
    assert said(tmp_path, scheme, "closed") == ["4", "0"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_connection_to_a_server_stays_with_the_parent() -> None:
    """Whatever the child sent on it would reach the server between the words of its parent."""
    postgres = pytest.importorskip("flujo.backends.postgres")
    backend = postgres.PostgresBackend("postgresql://nobody@127.0.0.1:1/none")
    backend._unusable = None  # as if it were open
    backend.close_in_child()

    with pytest.raises(ForkedProcessError):
        await backend.load("r")
    await backend.close()


def test_a_handle_that_was_never_open_is_not_the_parents() -> None:
    """It says what it said before."""
    assert isinstance(unusable("memory:", "it is closed"), StoreError)
    assert isinstance(unusable("memory:", INHERITED), ForkedProcessError)
