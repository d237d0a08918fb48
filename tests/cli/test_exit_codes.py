"""The same mistake ends with the same code everywhere, and a locale without a character is no mistake."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Flujoctl

HELLO = """
name: hello
params: {name: {type: string, default: Zoë}}
steps:
  - {name: greet, task: echo, inputs: {message: "{{ args.name }} → 東"}}
outputs: {said: "{{ steps.greet.result }}"}
"""


@pytest.mark.parametrize(
    "arguments",
    [("run", "missing.yaml"), ("run", "hello.yaml", "--params-file", "missing.yaml"), ("import", "missing")],
)
def test_a_missing_file_is_not_found(arguments: tuple[str, ...], folder: Path, flujoctl: Flujoctl) -> None:
    """3, whichever option names it."""
    (folder / "hello.yaml").write_text(HELLO, encoding="utf-8")

    ended = flujoctl(*arguments)

    assert ended.code == 3
    assert ended.err.startswith("error[source-not-found]: there is no file 'missing")


@pytest.mark.parametrize(("task", "code"), [("fail", 1), ("noop", 0)])
def test_a_run_in_memory_ends_as_any_other(task: str, code: int, folder: Path, flujoctl: Flujoctl) -> None:
    """It is gone afterwards, so no command is suggested that would look for it."""
    (folder / "flow.yaml").write_text(f"name: x\nsteps: [{{name: a, task: {task}}}]\n", encoding="utf-8")

    ended = flujoctl("run", "flow.yaml", "--store", "memory:")

    assert ended.code == code
    assert "try:" not in ended.err


def test_what_is_no_workflow_file_is_one_line(folder: Path, flujoctl: Flujoctl) -> None:
    """A folder, for one."""
    (folder / "place").mkdir()

    ended = flujoctl("run", "place")

    assert ended.code == 3
    assert ended.err.startswith("error[source-not-found]: 'place' is a folder, not a file\ntry: ")


def test_a_foreign_store_cannot_be_used(folder: Path, flujoctl: Flujoctl) -> None:
    """5, as the table says."""
    with sqlite3.connect(folder / "other.db") as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()

    assert flujoctl("list", "--store", "sqlite:other.db").code == 5


def test_a_server_and_a_store_are_not_named_at_once(flujoctl: Flujoctl) -> None:
    """One of them would be ignored."""
    ended = flujoctl("list", "--server", "unix:s", "--store", "memory:")

    assert ended.code == 2
    assert ended.err.startswith("error[usage]: --server and --store name different runs")


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "yaml"])
def test_a_locale_without_a_character_is_no_failure(output: str, folder: Path) -> None:
    """What cannot be shown is replaced in tables and escaped in JSON and YAML; the run has completed."""
    (folder / "hello.yaml").write_text(HELLO, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "flujoctl", "run", "hello.yaml", "-o", output],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
    )

    assert ended.returncode == 0
    assert ended.stdout.isascii()
    assert (b"Zo?" in ended.stdout) == (output == "table")
