"""The payload of a signal: JSON, or else text, and nothing that only looks like a value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Flujoctl

WAIT = "name: wait\nsteps: [{name: go, task: wait_signal}]\n"


@pytest.fixture
def waiting(folder: Path, flujoctl: Flujoctl) -> Flujoctl:
    """Commands beside a run `r` that waits."""
    (folder / "wait.yaml").write_text(WAIT, encoding="utf-8")
    assert flujoctl("run", "wait.yaml", "--id", "r", "--no-wait").code == 7
    return flujoctl


@pytest.mark.parametrize(
    ("payload", "taken"),
    [('{"a": 1}', {"a": 1}), ("5", 5), ("five", "five"), ('{"a":', '{"a":'), ("nan", "nan"), ("", ""), ('"5"', "5")],
)
def test_what_is_no_json_is_text(waiting: Flujoctl, payload: str, taken: object) -> None:
    """As a person types it."""
    assert waiting("signal", "r", "go", payload).code == 0
    waiting("resume", "r")

    assert json.loads(waiting("inspect", "r", "-o", "json").out)["step_outputs"]["go"]["result"] == taken


@pytest.mark.parametrize(
    "payload",
    ["[" * 100_000 + "]" * 100_000, "9" * 5_000, '{"a": 1, "a": 2}', "NaN", "1e999", '"\\ud800"'],
    ids=["too deep", "too many digits", "a name twice", "no number", "too large", "no text"],
)
def test_json_that_has_no_value_is_refused(waiting: Flujoctl, payload: str) -> None:
    """It was not meant as text, and nothing is sent in its place."""
    refused = waiting("signal", "r", "go", payload)

    assert refused.code == 2
    assert "error[internal]" not in refused.err
    assert waiting("events", "r").out.count("signal_received") == 0
