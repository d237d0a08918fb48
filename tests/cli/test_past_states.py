"""`inspect --at` and `--definition`: a run as it stood after an event, and the text that it went by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Copied, Flujoctl

BEFORE = """\
name: two
steps:
  - {name: a, task: echo, inputs: {message: first}}
  - {name: b, task: shell, inputs: {command: "test -e ok"}}
"""
AFTER = BEFORE.replace("test -e ok", "test -e ok && echo fine")


@pytest.fixture
def resumed(copied: Copied, flujoctl: Flujoctl) -> Flujoctl:
    """The commands, where a run has failed in its second step, and completed by an edited definition."""
    copied(fill)
    return flujoctl


def fill(flujoctl: Flujoctl) -> None:
    """Make that run."""
    Path("two.yaml").write_text(BEFORE)
    flujoctl("run", "two.yaml", "--id", "r", "--workspace", ".", "-q")
    Path("ok").touch()
    Path("two.yaml").write_text(AFTER)
    flujoctl("resume", "r", "-q")


def seq_of(flujoctl: Flujoctl, type: str) -> str:
    events = json.loads(flujoctl("events", "r", "-o", "json").out)
    return str(next(event["seq"] for event in events if event["type"] == type))


def test_a_run_is_shown_as_it_stood(resumed: Flujoctl) -> None:
    """Its status, its steps and its error of then; no command, which would be of now."""
    shown = resumed("inspect", "r", "--at", seq_of(resumed, "run_failed"))

    assert shown.code == 0
    assert "status     failed" in shown.out
    assert "progress   1/2 steps, 1 failed" in shown.out
    assert "try:" not in shown.err
    assert shown.err.startswith("as it stood after event ")


def test_the_first_event_and_the_last(resumed: Flujoctl) -> None:
    """After the first one nothing has begun, after the last one it is as it is."""
    first = json.loads(resumed("inspect", "r", "--at", "1", "-o", "json").out)
    now = json.loads(resumed("inspect", "r", "-o", "json").out)
    last = json.loads(resumed("inspect", "r", "--at", str(now["seq"]), "-o", "json").out)

    assert (first["status"], first["seq"]) == ("pending", 1)
    assert last == now


def test_a_step_as_it_stood(resumed: Flujoctl) -> None:
    """With the error that it has no longer."""
    shown = resumed("inspect", "r", "--at", seq_of(resumed, "run_failed"), "--step", "b", "-o", "json")

    assert json.loads(shown.out)["status"] == "failed"


@pytest.mark.parametrize(("seq", "says"), [("0", "0 is not in the range"), ("999", "run 'r' has the events 1 to ")])
def test_an_event_that_the_run_does_not_have(resumed: Flujoctl, seq: str, says: str) -> None:
    """Is refused with those it has."""
    ended = resumed("inspect", "r", "--at", seq)

    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.splitlines()) <= 2


def test_the_definition_of_a_run_is_printed_as_it_was_written(resumed: Flujoctl) -> None:
    """The one that it has now, and the one that it had then."""
    assert resumed("inspect", "r", "--definition").out == AFTER
    assert resumed("inspect", "r", "--definition", "--at", "1").out == BEFORE


def test_a_run_of_a_python_function_has_no_definition(folder: Path, flujoctl: Flujoctl) -> None:
    """Which is said."""
    (folder / "flow.py").write_text(
        "from flujo.kernel import workflow\n\n@workflow()\nasync def flow(ctx) -> int:\n    return 1\n"
    )
    flujoctl("run", "flow.py:flow", "--id", "r", "-q")

    ended = flujoctl("inspect", "r", "--definition")

    assert ended.code == 3
    assert "its workflow is a Python function" in ended.err


def test_a_definition_is_shown_alone(resumed: Flujoctl) -> None:
    """Together with a step it makes no sense."""
    assert resumed("inspect", "r", "--definition", "--step", "a").code == 2


def test_a_server_shows_the_same(resumed: Flujoctl, folder: Path) -> None:
    """A definition byte by byte, a state value by value. What the run went by once it has not, and says so."""
    seq = seq_of(resumed, "run_failed")
    calls = (["--at", seq, "-o", "json"], ["--definition"], ["--definition", "-o", "json"])
    expected = [resumed("inspect", "r", *call).out for call in calls]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    serve = [sys.executable, "-m", "flujoctl", "serve", "-q", "-o", "json"]
    with subprocess.Popen(serve, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["address"]
        try:
            told = [resumed("inspect", "r", *call, "--server", address).out for call in calls]
            past = resumed("inspect", "r", "--definition", "--at", "1", "--server", address)
            compared = resumed("diff", "r", "r", "--server", address)
        finally:
            server.terminate()

    assert json.loads(told[0]) == json.loads(expected[0])
    assert told[1:] == expected[1:]
    assert past.code == 3
    assert "flujoctl inspect r --definition" in past.err
    assert compared.out == "runs r and r do not differ\n"
