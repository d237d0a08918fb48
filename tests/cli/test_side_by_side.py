"""Stores side by side, with runs of the same ids: no command on the one touches a file of a run of the other."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.conftest import Flujoctl

WORK = """\
name: work
steps:
  - {name: write, task: write_file, inputs: {path: page, content: "{{ args.text }}"}}
params: {text: {type: string, default: first}}
"""
FORGETTING = "name: work\nretention: {completed: 0s}\nsteps: [{name: s, task: shell, inputs: {command: touch page}}]\n"

ORIGINAL = "sqlite:.flujo/state.db"

BESIDE: dict[str, tuple[str, Sequence[Sequence[str]]]] = {
    "a backup": ("sqlite:.flujo/copy.db", [["db", "backup", ".flujo/copy.db"]]),
    "a restored backup": (
        "sqlite:.flujo/copy.db",
        [["db", "backup", "kept"], ["db", "restore", "kept", "--store", "sqlite:.flujo/copy.db"]],
    ),
    "a copy": ("sqlite:.flujo/copy.db", [["db", "copy", ORIGINAL, "sqlite:.flujo/copy.db"]]),
    "a copy of another kind": ("file:.flujo/copy", [["db", "copy", ORIGINAL, "file:.flujo/copy"]]),
    "an imported run": (
        "sqlite:.flujo/copy.db",
        [["export", "r", "--to", "r.json"], ["import", "r.json", "--store", "sqlite:.flujo/copy.db"]],
    ),
    "another store": (
        "sqlite:.flujo/copy.db",
        [["run", "work.yaml", "--id", "r", "text=other", "--store", "sqlite:.flujo/copy.db"]],
    ),
    "a file store": ("file:.flujo/copy", [["run", "work.yaml", "--id", "r", "--store", "file:.flujo/copy"]]),
}
"""How there comes to be a second store beside the original: its URL, and the commands."""

REMOVING: Sequence[Sequence[str]] = [
    ["delete", "r"],
    ["delete", "r", "--force"],
    ["delete", "--status", "completed", "--yes"],
    ["lens", "delete", "r"],
    ["clean", "--workflow-id", "r"],
    ["clean", "--older-than", "0s"],
    ["prune", "--older-than", "0s", "--yes"],
    ["prune", "--status", "completed", "--yes"],
    ["lens", "prune", "--days-old", "0", "--yes"],
    ["run", "forgetting.yaml"],
    ["db", "restore", "empty", "--force"],
]


def remains(folder: Path) -> dict[str, str]:
    """The files of the runs of the original, and what is in them."""
    place = folder / ".flujo" / "workspaces"
    files = (path for path in place.rglob("*") if path.is_file() and path.name != ".store")
    return {str(path.relative_to(place)): path.read_text() for path in files}


def begin_anew(folder: Path) -> None:
    """Leave nothing but the original."""
    for path in [
        *folder.glob(".flujo/copy*"),
        *folder.glob(".flujo/workspaces-copy*"),
        folder / "kept",
        folder / "r.json",
    ]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("beside", BESIDE)
def test_no_command_on_one_store_removes_files_of_the_other(beside: str, folder: Path, flujoctl: Flujoctl) -> None:
    """Whatever the second store is, and whatever is removed there."""
    (folder / "work.yaml").write_text(WORK)
    (folder / "forgetting.yaml").write_text(FORGETTING)
    url, commands = BESIDE[beside]
    scheme = url.partition(":")[0]
    assert flujoctl("run", "work.yaml", "--id", "x", "--store", f"{scheme}:elsewhere/store").code == 0
    assert flujoctl("db", "backup", "empty", "--store", f"{scheme}:elsewhere/store").code == 0
    assert flujoctl("run", "work.yaml", "--id", "r").code == 0
    before = remains(folder)
    touched = {}
    for removing in REMOVING:
        begin_anew(folder)
        assert [flujoctl(*command).code for command in commands] == [0] * len(commands)

        ended = flujoctl(*removing, "--store", url)

        assert ended.code == 0, ended
        assert "r" not in flujoctl("list", "-q", "--store", url).out.split(), removing
        if remains(folder) != before:
            touched[" ".join(removing)] = remains(folder)

    assert before == {"r/page": "first"}
    assert touched == {}
    assert flujoctl("list", "-q").out.split() == ["r"]
