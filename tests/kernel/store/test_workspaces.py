"""A folder of workspaces belongs to one store; stores side by side never remove each other's files."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, Observer, Retention, workflow
from flujo.kernel.errors import UntrustedOwnerError
from flujo.kernel.store.log_compaction import compacted_name
from flujo.kernel.store.retention import Sweeper
from flujo.kernel.store.workspaces import MARK
from other_users import give_away, root_only


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
@pytest.mark.parametrize("run_ids", [("r", "r.log"), ("r.LOG", "r"), ("r", "r.log", "r.log.log")])
async def test_no_run_has_the_place_of_the_log_of_another(tmp_path: Path, verb: str, run_ids: Sequence[str]) -> None:
    """The log of `r` is `r.log`, which is an id as well; whoever removes `r` leaves the other runs all they have."""
    async with kernel_on(f"sqlite:{tmp_path}/app.db", tmp_path) as kernel:
        for run_id in run_ids:
            await kernel.run("program", run_id=run_id)
        made = files(tmp_path / "workspaces")
        await VERBS[verb](kernel)
        left = [run.run_id for run in (await kernel.list()).runs]

    assert len(made) == 2 * len(run_ids)
    assert files(tmp_path / "workspaces") == {name for name in made if name.split("/")[0] in _names(left)}


async def test_what_a_crash_left_of_a_log_goes_with_its_run(tmp_path: Path) -> None:
    """One that was just being made shorter."""
    async with kernel_on(f"sqlite:{tmp_path}/app.db", tmp_path) as kernel:
        await kernel.run("program", run_id="r")
        (tmp_path / "workspaces" / compacted_name("r.log")).write_text("half of")
        await kernel.delete("r")

    assert not files(tmp_path / "workspaces")


def _names(run_ids: Sequence[str]) -> set[str]:
    return {
        name
        for run_id in run_ids
        for name in (f"{run_id}.log", run_id if ".log" not in run_id.lower() else f"{run_id}~")
    }


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


async def test_a_workspace_that_cannot_be_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its run is gone and nothing else tells of it. What can be removed is."""
    remove = os.unlink

    def refuse(path: Any, **where: Any) -> None:
        if os.path.basename(path) == "made":
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        remove(path, **where)

    async with kernel_on(f"sqlite:{tmp_path}/app.db", tmp_path) as kernel:
        await kernel.run("program", run_id="r")
        (tmp_path / "workspaces" / "r" / "other").write_text("x")
        with monkeypatch.context() as immutable:
            immutable.setattr(os, "unlink", refuse)
            await kernel.delete("r")

    assert files(tmp_path / "workspaces") == {"r/made"}
    assert f"the workspace {tmp_path}/workspaces/r of a deleted run stays: Operation not permitted" in caplog.text


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


def open_to_others(folder: Path) -> list[Path]:
    """What in a folder somebody else may look into."""
    return [path for path in folder.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077]


def give_all_away(folder: Path) -> None:
    """Make a folder and all in it belong to another user."""
    for path in (folder, *folder.rglob("*")):
        give_away(path)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777], ids=oct)
async def test_nobody_else_can_look_into_what_is_made(tmp_path: Path, umask: int) -> None:
    """Whatever the umask says."""
    before = os.umask(umask)
    try:
        async with kernel_on(f"sqlite:{tmp_path}/.flujo/app.db", tmp_path / ".flujo") as kernel:
            kernel._files.make_own("r", {"workspace": str(tmp_path / ".flujo" / "workspaces" / "r")})
    finally:
        os.umask(before)

    assert open_to_others(tmp_path) == []


@root_only
@pytest.mark.parametrize("planted", ["a link", "a folder"])
@pytest.mark.parametrize("at", ["workspaces", "workspaces/r"])
async def test_nothing_is_made_where_another_user_wants_it(tmp_path: Path, at: str, planted: str) -> None:
    """A link, or a folder, that somebody has put in the place of a folder of flujo's: it is named, and left alone."""
    place, treasure = tmp_path / at, tmp_path / "treasure"
    treasure.mkdir()
    place.parent.mkdir(exist_ok=True)
    if planted == "a link":
        place.symlink_to(treasure)
    else:
        place.mkdir()
    give_away(place)

    async with kernel_on(f"sqlite:{tmp_path}/app.db", tmp_path) as kernel:
        with pytest.raises(UntrustedOwnerError, match=at):
            kernel._files.make_own("r", {"workspace": str(tmp_path / "workspaces" / "r")})

    assert [*treasure.iterdir(), *(place.iterdir() if planted == "a folder" else [])] == []


@root_only
async def test_nothing_is_removed_behind_a_link_of_another_user(tmp_path: Path) -> None:
    """The folder of workspaces is a link now, and what it leads to has a folder of the run's name."""
    await run_once(f"sqlite:{tmp_path}/app.db", tmp_path)
    (tmp_path / "workspaces").rename(tmp_path / "treasure")
    (tmp_path / "workspaces").symlink_to(tmp_path / "treasure")
    give_away(tmp_path / "workspaces")

    async with kernel_on(f"sqlite:{tmp_path}/app.db", tmp_path) as kernel:
        await kernel.delete("r")

    assert files(tmp_path / "treasure") == {"r/made", "r.log"}


@root_only
async def test_who_may_write_the_store_may_have_its_workspaces(tmp_path: Path) -> None:
    """Whoever names the store of another user has said that they are trusted, as root does for a service."""
    url = f"sqlite:{tmp_path}/app.db"
    await run_once(url, tmp_path)
    give_all_away(tmp_path)

    async with kernel_on(url, tmp_path) as kernel:
        assert await kernel.run("program", run_id="s") == 1


@pytest.mark.parametrize("planted", ["a link", "a pipe", "a folder", "too long"])
async def test_a_mark_that_is_none_of_flujos_is_replaced(tmp_path: Path, planted: str) -> None:
    """It is not followed, not waited for, and does not keep a kernel from opening."""
    mark, treasure = tmp_path / "workspaces" / MARK, tmp_path / "treasure"
    mark.parent.mkdir()
    treasure.write_text("gold")
    match planted:
        case "a link":
            mark.symlink_to(treasure)
        case "a pipe":
            os.mkfifo(mark)
        case "a folder":
            mark.mkdir()
        case _:
            mark.write_text("x" * 100_000)
    mark.with_name(f"{MARK}.{os.getpid()}").symlink_to(treasure)

    with anyio.fail_after(30):
        await run_once(f"sqlite:{tmp_path}/app.db", tmp_path)

    assert treasure.read_text() == "gold"
    assert planted == "a folder" or mark.read_text() == "../app.db\n"
