"""What is the same for every store on disk, beyond the port: its URL, its locks, and several processes on one store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import from_thread, to_thread
from anyio.lowlevel import checkpoint

from backends.conftest import Open
from backends.processes import let_write, next_line, processes
from flujo.backends import open_backend
from flujo.backends.conformance import create, creation, following, journal, listed
from flujo.kernel.backend import Refused, Request, RunFilter, StateBackend
from flujo.kernel.errors import (
    InvalidNameError,
    RunActiveError,
    StoreBusyError,
    StoreNotFoundError,
    StoreUrlError,
)
from shipped import ON_DISK, ON_EVERY_LOOP


@pytest.fixture(params=[pair for pair in ON_EVERY_LOOP if pair[0] in ON_DISK], ids="-".join)
def scheme_and_loop(request: pytest.FixtureRequest) -> tuple[str, str]:
    pair: tuple[str, str] = request.param
    return pair


@pytest.fixture
def anyio_backend(scheme_and_loop: tuple[str, str]) -> str:
    return scheme_and_loop[1]


@pytest.fixture
def backend(scheme_and_loop: tuple[str, str]) -> type[StateBackend]:
    return type(open_backend(f"{scheme_and_loop[0]}:any"))


@pytest.fixture
def url(scheme_and_loop: tuple[str, str], path: Path) -> str:
    return f"{scheme_and_loop[0]}:{path}"


def lock_of(store: StateBackend) -> Path:
    """The file whose lock a process holds while it writes to a store; those of live kernels lie beside it."""
    found: Path = store._store_lock.path  # type: ignore[attr-defined]
    return found


@contextmanager
def store_lock_held(store: StateBackend) -> Iterator[None]:
    """Hold the store lock as another process would."""
    with lock_of(store).open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# -- URLs and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "path", "durability"),
    [
        ("state", "state", "full"),
        ("./a/state?durability=normal", "a/state", "normal"),
        ("/a/state?durability=full", "/a/state", "full"),
        ("///a/state", "/a/state", "full"),
    ],
)
@pytest.mark.parametrize("scheme", ON_DISK)
def test_urls_name_paths(scheme: str, rest: str, path: str, durability: str) -> None:
    """A URL names a path, relative or absolute, and a durability."""
    backend: Any = open_backend(f"{scheme}:{rest}")

    assert backend.path == Path(path).absolute()
    assert backend._durability == durability


@pytest.mark.parametrize(
    "url",
    [
        "state.db",
        *(
            f"{scheme}:{rest}"
            for scheme in ON_DISK
            for rest in ("", ":memory:", "//host/state", "state?durability=none", "state?mode=ro")
        ),
        "memory:state",
        "mysql://host/db",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    """A URL that names no backend, no path or an unknown option is refused with a hint."""
    with pytest.raises(StoreUrlError) as caught:
        open_backend(url)

    assert caught.value.hints


@pytest.mark.parametrize("owner", ["store", "", "a/b", "../x", "a" * 101])
async def test_owners_are_file_names(url: str, path: Path, owner: str) -> None:
    """An owner that cannot be the name of a lock file is refused before any file is touched."""
    with pytest.raises(InvalidNameError):
        await open_backend(url).open(owner)

    assert list(path.parent.iterdir()) == []


async def test_a_reader_makes_no_folder(scheme_and_loop: tuple[str, str], tmp_path: Path) -> None:
    """A reader of a store whose folder does not exist is told that there is none."""
    with pytest.raises(StoreNotFoundError):
        await open_backend(f"{scheme_and_loop[0]}:{tmp_path / 'missing' / 'store'}").open(None)

    assert not (tmp_path / "missing").exists()


# -- threads --------------------------------------------------------------------------------------------------------


@contextmanager
def one_thread_for_the_application() -> Iterator[None]:
    """As when every other thread of anyio's is taken by the requests of a web framework."""
    limiter = to_thread.current_default_thread_limiter()
    before, limiter.total_tokens = limiter.total_tokens, 1
    yield
    limiter.total_tokens = before


async def test_no_call_needs_a_thread_of_the_application(open_store: Open, path: Path) -> None:
    """A plain `def` endpoint waits in a thread of anyio's for a call that needs a thread; it gets another one."""
    store = await open_store("one")
    await create(store, creation("r"))
    calls: list[Callable[[], Awaitable[object]]] = [
        partial(store.stats, 0),
        store.details,
        store.integrity,
        store.integrity_beside_runs,
        partial(store.prune, RunFilter(), limit=10, dry_run=True),
        partial(store.backup, path.parent / "copy"),
        partial(open_store, "two"),
    ]

    with one_thread_for_the_application(), anyio.fail_after(30):
        for call in calls:
            await to_thread.run_sync(from_thread.run, call)  # type: ignore[arg-type]


# -- locks ----------------------------------------------------------------------------------------------------------


async def test_a_child_keeps_its_kernel_alive(store: StateBackend, open_store: Open) -> None:
    """A process that has inherited the liveness file keeps the owner alive after its handle is closed."""
    other = await open_store("two")
    assert store.liveness_fd is not None
    inherited = os.dup(store.liveness_fd)
    await store.close()
    assert await other.is_alive("one")
    os.close(inherited)

    assert not await other.is_alive("one")


async def test_an_owner_knows_of_itself_without_looking(
    store: StateBackend, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer about its runs asks, so nothing is opened for it; for another owner the lock is looked at."""
    opened: list[str] = []
    other = await open_store("two")
    look = os.open

    def noting(path: Any, *rest: Any, **given: Any) -> int:
        opened.append(str(path))
        return look(path, *rest, **given)

    monkeypatch.setattr(os, "open", noting)

    assert await store.is_alive("one")
    assert [path for path in opened if path.endswith("one.lock")] == []
    assert await other.is_alive("one")
    assert [path for path in opened if path.endswith("one.lock")] != []


async def test_all_names_of_a_store_share_its_locks(
    store: StateBackend, scheme_and_loop: tuple[str, str], path: Path, tmp_path: Path
) -> None:
    """A store opened through a symbolic link sees the kernels that opened it by its own name."""
    link = tmp_path / "elsewhere"
    link.symlink_to(path)
    other = open_backend(f"{scheme_and_loop[0]}:{link}")
    await other.open("two")
    try:
        assert await other.is_alive("one")
        assert await store.is_alive("two")
    finally:
        await other.close()


async def test_a_store_that_stays_busy_is_named(open_store: Open) -> None:
    """A writer that waits too long for the store lock is told which file is held; nothing is written, and later all
    works."""
    store = await open_store("one", busy_seconds=0.0)
    with store_lock_held(store), pytest.raises(StoreBusyError, match=r"store\.lock"):
        await store.append([creation("a")])
    await create(store, creation("b"))

    assert await listed(store) == ["b"]


async def test_waiting_for_the_store_can_be_cancelled(store: StateBackend) -> None:
    """A cancelled wait for the store lock ends soon and has written nothing."""
    with store_lock_held(store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.append, [creation("a")])
            await checkpoint()
            tasks.cancel_scope.cancel()
        assert tasks.cancel_scope.cancelled_caught

    assert await store.count(RunFilter()) == 0


async def test_a_reader_that_posts_leaves_no_lock(store: StateBackend, open_store: Open) -> None:
    """A reader that posts never counts as alive and leaves nothing behind."""
    await create(store, creation("a"))
    reader = await open_store(None)
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(reader.post, "a", Request("signal", f'{{"n":{number}}}', number))
    kernels = lock_of(store).parent
    assert sorted(file.stem for file in kernels.glob("*.lock")) == ["one", "store"]
    await reader.close()

    assert sorted(file.stem for file in kernels.glob("*.lock")) == ["one", "store"]
    assert len(await store.take()) == 5


# -- several processes ----------------------------------------------------------------------------------------------


async def test_four_processes_share_one_store(url: str, open_store: Open) -> None:
    """Four processes create one store together, write to it at once, and nothing is lost, doubled or damaged."""
    owners = ["p1", "p2", "p3", "p4"]
    with processes(url, *owners, runs=10, commits=25) as children:
        for child in children:
            let_write(child)
        for child in children:
            child.communicate()
            assert child.returncode == 0
    store = await open_store("one")

    assert await store.count(RunFilter()) == 40
    for run in (await store.list(RunFilter(), limit=100)).runs:
        assert (run.seq, run.steps_done) == (51, 25)
        assert [row.seq for row in await journal(store, run)] == list(range(1, 52))
    assert list(await store.integrity()) == []


async def test_a_killed_process_loses_nothing_it_was_told(url: str, open_store: Open) -> None:
    """After SIGKILL in the middle of writing every acknowledged commit is there, for those who had the store open as
    for others, and the runs are taken over."""
    for round in range(3):
        victim = f"victim{round}"
        with processes(url, victim, runs=20, commits=100_000) as (child,):
            let_write(child)
            assert next_line(child) == "created"
            acknowledged = [int(next_line(child)) for _ in range(5 + round)][-1]
            watcher = await open_store(None)
            assert await watcher.is_alive(victim)
            child.kill()
            child.wait()
        assert not await watcher.is_alive(victim)
        filter = RunFilter(owner=victim)
        seen = (await watcher.list(filter, limit=100)).runs
        assert {run.steps_done >= acknowledged for run in seen} == {True}
        heir = await open_store(f"heir{round}")
        assert (await heir.list(filter, limit=100)).runs == seen
        for number in range(20):
            run = await heir.claim(f"{victim}-{number}")
            assert run.token == 2
            assert run.seq == 1 + 2 * run.steps_done
            assert [row.seq for row in await journal(heir, run)] == list(range(1, run.seq + 1))
            assert await heir.append([following(run, owner=None, status="completed")]) == {}
            late = following(run._replace(token=1))
            assert await heir.append([late]) == {run.uid: Refused.STALE}
    assert list(await heir.integrity()) == []


async def test_a_reader_stands_beside_a_writer(url: str, open_store: Open) -> None:
    """While a process writes, a reader sees whole commits only, and each one as soon as it was acknowledged."""
    with processes(url, "writer", runs=5, commits=40) as (child,):
        let_write(child)
        assert next_line(child) == "created"
        reader = await open_store(None)
        for _ in range(40):
            acknowledged = int(next_line(child))
            for run in (await reader.list(RunFilter(), limit=10)).runs:
                assert run.steps_done >= acknowledged
                assert run.seq == 1 + 2 * run.steps_done
                assert len(await journal(reader, run)) >= run.seq


async def test_ownership_crosses_processes(url: str, open_store: Open) -> None:
    """A run of a live process cannot be claimed or deleted by another one, but it can be posted to."""
    with processes(url, "writer", runs=1, commits=100_000) as (child,):
        let_write(child)
        assert next_line(child) == "created"
        store = await open_store("one")
        with pytest.raises(RunActiveError):
            await store.claim("writer-0")
        with pytest.raises(RunActiveError):
            await store.delete("writer-0", "uid-writer-0")

        assert (await store.post("writer-0", Request("signal", "{}", 1))).owner == "writer"
