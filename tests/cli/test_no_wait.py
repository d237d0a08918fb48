"""--no-wait ends with 7 when nothing can happen before an instant, a signal or a command, and interrupts no body."""

from __future__ import annotations

import json
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
