"""`flujoctl wait --for any`: the first of several runs to end ends the wait, in this process and over a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Copied, Flujoctl

GATE = "name: gate\nsteps: [{name: go, task: wait_signal}]\n"
PLAIN = "name: plain\nsteps: [{name: a, task: noop}]\n"
FAILS = "name: fails\nsteps: [{name: a, task: fail, inputs: {message: no}}]\n"


@pytest.fixture
def runs(copied: Copied, flujoctl: Flujoctl) -> Flujoctl:
    """A run that waits and that nobody runs, one that has completed, one that failed."""
    copied(fill)
    return flujoctl


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs."""
    for name, text in (("gate", GATE), ("plain", PLAIN), ("fails", FAILS)):
        Path(f"{name}.yaml").write_text(text)
    assert flujoctl("run", "gate.yaml", "--id", "waits", "--no-wait").code == 7
    assert flujoctl("run", "gate.yaml", "--id", "waits-too", "--no-wait").code == 7
    assert flujoctl("run", "plain.yaml", "--id", "done").code == 0
    assert flujoctl("run", "fails.yaml", "--id", "failed").code == 1


def test_one_that_has_ended_ends_the_wait(runs: Flujoctl) -> None:
    """With its exit code, and as one object: of several that have ended, the one named first."""
    ended = runs("wait", "waits", "done", "failed", "--for", "any", "-o", "json")
    failed = runs("wait", "failed", "waits", "done", "--for", "any")

    assert (ended.code, json.loads(ended.out)["run_id"]) == (0, "done")
    assert failed.code == 1
    assert failed.out.startswith("failed  failed")
    assert "done" not in failed.out


def test_runs_that_nobody_runs_do_not_end_it_while_there_are_others(runs: Flujoctl) -> None:
    """With 7 if there are none; `all`, the default, ends at the first of them."""
    assert runs("wait", "waits", "waits-too", "--for", "any").code == 7
    assert runs("wait", "waits", "done").code == 7
    assert runs("wait", "waits", "done", "--for", "all").code == 7


def test_a_run_that_is_not_there_is_told(runs: Flujoctl) -> None:
    """Before anything is waited for."""
    assert runs("wait", "done", "nobody", "--for", "any").code == 3


def test_a_slip_is_told_with_the_line_to_type(runs: Flujoctl) -> None:
    """As of every option that takes one of a few values."""
    refused = runs("wait", "done", "--for", "andy")

    assert refused.code == 2
    assert "try: flujoctl wait done --for any" in refused.err
