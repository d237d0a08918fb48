"""A word that names no run, but a step, a signal, a workflow or a file: the line that was meant."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cli.conftest import Copied, Flujoctl

WORK = """\
name: work
params: {who: {type: string, default: Ada}}
steps:
  - {name: fetch, task: shell, inputs: {command: "true"}}
  - {name: send, task: shell, inputs: {command: "echo out; false"}}
"""

ASK = "name: ask\nsteps: [{name: sure, task: wait_signal, inputs: {signal: go}}]\n"


@pytest.fixture
def worked(copied: Copied, folder: Path) -> Path:
    """Two runs of one workflow that failed in a step, and one that waits for a signal."""
    copied(fill)
    return folder


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs."""
    Path("work.yaml").write_text(WORK)
    Path("ask.yaml").write_text(ASK)
    for run_id in ("r", "r2"):
        assert flujoctl("run", "work.yaml", "--id", run_id).code == 1
    assert flujoctl("run", "ask.yaml", "--id", "q", "--no-wait").code == 7


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("retry r send", "retry r --step send  # send is a step of run r"),
        ("retry send r", "retry r --step send  # send is a step of run r"),
        ("resume r send", "resume r --from-step send  # send is a step of run r"),
        ("resume send", "resume r2 --from-step send  # send is a step of run r2"),
        ("fork r send", "fork r --from-step send  # send is a step of run r"),
        ("logs send", "logs r2 --step send  # send is a step of run r2"),
        ("inspect send", "inspect r2 --step send  # send is a step of run r2"),
        ("cancel send", "inspect r2 --step send  # send is a step of run r2"),
        ("delete send", "inspect r2 --step send  # send is a step of run r2"),
        ("skip send r", "skip r send  # send is a step of run r"),
        ("signal go q", "signal q go  # run q waits for go"),
        ("approve go q", "approve q go  # run q waits for go"),
        ("logs work", "logs r2  # work is a workflow; this is its newest run"),
        ("explain work.yaml", "explain r2  # work.yaml is a file; this is its newest run"),
        ("resume work", "resume r2  # work is a workflow; this is its newest run"),
        ("run r", "resume r  # there is a run of this id"),
    ],
)
def test_a_word_that_names_no_run_is_answered_with_the_line_that_was_meant(
    typed: str, line: str, flujoctl: Flujoctl, worked: Path
) -> None:
    """It is the first one, and nothing has been done."""
    before = flujoctl("list", "-o", "json").out

    ended = flujoctl(*typed.split())

    assert (ended.code in (2, 3), ended.out) == (True, "")
    assert next(each for each in ended.err.splitlines() if each.startswith("try: ")) == f"try: flujoctl {line}"
    assert flujoctl("list", "-o", "json").out == before
    typed_again = flujoctl(*shlex.split(line.partition("  # ")[0]), *(["--no-wait"] if "from-step" in line else []))
    assert typed_again.code in (0, 1), typed_again.err


@pytest.mark.parametrize("typed", ["logs nope", "retry r nope", "resume r nope", "run nope", "inspect broken.yaml"])
def test_a_word_that_nobody_knows_is_answered_as_ever(typed: str, flujoctl: Flujoctl, worked: Path) -> None:
    """With the commands that show what there is."""
    (worked / "broken.yaml").write_text("steps: 3")

    ended = flujoctl(*typed.split())

    assert ended.code in (2, 3)
    assert "  # " not in ended.err
    assert ended.err.count("error[") == 1


def test_a_store_that_cannot_be_read_is_told_once(flujoctl: Flujoctl, folder: Path) -> None:
    """What looks for the line that was meant fails in silence."""
    ended = flujoctl("retry", "r", "send", "--store", "sqlite:nowhere/state.db")

    assert (ended.code, ended.err.count("error[")) == (3, 1)
