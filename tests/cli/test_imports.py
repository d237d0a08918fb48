"""flujoctl with files that import others: running them, and resuming when one of them has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Flujoctl

MAIN = """\
name: main
imports: ["lib one/base.yaml"]
steps:
  - {name: work, task: echo, inputs: {message: "{{ steps.greet.result }}, work"}}
  - {name: end, task: shell, inputs: {command: "test -e ok"}}
outputs: {told: "{{ steps.work.result }}"}
"""

BASE = """\
name: base
params: {whom: {type: string, default: world}}
steps:
  - {name: greet, task: echo, inputs: {message: "hello {{ whom }}"}}
"""


@pytest.fixture
def files(folder: Path) -> Path:
    """A workflow whose first step is in another folder."""
    (folder / "lib one").mkdir()
    (folder / "lib one" / "base.yaml").write_text(BASE)
    (folder / "main.yaml").write_text(MAIN)
    return folder


def test_imported_steps_run_before_the_others_with_their_parameters(files: Path, flujoctl: Flujoctl) -> None:
    """And the parameters are given to the workflow itself."""
    (files / "ok").touch()

    ended = flujoctl("run", "main.yaml", "whom=Ada", "--id", "r", "--workspace", ".", "-o", "json")

    assert ended.code == 0
    assert json.loads(ended.out)["output"] == {"told": "hello Ada, work"}


def test_a_change_in_an_imported_file_is_judged_as_one_in_the_file(files: Path, flujoctl: Flujoctl) -> None:
    """A completed step binds; what was kept goes on with --stored, and a change elsewhere is used."""
    base = files / "lib one" / "base.yaml"
    flujoctl("run", "main.yaml", "--id", "r", "--workspace", ".")
    (files / "ok").touch()
    base.write_text(BASE.replace("hello", "goodbye"))

    refused = flujoctl("resume", "r")
    shown = flujoctl("diff", "r")
    base.write_text(BASE.replace("name: greet", "description: a greeting, name: greet"))
    resumed = flujoctl("resume", "r")

    assert (refused.code, shown.code) == (4, 4)
    assert "greet: its task, inputs or condition have changed since it completed" in refused.err
    assert "flujoctl resume r --stored" in refused.err
    assert resumed.code == 0
    assert "main.yaml has changed since this run last began; using it as it is now" in resumed.err


@pytest.mark.parametrize("gone", ["lib one/base.yaml", "main.yaml"])
def test_a_run_goes_on_with_what_it_keeps_when_a_file_is_gone(files: Path, flujoctl: Flujoctl, gone: str) -> None:
    """By itself without the first file; without an imported one it says so, and how."""
    flujoctl("run", "main.yaml", "--id", "r", "--workspace", ".")
    (files / "ok").touch()
    (files / gone).unlink()

    resumed = flujoctl("resume", "r")

    if gone != "main.yaml":
        assert resumed.code == 2
        assert "main.yaml:2:11: the imported file `lib one/base.yaml` does not exist" in resumed.err
        assert "try: flujoctl resume r --stored" in resumed.err
        resumed = flujoctl("resume", "r", "--stored")
    assert resumed.code == 0


def test_mistakes_of_all_files_are_told_at_once(files: Path, flujoctl: Flujoctl) -> None:
    """Each where it stands."""
    (files / "lib one" / "base.yaml").write_text(BASE.replace("echo", "ecko"))
    (files / "main.yaml").write_text(MAIN.replace("task: shell", "task: shel"))

    refused = flujoctl("validate", "main.yaml")

    assert refused.code == 2
    assert (refused.out + refused.err).splitlines()[:2] == [
        "main.yaml:5:23: there is no task `shel`; did you mean `shell`?",
        "lib one/base.yaml:4:25: there is no task `ecko`; did you mean `echo`?",
    ]


def test_an_exported_run_takes_all_files_along(files: Path, flujoctl: Flujoctl) -> None:
    """And is resumed in another store without any of them."""
    flujoctl("run", "main.yaml", "--id", "r", "--workspace", ".")
    flujoctl("export", "r", "--to", "r.json")
    (files / "ok").touch()
    (files / "lib one" / "base.yaml").unlink()
    (files / "main.yaml").unlink()

    imported = flujoctl("import", "r.json", "--store", "sqlite:other.db")
    resumed = flujoctl("resume", "r", "--store", "sqlite:other.db")

    assert (imported.code, resumed.code) == (0, 0), (imported, resumed)
