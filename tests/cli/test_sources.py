"""Workflows in one Python file, as several commands and one server load them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Flujoctl
from flujo.backends import InMemoryBackend
from flujo.cli import sources
from flujo.kernel import Kernel

FAMILY = """\
from flujo.kernel import Context, workflow

@workflow
async def child(ctx: Context) -> str:
    return "child"

@workflow
async def parent(ctx: Context) -> str:
    return await ctx.run_child(child)
"""


@pytest.mark.parametrize("targets", [["parent", "child"], ["child", "parent"], ["parent"]])
async def test_two_workflows_of_one_file_may_call_each_other(folder: Path, targets: list[str]) -> None:
    """They are served by two names, and the file is one module."""
    (folder / "family.py").write_text(FAMILY, encoding="utf-8")

    loaded = [sources.load(f"family.py:{name}") for name in targets]

    async with Kernel(InMemoryBackend(), loaded) as kernel:
        assert await kernel.run("parent") == "child"


def test_a_file_that_has_changed_is_read_again(folder: Path) -> None:
    """Whoever edits it between two commands of one process gets what it says now."""
    (folder / "family.py").write_text(FAMILY, encoding="utf-8")
    same = [sources.load("family.py:child").program for _ in range(2)]

    (folder / "family.py").write_text(f"{FAMILY}# edited\n", encoding="utf-8")

    assert same[0] is same[1]
    assert sources.load("family.py:child").program is not same[0]


RECURSIVE = """\
from pathlib import Path
from flujo.kernel import Context, workflow

@workflow
async def down(ctx: Context, n: int) -> int:
    if n > 0:
        return STEP + await ctx.run_child("down", {"n": n - 1})
    await ctx.step(last)
    return 0

@workflow
async def above(ctx: Context) -> int:
    return await ctx.run_child("down", {"n": 1})

@workflow
async def unfinished(ctx: Context, what: "NotYet") -> int: ...

def last() -> None:
    if not Path("mended").exists():
        raise ValueError("not yet")
"""


def write_recursive(file: Path, step: int = 1) -> None:
    """Put a file of workflows there that call each other by name, and count by steps of a size."""
    file.write_text(RECURSIVE.replace("STEP", str(step)), encoding="utf-8")


@pytest.mark.parametrize("name", ["down", "above"])
@pytest.mark.parametrize(
    "again",
    [
        ["resume", "r"],
        ["retry", "r"],
        ["resume", "--status", "failed", "--yes"],
        ["retry", "--workflow", "NAME", "--yes"],
        ["fork", "r", "--id", "f"],
        ["run", "--resume", "calls.py:NAME"],
        ["run", "--resume", "calls.py:NAME", "--id", "r"],
        ["resume", "r", "--from-step", "down"],
    ],
    ids=" ".join,
)
def test_a_python_workflow_finds_others_of_its_file_by_name(
    flujoctl: Flujoctl, folder: Path, name: str, again: list[str]
) -> None:
    """Itself, too, and in whatever way a run of it goes on; one of them that is unfinished is in nobody's way."""
    write_recursive(folder / "calls.py")
    inputs = ["n=1"] if name == "down" else []
    failed = flujoctl("run", f"calls.py:{name}", *inputs, "--id", "r")
    assert (failed.code, "ValueError: run" in failed.err, "not yet" in failed.err) == (1, True, True)

    (folder / "mended").touch()
    ended = flujoctl(*[word.replace("NAME", name) for word in again], "-o", "json")

    assert ended.code == 0, ended.err
    run_id = "f" if again[0] == "fork" else "r"
    assert json.loads(flujoctl("inspect", run_id, "-o", "json").out)["output"] == 1


def test_a_child_that_was_called_by_name_can_be_resumed_by_itself(flujoctl: Flujoctl, folder: Path) -> None:
    """It has recorded where it is found, as its parent has."""
    write_recursive(folder / "calls.py")
    flujoctl("run", "calls.py:above", "--id", "r")
    (folder / "mended").touch()

    assert flujoctl("resume", "r.down").code == 0
    assert flujoctl("resume", "r").code == 0


def test_runs_of_two_files_that_are_resumed_together_find_their_own(flujoctl: Flujoctl, folder: Path) -> None:
    """Both files have a workflow of the same name, as a file and its edited copy have."""
    for number in (1, 10):
        write_recursive(folder / f"calls{number}.py", number)
        flujoctl("run", f"calls{number}.py:above", "--id", f"r{number}")
    (folder / "mended").touch()

    resumed = flujoctl("resume", "--workflow", "above", "--yes")

    assert resumed.code == 0, resumed.err
    outputs = [json.loads(flujoctl("inspect", f"r{number}", "-o", "json").out)["output"] for number in (1, 10)]
    assert outputs == [1, 10]


def test_a_child_that_could_not_begin_is_not_to_be_explained(flujoctl: Flujoctl, folder: Path) -> None:
    """Its parent has recorded its id, and there is no such run: what is printed to be typed must work."""
    (folder / "lost.py").write_text(RECURSIVE.replace('"down"', '"gone"'), encoding="utf-8")

    failed = flujoctl("run", "lost.py:above", "--id", "r")

    assert "this kernel has no workflow 'gone'" in failed.err
    assert "r.gone" not in "".join(line for line in failed.err.splitlines() if line.startswith("try:"))


TIDY = """\
from pathlib import Path
from flujo.kernel import Context, workflow

async def take_down(ctx: Context) -> None:
    await ctx.step(Path("taken-down").touch, name="remove")

@workflow(clean_up=take_down)
async def server(ctx: Context) -> None:
    await ctx.step(Path("up").touch, name="create")
    await ctx.wait_signal("go")
"""


@pytest.mark.parametrize("cancel", [["cancel", "r"], ["cancel", "--workflow", "server", "--yes"]], ids=" ".join)
def test_cancelling_an_idle_run_of_a_program_runs_its_clean_ups(
    flujoctl: Flujoctl, folder: Path, cancel: list[str]
) -> None:
    """Nobody runs it, so this process loads its program for that."""
    (folder / "tidy.py").write_text(TIDY, encoding="utf-8")
    assert flujoctl("run", "tidy.py", "--id", "r", "--no-wait").code == 7

    cancelled = flujoctl(*cancel)

    assert (cancelled.code, cancelled.err, (folder / "taken-down").exists()) == (0, "", True)


def test_a_program_that_cannot_be_imported_any_more_keeps_no_run_from_its_end(
    flujoctl: Flujoctl, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is left undone is told."""
    (folder / "tidy.py").write_text(TIDY, encoding="utf-8")
    flujoctl("run", "tidy.py", "--id", "r", "--no-wait")
    (folder / "tidy.py").write_text("import nothing_like_it", encoding="utf-8")

    assert flujoctl("cancel", "r").code == 0
    assert "without its clean-ups: importing" in caplog.text
    assert json.loads(flujoctl("inspect", "r", "-o", "json").out)["status"] == "cancelled"
