"""What somebody does about a run that does not go on: look why, pause, skip, set, retry, fork, wait."""

from __future__ import annotations

import json
import signal

import pytest

from acceptance.terminal import Terminal, finish, lines_until, statuses

FAILING = """\
name: failing
steps:
  - {name: one, task: echo, inputs: {message: hi}}
  - {name: two, task: fail, inputs: {message: broken}}
  - {name: three, task: python_code, inputs: {code: "result = steps['two']['result']"}}
outputs: {x: "{{ steps.three.result }}"}
"""

GATED = """\
name: gated
steps:
  - {name: before, task: noop}
  - {name: approve, task: wait_signal}
  - {name: after, task: noop}
"""

COUNTING = """\
from flujo.kernel import Context, step, workflow


@step
async def count(upto: int) -> int:
    return upto


@workflow()
async def child(ctx: Context, upto: int) -> int:
    return await ctx.step(count, upto)


@workflow()
async def counting(ctx: Context, upto: int = 3) -> int:
    limit = await ctx.variable("limit", upto)
    await ctx.set_variable("seen", limit)
    await ctx.wait_signal("go")
    return await ctx.step(count, limit)
"""


def test_a_failed_step_is_explained_skipped_and_passed(terminal: Terminal) -> None:
    """explain names the failure and prints commands; skip with a result lets the run go on behind the step."""
    terminal.write("failing.yaml", FAILING)
    terminal.flujoctl("run", "failing.yaml", "--id", "f")

    explained = terminal.flujoctl("explain", "f")
    assert "it has failed: step 'two' failed: TaskFailed: broken" in explained.out
    assert explained.remedies == ["flujoctl resume f", "flujoctl skip f two", "flujoctl inspect f"]

    skipped = terminal.flujoctl("skip", "f", "two", "--result", '"mended"', "--reason", "known to be broken")
    resumed = terminal.shell(skipped.remedies[0])
    state = terminal.inspect("f")
    assert resumed.code == 0, resumed
    assert statuses(state) == ["completed", "skipped", "completed"]
    assert state["output"] == {"x": "mended"}
    recorded = json.loads(terminal.flujoctl("events", "f", "-o", "json").out)
    assert [event["reason"] for event in recorded if event["type"] == "step_skipped"] == ["known to be broken"]


def test_a_result_is_set_by_hand(terminal: Terminal) -> None:
    """A step that cannot succeed gets its result from a person; a step that has completed keeps its own."""
    terminal.write("failing.yaml", FAILING)
    terminal.flujoctl("run", "failing.yaml", "--id", "f")

    refused = terminal.flujoctl("set", "f", "--result", 'one="other"')
    done = terminal.flujoctl("set", "f", "--result", 'two={"rows": 3}')

    assert refused.code == 4
    assert "has completed, and its output does not change" in refused.err
    assert terminal.shell(done.remedies[0]).code == 0
    assert terminal.inspect("f")["output"] == {"x": {"rows": 3}}


def test_a_fork_begins_with_what_was_recorded(terminal: Terminal) -> None:
    """The new run repeats nothing before the step it is forked from, and the old one stays as it is."""
    terminal.write("failing.yaml", FAILING.replace("task: fail", "task: echo"))
    terminal.flujoctl("run", "failing.yaml", "--id", "old")

    forked = terminal.flujoctl("fork", "old", "--from-step", "three", "--id", "new")

    state = terminal.inspect("new")
    assert forked.code == 0, forked
    assert (state["forked_from"], state["output"]) == ("old", {"x": "broken"})
    assert "one: started" not in forked.err.replace("run of failing created", "").split("three: started")[1]
    assert terminal.inspect("old")["status"] == "completed"


def test_a_run_is_paused_from_another_terminal_and_goes_on(terminal: Terminal) -> None:
    """The process that runs it ends with 7; unpause goes on where it was, and the signal was not lost."""
    terminal.write("gated.yaml", GATED)
    run = terminal.start("run", "gated.yaml", "--id", "g")
    lines_until(run, "waiting for the signal")

    told = terminal.flujoctl("pause", "g", "--reason", "lunch")
    paused = finish(run)
    again = terminal.flujoctl("pause", "g")
    explained = terminal.flujoctl("explain", "g")
    terminal.flujoctl("signal", "g", "approve")
    unpaused = terminal.shell(told.remedies[0])

    assert told.code == 0, told
    assert paused.code == 7
    assert again.out == "run g is paused\n"
    assert explained.remedies == ["flujoctl resume g"]
    assert unpaused.code == 0, unpaused
    assert terminal.flujoctl("unpause", "g").code == 4


def test_a_variable_is_set_while_nobody_runs_the_run(terminal: Terminal) -> None:
    """The program sees it on its next read, and inspect shows it."""
    terminal.write("counting.py", COUNTING)
    run = terminal.start("run", "counting.py:counting", "--id", "c")
    lines_until(run, "waiting for the signal")
    run.send_signal(signal.SIGINT)
    finish(run)

    assert terminal.flujoctl("set", "c", "limit:=7", "note=by hand").code == 0
    terminal.flujoctl("signal", "c", "go")
    again = terminal.flujoctl("resume", "c", "--from-step", "get.limit")

    assert again.code == 0, again
    state = terminal.inspect("c")
    assert state["variables"] == {"seen": 7, "limit": 7, "note": "by hand"}
    assert state["output"] == 7


@pytest.mark.parametrize("timeout", ["0.2s", None])
def test_wait_ends_with_the_runs_or_in_time(terminal: Terminal, timeout: str | None) -> None:
    """Exit code 6 when a run has not ended in time, and that of the run otherwise."""
    terminal.write("gated.yaml", GATED)
    run = terminal.start("run", "gated.yaml", "--id", "g")
    lines_until(run, "waiting for the signal")

    if timeout is not None:
        waited = terminal.flujoctl("wait", "g", "--timeout", timeout)
        assert waited.code == 6
        assert waited.remedies[0] == "flujoctl explain g"
    wait = terminal.start("wait", "g")
    terminal.flujoctl("signal", "g", "approve")

    assert finish(run).code == finish(wait).code == 0


def test_diff_shows_what_a_resume_would_refuse(terminal: Terminal) -> None:
    """Before anything is touched: 0 when the edited file fits, 4 with every difference when it does not."""
    file = terminal.write("failing.yaml", FAILING)
    terminal.flujoctl("run", "failing.yaml", "--id", "f")
    file.write_text(FAILING.replace("broken", "whole"), encoding="utf-8")

    fits = terminal.flujoctl("diff", "f")
    file.write_text(FAILING.replace("message: hi", "message: ho"), encoding="utf-8")
    differs = terminal.flujoctl("diff", "f")

    assert fits.code == 0, fits
    assert differs.code == 4
    assert "one: its task, inputs or condition have changed" in differs.err


def test_a_step_is_run_again_alone(terminal: Terminal) -> None:
    """retry --step gives that step a new generation and no later one."""
    terminal.write("failing.yaml", FAILING.replace("{name: one", "{name: zero, task: noop}\n  - {name: one"))
    terminal.flujoctl("run", "failing.yaml", "--id", "f")

    retried = terminal.flujoctl("retry", "f", "--step", "zero")

    assert retried.code == 1
    assert [step["generation"] for step in terminal.inspect("f")["steps"]] == [2, 1, 2]
