"""`flujoctl watch` without an id: what happens to all runs, whichever process runs them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import Flujoctl

HELLO = "name: hello\nsteps: [{name: a, task: noop}]\n"


@pytest.fixture
def two_runs(folder: Path, flujoctl: Flujoctl) -> Path:
    """A folder with two runs that have ended."""
    (folder / "hello.yaml").write_text(HELLO)
    (folder / "other.yaml").write_text(HELLO.replace("hello", "other"))
    assert flujoctl("run", "hello.yaml", "--id", "one", "--label", "team=a").code == 0
    assert flujoctl("run", "other.yaml", "--id", "two").code == 0
    return folder


def watched(arguments: list[str], lines: int) -> tuple[list[str], str, int]:
    """What a watch prints first, and then on stderr and as its code when it is interrupted."""
    command = [sys.executable, "-m", "flujoctl", "watch", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = [process.stdout.readline().rstrip("\n") for _ in range(lines)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    return found, err, process.returncode


def test_every_event_of_every_run_is_shown_with_its_run(two_runs: Path) -> None:
    """In the order in which they came; interrupted it says how to go on."""
    lines, err, code = watched(["--after", "0"], 8)

    assert [line.split(maxsplit=2)[1] for line in lines] == ["one"] * 4 + ["two"] * 4
    assert lines[3].endswith("run completed")
    assert "no run is affected" in err
    assert re.search(r"try: flujoctl watch --after [0-9a-f]{32}\.8 ", err)
    assert code == 130


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--workflow", "other"], {"two"}),
        (["--label", "team=a"], {"one"}),
        (["--id-prefix", "tw"], {"two"}),
        (["--type", "run_completed"], {"one", "two"}),
    ],
)
def test_runs_and_events_are_chosen_by_options(options: list[str], ids: set[str], two_runs: Path) -> None:
    """Each event is an object for scripts, with where to go on."""
    lines, _, _ = watched(["--after", "0", "-o", "jsonl", *options], 2)
    told = [json.loads(line) for line in lines]

    assert {each["run_id"] for each in told} == ids
    assert all(each["cursor"] and each["workflow"] for each in told)


def test_a_watch_goes_on_behind_a_cursor(two_runs: Path) -> None:
    """The line of an event in the midst of a run means the same as if all before it had been shown."""
    whole, _, _ = watched(["--after", "0"], 8)
    told, _, _ = watched(["--after", "0", "-o", "jsonl"], 8)
    rest, _, _ = watched(["--after", json.loads(told[5])["cursor"]], 2)

    assert rest == whole[6:]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--after", "nonsense"], "cursor"),
        (["--after", "another.6"], "try: flujoctl watch --after 0"),
        (["--type", "step_teleported"], "step_started"),
        (["--no-wait"], "--no-wait is for the watch of one run"),
        (["one", "--workflow", "hello"], "--workflow chooses among all runs"),
        (["one", "--after", "nonsense"], "the number of an event"),
        (["--parent", "nobody"], "nobody"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], told: str, two_runs: Path, flujoctl: Flujoctl) -> None:
    """Before anything is waited for."""
    ended = flujoctl("watch", *arguments)

    assert ended.code in (2, 3, 4)
    assert told in ended.err
