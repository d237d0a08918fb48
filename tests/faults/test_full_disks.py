"""A small disk that is full: what is said, what is left, and what goes on once there is space again."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest

from acceptance.terminal import STORES, Terminal, lines_until, output_until
from faults.history import Append, Holding, Moment, creation, differences, history, observe
from faults.victims import opened, problems
from flujo.kernel.backend import RunFilter, StateBackend
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


WAITING = """\
from flujo.kernel import Context, workflow


@workflow()
async def waiting(ctx: Context) -> object:
    return await ctx.wait_signal("go")
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


async def write_until_full(handle: StateBackend, *, trusting: bool = False, seed: int = 1) -> Holding:
    """Write until the disk is full; what was acknowledged by then. One that is trusting acknowledges that too."""
    held: Holding = {}
    for at in history("w", seed):
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


async def test_runs_can_be_removed_from_a_full_disk(small_memory: Path) -> None:
    """Once the room that was set aside is given up, as the error says, runs of a SQLite store are deleted and pruned on
    a disk without any other room; with the room that they leave the store goes on."""
    store = f"sqlite:{small_memory}/store"
    reserve = small_memory / "store-kernels" / "reserve"
    async with opened(store, "w") as handle:
        batch = [creation(f"w-{number}", None, number + 1) for number in range(150)]
        rows = [each._replace(rows=(each.rows[0]._replace(payload=f'"{"x" * 2_000}"'),)) for each in batch]
        for start in range(0, 150, 50):
            assert await handle.append(rows[start : start + 50]) == {}
    fill(small_memory)
    with pytest.raises(StoreFullError) as told:
        async with opened(store, None) as remover:
            await remover.delete("w-1", "uid-w-1")
    assert any(hint.startswith(f"rm {reserve}") for hint in told.value.hints)
    reserve.unlink()
    async with opened(store, None) as remover:
        await remover.delete("w-1", "uid-w-1")
        removed = await remover.prune(RunFilter(), limit=1_000, dry_run=False)
        assert await remover.integrity() == []

    assert removed.total == 149
    async with opened(store, "next") as handle:
        assert await handle.append([creation("after", "next", 1)]) == {}
        assert reserve.exists()


@pytest.mark.parametrize("scheme", ON_DISK)
async def test_a_full_disk_under_a_backup_is_told_of_the_backup(
    scheme: str, small_memory: Path, tmp_path: Path
) -> None:
    """A backup for which there is no room names its own place and what to do about that, and leaves nothing."""
    async with opened(f"{scheme}:{tmp_path}/store", "w") as handle:
        assert await handle.append([creation(f"w-{number}", None, number) for number in range(200)]) == {}
        ballast = fill(small_memory)
        with pytest.raises(StoreFullError) as told:
            await handle.backup(small_memory / "copy.db")

    assert told.value.store == str(small_memory / "copy.db")
    assert tuple(told.value.hints) == (f"free some space in {small_memory}, or: flujoctl db backup OTHER-PLACE",)
    assert os.listdir(small_memory) == [ballast.name]


@pytest.mark.parametrize("scheme", ON_DISK)
async def test_a_writer_that_acknowledges_what_did_not_fit_is_caught(scheme: str, small_memory: Path) -> None:
    """Who takes StoreFullError for success has lost something."""
    async with opened(f"{scheme}:{small_memory}/store", "w") as handle:
        held = await write_until_full(handle, trusting=True, seed=2)

        assert differences(await observe(handle, "w"), Moment(held, NOTHING)) != []


@pytest.mark.parametrize("store", STORES, ids=ON_DISK)
def test_a_run_that_filled_the_disk_is_resumed(store: str, small_memory: Path) -> None:
    """`flujoctl run` on a disk that becomes full ends with 5 and says what helps; that done, the run completes."""
    terminal = Terminal(small_memory / "terminal", store)
    terminal.write("flow.py", FLOW)
    ended = terminal.flujoctl("run", "flow.py", "--id", "night")

    assert ended.code == 5, ended
    assert "the disk is full" in ended.err
    assert "free some space, then: flujoctl resume night" in ended.err

    (terminal.folder / "ballast").unlink()
    resumed = terminal.flujoctl("resume", "night")
    assert (resumed.code, resumed.out.split()[:2]) == (0, ["completed", "night"]), resumed


WRITING = """\
name: writing
steps:
  - {name: say, task: echo, inputs: {message: "before"}}
  - {name: put, task: write_file, inputs: {path: out.txt, content: "{{ 'x' * 5000 }}"}}
"""


def test_a_full_disk_under_a_workspace_is_told_of_the_file(small_memory: Path, tmp_path: Path) -> None:
    """The store is elsewhere and sound: the step that had no room fails and names its file; a resume goes on."""
    terminal = Terminal(tmp_path / "terminal", "sqlite:.flujo/state.db")
    terminal.write("writing.yaml", WRITING)
    ballast = fill(small_memory)
    ended = terminal.flujoctl("run", "writing.yaml", "--id", "night", "--workspace", str(small_memory / "files"))

    assert ended.code == 1, ended
    assert f"No space left on device: '{small_memory}/files/out.txt'" in ended.err

    ballast.unlink()
    assert terminal.flujoctl("resume", "night").code == 0
    assert (small_memory / "files" / "out.txt").stat().st_size == 5_000


VERBS = ["cancel night", "signal night go", "set night x=1", "run flow.py --id other", "delete night --force"]


@pytest.mark.parametrize(
    ("store", "command"),
    # To remove a run from a file store takes no room.
    [
        (store, verb)
        for store in STORES
        for verb in VERBS
        if not (store.startswith("file") and verb.startswith("delete"))
    ],
)
def test_a_verb_that_finds_no_room_names_itself(store: str, command: str, small_memory: Path) -> None:
    """Whatever was to be written: the error names the store, ends with 5, and says to type the same again."""
    terminal = Terminal(small_memory / "terminal", store)
    terminal.write("flow.py", WAITING)
    assert terminal.flujoctl("run", "flow.py", "--id", "night", "--no-wait").code == 7
    fill(small_memory)
    ended = terminal.flujoctl(*command.split())

    assert ended.code == 5, ended
    assert "the disk is full" in ended.err
    assert "RUN_ID" not in ended.err.split("# room")[0]
    assert f"free some space, then: flujoctl {command}" in ended.err


@pytest.mark.parametrize("store", STORES, ids=ON_DISK)
def test_a_server_goes_on_by_itself_once_there_is_space(store: str, small_memory: Path) -> None:
    """It says that its store has failed, answers what is stored meanwhile, and goes on with its runs when the disk has
    room again; nobody restarts it."""
    terminal = Terminal(small_memory / "terminal", store)
    terminal.write("flow.py", WAITING)
    server = terminal.start("serve", "flow.py:waiting", "--store", store)
    try:
        output_until(server, "listening")
        terminal.environment["FLUJO_SERVER"] = "unix:.flujo/server.sock"
        for name in ("night", "day"):
            assert terminal.flujoctl("run", "waiting", "--id", name, "--no-wait").code == 7
        ballast = fill(small_memory)
        refused = terminal.flujoctl("signal", "night", "go", "x" * 50_000)
        listed = terminal.flujoctl("list", "-o", "name")
        lines_until(server, "no run goes on here")
        ballast.unlink()
        output_until(server, "listening")
        for name in ("night", "day"):
            assert terminal.flujoctl("signal", name, "go").code == 0
        ended = [terminal.flujoctl("wait", name, "--timeout", "20s") for name in ("night", "day")]
    finally:
        server.kill()
        server.communicate()

    assert (refused.code, "the disk is full" in refused.err) == (5, True), refused
    assert sorted(listed.out.split()) == ["day", "night"]
    assert [each.code for each in ended] == [0, 0], ended
