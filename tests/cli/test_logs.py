"""flujoctl logs: what steps have printed, chosen, cut, followed, and safe on a terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.conftest import Flujoctl

TALKING = """\
name: talking
steps:
  - name: first
    task: shell
    retry: {max_attempts: 2, delay: 10ms}
    inputs:
      command: |
        echo one
        [ -e tried ] || { touch tried; echo broken >&2; exit 1; }
  - {name: second, task: shell, inputs: {command: "printf 'two\\nthree\\n'"}}
"""

PROGRAM = """\
from flujo.kernel import Context, workflow

@workflow
async def silent(ctx: Context) -> int:
    return 1
"""

LINES = ["first.1| one", "first.1| broken", "first.2| one", "second.1| two", "second.1| three"]


@pytest.fixture
def talked(folder: Path, flujoctl: Flujoctl) -> Path:
    """A run that has printed something in two attempts of one step and in another step; returns its log."""
    (folder / "talking.yaml").write_text(TALKING)
    assert flujoctl("run", "talking.yaml", "--id", "talk").code == 0
    return folder / ".flujo" / "workspaces" / "talk.log"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), LINES),
        (("--step", "second"), LINES[3:]),
        (("--attempt", "2"), LINES[2:3]),
        (("--step", "first", "--attempt", "1"), LINES[:2]),
        (("--tail", "2"), LINES[3:]),
        (("--tail", "0"), []),
        (("--step", "first", "--tail", "1", "--no-prefix"), ["one"]),
    ],
)
def test_lines_are_chosen_by_step_attempt_and_number(
    options: tuple[str, ...], expected: list[str], talked: Path, flujoctl: Flujoctl
) -> None:
    """All that are asked for, in the order in which they were printed."""
    ended = flujoctl("logs", "talk", *options, "-q")

    assert (ended.code, ended.out.splitlines(), ended.err) == (0, expected, "")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--since", "1h"), LINES),
        (("--since", "1h", "--tail", "3"), LINES[3:]),
        (("--since", "2020-01-01", "--step", "second"), LINES[3:]),
        (("--until", "1h"), []),
        (("--since", "9999-01-01"), []),
        (("--since", "SECOND"), LINES[3:]),
        (("--until", "SECOND"), LINES[:3]),
    ],
)
def test_lines_are_chosen_by_when_they_were_printed(
    options: tuple[str, ...], expected: list[str], talked: Path, flujoctl: Flujoctl
) -> None:
    """An instant, or an age; a line of which that is not known is left out then."""
    second = json.loads(flujoctl("logs", "talk", "--step", "second", "-o", "json").out)[0]["at"]
    with talked.open("a") as log:
        log.write("second.1| old\n")

    ended = flujoctl("logs", "talk", *(second if each == "SECOND" else each for each in options), "-q")

    assert (ended.code, ended.out.splitlines(), ended.err) == (0, expected, "")


def test_times_are_shown_to_who_asks_for_them(talked: Path, flujoctl: Flujoctl) -> None:
    """As --time says, before the step; a line that an earlier release has written has none."""
    with talked.open("a") as log:
        log.write("second.1| old\nthe log is full\n")
    plain = flujoctl("logs", "talk", "-t", "--tail", "3").out.splitlines()
    (iso, old, full) = flujoctl("logs", "talk", "--timestamps", "--time", "iso", "--tail", "3").out.splitlines()
    bare = flujoctl("logs", "talk", "-t", "--time", "epoch", "--no-prefix", "--tail", "3").out.splitlines()

    assert re.fullmatch(r"\d\d:\d\d:\d\d second\.1\| three", plain[0])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z second\.1\| three", iso)
    assert (old, full) == ("- second.1| old", "the log is full")
    assert re.fullmatch(r"\d{10}(\.\d+)? three", bare[0])


def test_lines_are_objects_for_scripts(talked: Path, flujoctl: Flujoctl) -> None:
    """With the step and the attempt apart."""
    whole = json.loads(flujoctl("logs", "talk", "-o", "json").out)
    one = json.loads(flujoctl("logs", "talk", "--tail", "1", "-o", "jsonl").out)

    assert [f"{line['step']}.{line['attempt']}| {line['text']}" for line in whole] == LINES
    at = datetime.fromisoformat(one.pop("at"))
    assert one == {"step": "second", "attempt": 1, "text": "three"}
    assert abs(datetime.now(UTC) - at) < timedelta(hours=1)


def test_what_a_program_wrote_moves_no_cursor(
    talked: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal: colours, titles and bars that are drawn over. A pipe gets the bytes as they are."""
    talked.write_bytes(b"s.1| \x1b[2Jcleared\ns.1| 10%\r 50%\r100%\r\ns.1| \xff\n")
    piped = flujoctl("logs", "talk").out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = flujoctl("logs", "talk").out

    assert piped == "s.1| \x1b[2Jcleared\ns.1| 10%\r 50%\r100%\r\ns.1| �\n"
    assert shown == "s.1| �[2Jcleared\ns.1| 100%\ns.1| �\n"


def test_a_log_is_followed_until_the_run_has_ended(folder: Path, flujoctl: Flujoctl) -> None:
    """While another process runs it. It goes on only once something that it printed has been shown."""
    (folder / "long.yaml").write_text(
        "name: long\nsteps:\n"
        "  - {name: talk, task: shell, inputs: {working_dir: '{{ start_dir }}', "
        "command: 'echo before; while ! [ -e seen ]; do sleep 0.02; done; echo after'}}\n"
    )
    command = [sys.executable, "-m", "flujoctl"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*command, "run", "long.yaml", "--id", "long"], **quiet) as running:  # type: ignore[call-overload]
        while flujoctl("logs", "long").out != "talk.1| before\n":
            assert running.poll() is None
        follow = [*command, "logs", "long", "--follow"]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            assert following.stdout.readline() == "talk.1| before\n"
            (folder / "seen").touch()
            assert following.stdout.read() == "talk.1| after\n"
        assert following.returncode == 0


def test_a_run_that_has_printed_nothing_has_an_empty_log(folder: Path, flujoctl: Flujoctl) -> None:
    """Which is no error."""
    (folder / "silent.yaml").write_text("name: silent\nsteps:\n  - {name: s, task: shell, inputs: {command: 'true'}}\n")
    assert flujoctl("run", "silent.yaml", "--id", "s").code == 0

    said = "nothing of this has been printed; `flujoctl events s` shows what is recorded\n"
    assert flujoctl("logs", "s") == (0, "", said)
    assert flujoctl("logs", "s", "-q") == (0, "", "")
    assert flujoctl("logs", "s", "-o", "jsonl") == (0, "", "")


def test_what_cannot_be_shown_says_why(talked: Path, folder: Path, flujoctl: Flujoctl) -> None:
    """A Python program keeps no log, a step may not exist, and a pipe in the log's place is not waited for."""
    (folder / "program_of_log_tests.py").write_text(PROGRAM)
    assert flujoctl("run", "program_of_log_tests.py:silent", "--id", "python").code == 0
    python = flujoctl("logs", "python")
    step = flujoctl("logs", "talk", "--step", "third")
    talked.unlink()
    os.mkfifo(talked)
    pipe = flujoctl("logs", "talk")

    assert (python.code, "only runs of YAML workflows keep one" in python.err) == (3, True)
    assert (step.code, "it has begun: first, second" in step.err) == (3, True)
    assert (pipe.code, "this is no ordinary file" in pipe.err) == (3, True)
    assert python.err.splitlines()[1] == "try: flujoctl events python"


def test_what_makes_no_sense_together_is_refused(talked: Path, flujoctl: Flujoctl) -> None:
    """With what to type instead."""
    ended = flujoctl("logs", "talk", "-f", "-o", "json")

    assert (ended.code, "use -o jsonl" in ended.err) == (2, True)


def test_a_failure_names_the_command_that_shows_what_the_step_printed(folder: Path, flujoctl: Flujoctl) -> None:
    """Which works as it is printed."""
    (folder / "bad.yaml").write_text(
        "name: bad\nsteps:\n  - {name: a-test, task: shell, inputs: {command: 'echo 3 is not 4; exit 1'}}\n"
    )
    ended = flujoctl("run", "bad.yaml", "--id", "bad")

    assert ended.err.splitlines()[-3] == "try: flujoctl logs bad --step a-test"
    assert flujoctl("logs", "bad", "--step", "a-test").out == "a-test.1| 3 is not 4\n"


def test_whoever_has_read_enough_of_a_log_is_not_told_that_it_cannot_be_read(flujoctl: Flujoctl, folder: Path) -> None:
    """`flujoctl logs r | head -1` ends quietly."""
    (folder / "flow.yaml").write_text("name: flow\nsteps: [{name: a, task: shell, inputs: {command: 'seq 100000'}}]\n")
    flujoctl("run", "flow.yaml", "--id", "r")

    ended = subprocess.run(
        f"{sys.executable} -m flujoctl logs r | head -1", shell=True, cwd=folder, capture_output=True, text=True
    )

    assert (ended.stdout, ended.stderr) == ("a.1| 1\n", "")


def test_the_traceback_of_code_begins_in_the_code(folder: Path, flujoctl: Flujoctl) -> None:
    """Nobody has to read what has called it."""
    (folder / "bad.yaml").write_text(
        "name: bad\nsteps:\n  - name: count\n    task: python_code\n    inputs:\n      code: |\n"
        "        def half(n):\n            return n / 0\n        result = half(3)\n"
    )
    assert flujoctl("run", "bad.yaml", "--id", "bad").code == 1
    lines = flujoctl("logs", "bad", "--no-prefix").out.splitlines()

    assert [line.split(", in ")[0].strip() for line in lines if line.startswith("  File")] == [
        'File "<count>", line 3',
        'File "<count>", line 2',
    ]
    assert lines[-1] == "ZeroDivisionError: division by zero"
