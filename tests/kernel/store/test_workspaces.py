"""A folder of workspaces belongs to one store; stores side by side never remove each other's files."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, Observer, Retention, workflow
from flujo.kernel.store.retention import Sweeper
from flujo.kernel.store.workspaces import MARK


@pytest.fixture
def anyio_backend() -> str:
    """SQLite runs on asyncio only."""
    return "asyncio"


Verb = Callable[[Kernel], Awaitable[Any]]


def environment(beginning: Any) -> dict[str, Any]:
    """What a workflow that wants a workspace records; it makes it, and a log."""
    beginning.workspace.mkdir()
    (beginning.workspace / "made").write_text(beginning.run_id)
    beginning.workspace.with_name(f"{beginning.run_id}.log").write_text("said\n")
    return {"workspace": str(beginning.workspace)}


@workflow()
async def program(ctx: Context) -> int:
    return 1


making = replace(program, environment=environment)


def observer(kernel: Kernel) -> Observer:
    """What reads the same store without a kernel, as the command line does."""
    return Observer(kernel.backend, workspaces=kernel.workspaces)


async def _retention(kernel: Kernel) -> None:
    sweeper = Sweeper(kernel.backend, kernel.clock, {}, Retention(completed=0), kernel._files.remove)
    await sweeper._forget_all(kernel.clock.now())


VERBS: dict[str, Verb] = {
    "delete": lambda kernel: kernel.delete("r"),
    "forced delete": lambda kernel: kernel.delete("r", force=True),
    "prune": lambda kernel: kernel.prune(older_than_seconds=0),
    "prune by status": lambda kernel: kernel.prune(statuses=["completed"]),
    "retention": _retention,
    "observer's delete": lambda kernel: Observer(kernel.backend, workspaces=kernel.workspaces).delete("r"),
    "observer's prune": lambda kernel: Observer(kernel.backend, workspaces=kernel.workspaces).prune(
        older_than_seconds=0
    ),
}


def kernel_on(url: str, folder: Path) -> Kernel:
    """A kernel whose workspaces are in the folder of the store, as the command line has it."""
    return Kernel(open_backend(url), [making], workspaces=folder / "workspaces")


async def run_once(url: str, folder: Path) -> None:
    async with kernel_on(url, folder) as kernel:
        await kernel.run("program", run_id="r")


def files(folder: Path) -> set[str]:
    """The files of runs in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != MARK}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("beside", ["copied.db", "backup", "other"])
async def test_a_store_beside_another_removes_nothing_of_it(tmp_path: Path, verb: str, beside: str) -> None:
    """A copy, a backup of a file store, and a store of another kind with a run of the same id; each verb that
    removes."""
    original = f"file:{tmp_path}/store" if beside == "backup" else f"sqlite:{tmp_path}/app.db"
    await run_once(original, tmp_path)
    async with open_backend(original) as backend:
        if beside != "other":
            await backend.backup(tmp_path / beside)
    url = {"copied.db": "sqlite:", "backup": "file:", "other": "file:"}[beside] + f"{tmp_path}/{beside}"
    if beside == "other":
        await run_once(url, tmp_path)
    before = files(tmp_path / "workspaces")

    async with kernel_on(url, tmp_path) as kernel:
        await VERBS[verb](kernel)
        assert await kernel.count() == 0

    assert before == {"r/made", "r.log"}
    assert files(tmp_path / "workspaces") == before
    assert not files(tmp_path / f"workspaces-{beside}")


@pytest.mark.parametrize("verb", VERBS)
async def test_a_store_removes_what_is_its_own_also_after_a_move(tmp_path: Path, verb: str) -> None:
    """The project is moved as a whole, or its store renamed: the workspaces are still the run's own, and go with it."""
    await run_once(f"sqlite:{tmp_path}/here/app.db", tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    for path in (tmp_path / "there").glob("app.db*"):
        path.rename(path.with_name(path.name.replace("app.db", "renamed.db")))

    async with kernel_on(f"sqlite:{tmp_path}/there/renamed.db", tmp_path / "there") as kernel:
        await VERBS[verb](kernel)
        assert await kernel.count() == 0

    assert files(tmp_path / "there" / "workspaces") == set()


async def test_a_link_in_the_place_of_a_workspace_is_not_followed(tmp_path: Path) -> None:
    """What it names is not flujo's."""
    await run_once(f"sqlite:{tmp_path}/app.db", tmp_path)
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").write_text("")
    shutil.rmtree(tmp_path / "workspaces" / "r")
    (tmp_path / "workspaces" / "r").symlink_to(treasure)

    async with kernel_on(f"sqlite:{tmp_path}/app.db", tmp_path) as kernel:
        await kernel.delete("r")

    assert (treasure / "gold").exists()
