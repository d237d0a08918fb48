"""A run that was copied with its store works in the workspace of the original, and says so before it does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cli.conftest import Flujoctl

WORK = """\
name: work
steps:
  - {name: fetch, task: write_file, inputs: {path: page, content: all}}
  - {name: approve, task: wait_signal}
  - {name: count, task: read_file, inputs: {path: page}}
"""


@pytest.fixture
def waiting(folder: Path, flujoctl: Flujoctl) -> Path:
    """A folder with a store in which a run `r` has filled its workspace, and waits; nobody runs it."""
    (folder / "work.yaml").write_text(WORK, encoding="utf-8")
    assert flujoctl("run", "work.yaml", "--id", "r", "--no-wait").code == 7
    return folder


COPIES = {
    "a backup": (["db", "backup", "copy.db"], "sqlite:copy.db"),
    "a copy": (["db", "copy", "sqlite:.flujo/state.db", "sqlite:other/copy.db"], "sqlite:other/copy.db"),
    "a copy of another kind": (["db", "copy", "sqlite:.flujo/state.db", "file:elsewhere/runs"], "file:elsewhere/runs"),
}


@pytest.mark.parametrize(("arguments", "store"), COPIES.values(), ids=COPIES)
def test_a_copy_names_the_store_whose_files_it_works_in(
    waiting: Path, flujoctl: Flujoctl, arguments: list[str], store: str
) -> None:
    """In inspect, and when it goes on; the original has nothing to say."""
    (waiting / "other").mkdir()
    (waiting / "elsewhere").mkdir()
    assert flujoctl(*arguments).code == 0
    said = f"workspaces/r belongs to a run of {waiting / '.flujo' / 'state.db'}; run r is a copy"

    assert said in flujoctl("inspect", "r", "--store", store).err
    flujoctl("signal", "r", "approve", "--store", store)
    assert said in flujoctl("resume", "--status", "waiting", "--yes", "--store", store).err
    assert said in flujoctl("resume", "r", "--from-step", "count", "--store", store).err
    assert "is a copy" not in flujoctl("inspect", "r").err
    flujoctl("signal", "r", "approve")
    assert "is a copy" not in flujoctl("resume", "r").err


def test_a_store_that_was_moved_or_renamed_has_its_own_files(
    waiting: Path, flujoctl: Flujoctl, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that its folder names is not there any more."""
    (waiting / ".flujo" / "state.db").rename(waiting / ".flujo" / "renamed.db")
    assert "is a copy" not in flujoctl("inspect", "r", "--store", "sqlite:.flujo/renamed.db").err
    (waiting / ".flujo" / "renamed.db").rename(waiting / ".flujo" / "state.db")

    place = tmp_path_factory.mktemp("moved") / "project"
    shutil.move(waiting, place)
    monkeypatch.chdir(place)

    assert "is a copy" not in flujoctl("inspect", "r").err


def test_a_new_run_says_that_it_works_among_files_of_an_earlier_one(folder: Path, flujoctl: Flujoctl) -> None:
    """The store was replaced by an older copy, which knows nothing of the run; its files are left, and named."""
    (folder / "work.yaml").write_text("name: w\nsteps: [{name: s, task: shell, inputs: {command: touch made}}]\n")
    said = f"the workspace {folder}/.flujo/workspaces/r holds files of an earlier run with this id"
    assert flujoctl("run", "work.yaml", "--id", "other").code == 0
    assert flujoctl("db", "backup", "copy.db").code == 0
    first = flujoctl("run", "work.yaml", "--id", "r")
    attached = flujoctl("run", "work.yaml", "--id", "r")
    assert flujoctl("db", "restore", "copy.db", "--force").code == 0

    second = flujoctl("run", "work.yaml", "--id", "r")
    elsewhere = flujoctl("run", "work.yaml", "--id", "mine", "--workspace", str(folder))

    assert said not in first.err
    assert said not in attached.err
    assert said in second.err
    assert "holds files" not in elsewhere.err


@pytest.mark.parametrize("place", ["other", "other/part", "new"])
def test_no_run_works_among_the_workspaces_that_flujo_removes(folder: Path, flujoctl: Flujoctl, place: str) -> None:
    """A workspace that is named is never removed, and one of flujo's own goes with the run it is named after."""
    (folder / "flow.yaml").write_text("name: flow\nsteps: [{name: a, task: shell, inputs: {command: touch kept}}]\n")
    assert flujoctl("run", "flow.yaml", "--id", "other").code == 0
    ended = flujoctl("run", "flow.yaml", "--id", "r", "--workspace", f".flujo/workspaces/{place}")

    assert ended.code == 2, ended
    assert "where flujo removes what is named after a run" in ended.err
    assert flujoctl("run", "flow.yaml", "--id", "mine", "--workspace", "here").code == 0
    assert flujoctl("delete", "other", "mine").code == 0
    assert (folder / "here" / "kept").exists()
