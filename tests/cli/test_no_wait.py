"""--no-wait ends with 7 when nothing can happen before an instant, a signal or a command, and interrupts no body."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Ended, Flujoctl

FAMILY = """
import anyio
from flujo.kernel import step, workflow

@step
async def work():
    for _ in range(2000):
        await anyio.lowlevel.checkpoint()

@workflow(name="inner")
async def inner(ctx):
    await ctx.step(work)
    await ctx.wait_signal("go")
    await ctx.step(work)

@workflow(name="outer")
async def outer(ctx):
    await ctx.run_child(inner)

@workflow(name="twice")
async def twice(ctx):
    await ctx.wait_signal("first")
    await ctx.step(work)
    await ctx.wait_signal("second")
"""

BACKOFF = """
name: backoff
steps:
  - {name: broken, task: shell, inputs: {command: "false"}, retry: {max_attempts: 3, delay: 120}}
"""


def kinds(flujoctl: Flujoctl, run_id: str) -> list[str]:
    """The events of a run."""
    return [json.loads(line)["type"] for line in flujoctl("events", run_id, "-o", "jsonl").out.splitlines()]


@pytest.fixture
def family(folder: Path, flujoctl: Flujoctl) -> Ended:
    """How a run `r` ended whose child has work to do and then waits for a signal."""
    (folder / "family_of_tests.py").write_text(FAMILY, encoding="utf-8")
    return flujoctl("run", "family_of_tests.py:outer", "--id", "r", "--no-wait")


def test_a_parent_waits_until_its_child_rests(family: Ended, flujoctl: Flujoctl) -> None:
    """The step of the child is done, once and whole, before the command ends."""
    assert family.code == 7
    assert kinds(flujoctl, "r.inner") == ["run_created", "step_started", "step_completed", "step_waiting"]
    assert "run r waits; no process runs it now" in family.err


@pytest.mark.usefixtures("family")
def test_a_stored_signal_is_taken_before_the_command_ends(flujoctl: Flujoctl) -> None:
    """And the user is invited to send the next one only."""
    invited = flujoctl("run", "family_of_tests.py:twice", "--id", "t", "--no-wait")
    assert flujoctl("signal", "t", "first").code == 0

    resumed = flujoctl("resume", "t", "--no-wait")

    assert (invited.code, resumed.code) == (7, 7)
    assert "try: flujoctl signal t first" in invited.err.splitlines()
    assert kinds(flujoctl, "t")[-3:] == ["step_started", "step_completed", "step_waiting"]
    assert [line for line in resumed.err.splitlines() if line.startswith("try: ")] == [
        "try: flujoctl signal t second",
        "try: flujoctl resume t",
    ]


def test_a_backoff_of_minutes_ends_it(folder: Path, flujoctl: Flujoctl) -> None:
    """In each command that has the option."""
    (folder / "backoff.yaml").write_text(BACKOFF, encoding="utf-8")

    ended = flujoctl("run", "backoff.yaml", "--id", "b", "--no-wait")

    assert ended.code == 7
    assert ended.err.splitlines()[-1] == "try: flujoctl resume b"
    assert flujoctl("resume", "b", "--no-wait").code == 7
    assert flujoctl("watch", "b", "--no-wait").code == 7


@pytest.mark.usefixtures("family")
def test_a_watch_of_a_run_that_no_process_runs_ends(flujoctl: Flujoctl) -> None:
    """As `wait` does: nothing will happen before somebody resumes it."""
    watched = flujoctl("watch", "r", "--no-wait")

    assert watched.code == 7
    assert watched.err == "no process runs run r\ntry: flujoctl resume r\n"
    assert flujoctl("wait", "r").code == 7


def test_explain_names_the_signal_also_where_nobody_runs_the_run(folder: Path, flujoctl: Flujoctl) -> None:
    """Whoever looks at it need not resume it first to see what it waits for."""
    (folder / "gate.yaml").write_text("name: gate\nsteps: [{name: ask, task: wait_signal, inputs: {signal: go}}]\n")
    flujoctl("run", "gate.yaml", "--id", "r", "--no-wait", "-q")

    told = flujoctl("explain", "r")

    assert [line.strip() for line in told.out.splitlines()[1:3]] == [
        "no process runs it",
        "step 'ask' waits for the signal 'go'",
    ]
    assert told.err.splitlines() == ["try: flujoctl signal r go", "try: flujoctl resume r"]


WAITS = {
    "a signal": "{name: a, task: wait_signal, inputs: {signal: go}}",
    "a sleep": "{name: a, task: sleep, inputs: {seconds: 600}}",
    "a backoff": "{name: a, task: shell, inputs: {command: 'false'}, retry: {max_attempts: 9, delay: 10m}}",
    "rounds": (
        "{name: a, task: shell, inputs: {command: 'true'}, repeat: {until: result.return_code == 1, interval: 10m}}"
    ),
    "items in backoff": (
        "{name: a, for_each: [1, 2, 3], task: shell, inputs: {command: 'test {{ item }} = 2'},"
        " retry: {max_attempts: 9, delay: 10m}}"
    ),
    "a child": "{name: a, task: workflow, inputs: {file: child.yaml}}",
    "children of a loop": "{name: a, for_each: [1, 2], task: workflow, inputs: {file: child.yaml}}",
    "a clean-up in backoff": (
        "{name: f, task: fail}\n  - {name: a, always_run: true, task: shell, inputs: {command: 'false'},"
        " retry: {max_attempts: 9, delay: 10m}}"
    ),
    "two branches of a graph": (
        "{name: a, depends_on: [], task: shell, inputs: {command: 'false'}, retry: {max_attempts: 9, delay: 10m}}\n"
        "  - {name: b, depends_on: [], task: wait_signal}"
    ),
}


@pytest.mark.parametrize("steps", WAITS.values(), ids=WAITS)
def test_whatever_is_waited_for_ends_every_command(steps: str, folder: Path, flujoctl: Flujoctl) -> None:
    """Whichever brings the run there: a start, a resume, a retry, a fork, or nobody while it is watched."""
    (folder / "flow.yaml").write_text(f"name: flow\nsteps:\n  - {steps}\n")
    (folder / "child.yaml").write_text("name: child\nsteps: [{name: nap, task: sleep, inputs: {seconds: 600}}]\n")

    codes = {"run": flujoctl("run", "flow.yaml", "--id", "r", "--no-wait", "-q").code}
    for command in ("resume", "watch", "retry", "fork"):
        codes[command] = flujoctl(command, "r", "--no-wait", "-q").code

    assert codes == dict.fromkeys(("run", "resume", "watch", "retry", "fork"), 7)


def test_a_run_that_waits_for_its_turn_ends_it(folder: Path, flujoctl: Flujoctl) -> None:
    """Behind an earlier run of its workflow, whoever runs that."""
    (folder / "line.yaml").write_text(
        "name: line\nsettings: {on_overlap: queue}\nsteps: [{name: ask, task: wait_signal}]\n"
    )
    assert flujoctl("run", "line.yaml", "--id", "first", "--no-wait", "-q").code == 7

    assert flujoctl("run", "line.yaml", "--id", "second", "--no-wait", "-q").code == 7
    assert flujoctl("resume", "second", "--no-wait", "-q").code == 7
    assert "step_waiting" not in kinds(flujoctl, "second")


def test_a_slot_of_a_server_ends_it(folder: Path, flujoctl: Flujoctl) -> None:
    """At the first step of a run and at a later one, and for a run that there is no room for yet."""
    (folder / "busy.yaml").write_text(
        "name: busy\nsteps: [{name: hold, task: shell, inputs: {command: 'sleep 600'}}]\n"
    )
    (folder / "first.yaml").write_text("name: first\nsteps: [{name: a, task: shell, inputs: {command: 'true'}}]\n")
    (folder / "later.yaml").write_text(
        "name: later\nsteps:\n  - {name: a, task: noop}\n  - {name: b, task: shell, inputs: {command: 'true'}}\n"
    )
    command = [sys.executable, "-m", "flujoctl"]
    limits = ["--limit", "task:shell=1", "--max-runs", "3"]
    with process(folder, *command, "serve", "-q", "-o", "json", *limits) as lines:
        there = ("--server", json.loads(next(lines))["address"])
        assert flujoctl("run", "busy.yaml", "--id", "busy", "--detach", *there).code == 0
        with process(folder, *command, "watch", "busy", "-o", "jsonl", *there) as events:
            assert any(json.loads(line)["type"] == "step_started" for line in events)

        codes = [flujoctl("run", "later.yaml", "--id", "l", "--no-wait", "-q", *there).code]
        codes += [flujoctl("run", "first.yaml", "--id", run, "--no-wait", "-q", *there).code for run in ("f", "z")]
        codes += [flujoctl("watch", run, "--no-wait", "-q", *there).code for run in ("l", "f", "z")]
        codes += [flujoctl("fork", "l", "--no-wait", "-q", *there).code]

    assert codes == [7] * 7


@contextmanager
def process(folder: Path, *command: str) -> Iterator[Iterator[str]]:
    """What a process prints, line by line, which is ended afterwards."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield iter(running.stdout)
        finally:
            running.terminate()
