"""Another user's store in a shared folder: no command touches it, and one line says how to insist."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flujo.kernel.errors import UntrustedOwnerError
from flujo.state.models import WorkflowState
from other_users import OTHER, give_away, root_only

from .conftest import Flujoctl

WORKFLOW = """
name: planted
steps:
  - {name: touch, task: shell, inputs: {command: "touch {{ args.file }}; test -e {{ args.go }}"}}
params: {file: {type: string}, go: {type: string}}
"""


@pytest.fixture
def planted(folder: Path, flujoctl: Flujoctl) -> Path:
    """A store whose failed run executes a command when it is resumed, all of it another user's; returns what the
    command makes."""
    made = folder / "made"
    (folder / "planted.yaml").write_text(WORKFLOW, encoding="utf-8")
    assert flujoctl("run", "--id", "r", "planted.yaml", f"file={made}", f"go={folder}/go").code == 1
    made.unlink()
    for place, _, files in os.walk(folder / ".flujo"):
        for path in (place, *(os.path.join(place, file) for file in files)):
            os.chown(path, OTHER, OTHER)
    return made


COMMANDS = (
    ("list",),
    ("inspect", "r"),
    ("resume", "r"),
    ("retry", "r"),
    ("run", "planted.yaml", "file=other", "go=here"),
    ("signal", "r", "s"),
    ("serve",),
    ("prune", "--older-than", "0", "--yes"),
    ("db", "check"),
    ("db", "backup", "copy.db"),
)


@root_only
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_command_uses_a_store_that_another_user_put_there(
    arguments: tuple[str, ...], planted: Path, folder: Path, flujoctl: Flujoctl
) -> None:
    """It ends with 5 before anything is opened, and says what to type to use it all the same."""
    ended = flujoctl(*arguments)

    error, remedy = ended.err.splitlines()
    assert (ended.code, ended.out) == (5, "")
    assert error.startswith(
        f"error[owner-untrusted]: {folder}/.flujo belongs to user {OTHER}, neither to you nor to root; flujo"
    )
    assert remedy == f"try: flujoctl list --store sqlite:{folder}/.flujo/state.db  # if you trust user {OTHER}"
    assert not planted.exists()
    assert not (folder / "other").exists()


@root_only
@pytest.mark.parametrize("at", [".flujo/workspaces", ".flujo/workspaces/new"])
def test_no_run_works_where_another_user_wants_it(at: str, folder: Path, flujoctl: Flujoctl) -> None:
    """In an open folder somebody has put a link in the place of a workspace: nothing is made behind it."""
    (folder / "hello.yaml").write_text("name: w\nsteps: [{name: s, task: shell, inputs: {command: touch made}}]\n")
    assert flujoctl("run", "--id", "old", "hello.yaml").code == 0
    treasure, place = folder / "treasure", folder / at
    treasure.mkdir()
    if place.exists():
        place.rename(folder / "elsewhere")
    place.symlink_to(treasure)
    give_away(place)

    ended = flujoctl("run", "--id", "new", "hello.yaml")

    assert ended.code != 0
    assert f"{at} belongs to user {OTHER}, neither to you nor to root" in ended.err
    assert list(treasure.iterdir()) == []


@root_only
def test_naming_the_store_insists(planted: Path, folder: Path, flujoctl: Flujoctl) -> None:
    """The run goes on: the user has said so."""
    (folder / "go").touch()

    assert flujoctl("resume", "r", "--store", "sqlite:.flujo/state.db").code == 0
    assert planted.exists()


@root_only
@pytest.mark.usefixtures("planted")
def test_programs_are_told_the_same() -> None:
    """`flujo.state` finds a store as flujoctl does."""
    with pytest.raises(UntrustedOwnerError):
        WorkflowState.load("r")

    assert WorkflowState.load("r", store="sqlite:.flujo/state.db").status == "failed"
