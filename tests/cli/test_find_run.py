"""Naming a run: by its id, by a part of it, or as the newest one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.conftest import Copied, Flujoctl

WORKFLOW = """
name: w
steps:
  - {name: a, task: echo, inputs: {message: hello}}
"""
IDS = ["report-1", "report-2", "backup-77"]


@pytest.fixture
def runs(copied: Copied) -> Sequence[str]:
    """The ids of three runs, the newest last."""
    copied(fill)
    return IDS


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs."""
    Path("w.yaml").write_text(WORKFLOW)
    for run_id in IDS:
        assert flujoctl("run", "w.yaml", "--id", run_id).code == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [("report-1", "report-1"), ("b", "backup-77"), ("rt-2", "report-2"), ("p-77", "backup-77"), ("@last", "backup-77")],
)
def test_a_run_is_found_by_what_names_just_one(
    flujoctl: Flujoctl, runs: Sequence[str], given: str, expected: str
) -> None:
    """An id, its beginning, its end from four characters on, or the newest run."""
    assert json.loads(flujoctl("inspect", given, "-o", "json").out)["run_id"] == expected


def test_the_newest_run_is_known_to_every_command(flujoctl: Flujoctl, runs: Sequence[str]) -> None:
    """As any other name of a run is, also where it is deleted: the one before it is the newest then."""
    assert flujoctl("explain", "@last").out.startswith("run backup-77")
    assert flujoctl("events", "@last").out == flujoctl("events", "backup-77").out
    assert flujoctl("delete", "@last").code == 0

    assert flujoctl("list", "-q").out.split() == ["report-2", "report-1"]
    assert flujoctl("fork", "@last", "--id", "again").code == 0
    assert flujoctl("list", "-q", "--limit", "1").out.split() == ["again"]


def test_several_runs_that_are_meant_are_listed(flujoctl: Flujoctl, runs: Sequence[str]) -> None:
    """Nothing is guessed."""
    ended = flujoctl("inspect", "report")

    assert ended.code == 4
    assert "'report' matches several runs" in ended.err
    assert "report-1" in ended.err
    assert "report-2" in ended.err
    assert ended.err.splitlines()[-1] == "try: flujoctl list --id-prefix report"
    assert flujoctl("list", "--id-prefix", "report", "-q").out.split() == ["report-2", "report-1"]


def test_an_abbreviation_that_is_too_short_to_delete_by_says_so(flujoctl: Flujoctl, runs: Sequence[str]) -> None:
    """Instead of that there is no such run, which `list` contradicts."""
    ended = flujoctl("delete", "bac")

    assert ended.code == 3
    assert ended.err.splitlines()[1] == "try: type at least 4 characters of an id here, or all of it"


@pytest.mark.parametrize("command", ["inspect", "delete", "resume"])
def test_an_empty_id_names_no_run(flujoctl: Flujoctl, runs: Sequence[str], command: str) -> None:
    """Although every id begins with it: a variable was not set."""
    ended = flujoctl(command, "")

    assert ended.code == 3
    assert ended.err.splitlines()[1] == "try: look for a variable of the shell that is empty"


def test_there_is_no_newest_run_in_an_empty_store(flujoctl: Flujoctl, runs: Sequence[str]) -> None:
    """It is told as any run that is not there."""
    assert flujoctl("delete", *runs).code == 0
    ended = flujoctl("inspect", "@last")

    assert (ended.code, ended.err.splitlines()[0]) == (
        3,
        "error[run-not-found]: no run '@last' in sqlite:.flujo/state.db",
    )
