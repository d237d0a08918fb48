"""What somebody does about a run that does not go on: look why, pause, skip, set, retry, fork, wait."""

from __future__ import annotations

import json
import signal

import pytest

from acceptance.terminal import Place, finish, lines_until, statuses

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


def test_a_failed_step_is_explained_skipped_and_passed(place: Place) -> None:
    """explain names the failure and prints commands; skip with a result lets the run go on behind the step."""
    place.write("failing.yaml", FAILING)
    place.flujoctl("run", "failing.yaml", "--id", "f")

    explained = place.flujoctl("explain", "f")
    assert "it has failed: step 'two' failed: TaskFailed: broken" in explained.out
    assert explained.remedies == ["flujoctl resume f", "flujoctl skip f two", "flujoctl inspect f"]

    skipped = place.flujoctl("skip", "f", "two", "--result", '"mended"', "--reason", "known to be broken")
    resumed = place.shell(skipped.remedies[0])
    state = place.inspect("f")
    assert resumed.code == 0, resumed
    assert statuses(state) == ["completed", "skipped", "completed"]
    assert state["output"] == {"x": "mended"}
    recorded = json.loads(place.flujoctl("events", "f", "-o", "json").out)
    assert [event["reason"] for event in recorded if event["type"] == "step_skipped"] == ["known to be broken"]


def test_a_result_is_set_by_hand(place: Place) -> None:
    """A step that cannot succeed gets its result from a person; a step that has completed keeps its own."""
    place.write("failing.yaml", FAILING)
    place.flujoctl("run", "failing.yaml", "--id", "f")

    refused = place.flujoctl("set", "f", "--result", 'one="other"')
    done = place.flujoctl("set", "f", "--result", 'two={"rows": 3}')

    assert refused.code == 4
    assert "has completed, and its output does not change" in refused.err
    assert place.shell(done.remedies[0]).code == 0
    assert place.inspect("f")["output"] == {"x": {"rows": 3}}


def test_a_fork_begins_with_what_was_recorded(place: Place) -> None:
    """The new run repeats nothing before the step it is forked from, and the old one stays as it is."""
    place.write("failing.yaml", FAILING.replace("task: fail", "task: echo"))
    place.flujoctl("run", "failing.yaml", "--id", "old")

    forked = place.flujoctl("fork", "old", "--from-step", "three", "--id", "new")

    state = place.inspect("new")
    assert forked.code == 0, forked
    assert (state["forked_from"], state["output"]) == ("old", {"x": "broken"})
    assert "one: started" not in forked.err.replace("run of failing created", "").split("three: started")[1]
    assert place.inspect("old")["status"] == "completed"


def test_a_run_is_paused_from_another_terminal_and_goes_on(place: Place) -> None:
    """The process that runs it ends with 7; unpause goes on where it was, and the signal was not lost."""
    place.write("gated.yaml", GATED)
    run = place.start("run", "gated.yaml", "--id", "g")
    lines_until(run, "waiting for the signal")

    told = place.flujoctl("pause", "g", "--reason", "lunch")
    paused = finish(run)
    again = place.flujoctl("pause", "g")
    explained = place.flujoctl("explain", "g")
    place.flujoctl("signal", "g", "approve")
    unpaused = place.shell(told.remedies[0])

    assert told.code == 0, told
    assert paused.code == 7
    assert again.out == "run g is paused\n"
    assert explained.remedies == ["flujoctl resume g"]
    assert unpaused.code == 0, unpaused
    assert place.flujoctl("unpause", "g").code == 4


def test_a_variable_is_set_while_nobody_runs_the_run(place: Place) -> None:
    """The program sees it on its next read, and inspect shows it."""
    place.write("counting.py", COUNTING)
    run = place.start("run", "counting.py:counting", "--id", "c")
    lines_until(run, "waiting for the signal")
    run.send_signal(signal.SIGINT)
    finish(run)

    assert place.flujoctl("set", "c", "limit:=7", "note=by hand").code == 0
    place.flujoctl("signal", "c", "go")
    again = place.flujoctl("resume", "c", "--from-step", "get.limit")

    assert again.code == 0, again
    state = place.inspect("c")
    assert state["variables"] == {"seen": 7, "limit": 7, "note": "by hand"}
    assert state["output"] == 7


@pytest.mark.parametrize("timeout", ["0.2s", None])
def test_wait_ends_with_the_runs_or_in_time(place: Place, timeout: str | None) -> None:
    """Exit code 6 when a run has not ended in time, and that of the run otherwise."""
    place.write("gated.yaml", GATED)
    run = place.start("run", "gated.yaml", "--id", "g")
    lines_until(run, "waiting for the signal")

    if timeout is not None:
        waited = place.flujoctl("wait", "g", "--timeout", timeout)
        assert waited.code == 6
        assert waited.remedies[0] == "flujoctl explain g"
    wait = place.start("wait", "g")
    place.flujoctl("signal", "g", "approve")

    assert finish(run).code == finish(wait).code == 0


def test_diff_shows_what_a_resume_would_refuse(place: Place) -> None:
    """Before anything is touched: 0 when the edited file fits, 4 with every difference when it does not."""
    file = place.write("failing.yaml", FAILING)
    place.flujoctl("run", "failing.yaml", "--id", "f")
    file.write_text(FAILING.replace("broken", "whole"), encoding="utf-8")

    fits = place.flujoctl("diff", "f")
    file.write_text(FAILING.replace("message: hi", "message: ho"), encoding="utf-8")
    differs = place.flujoctl("diff", "f")

    assert fits.code == 0, fits
    assert differs.code == 4
    assert "one: its task, inputs or condition have changed" in differs.err


def test_a_step_is_run_again_alone(place: Place) -> None:
    """retry --step gives that step a new generation and no later one."""
    place.write("failing.yaml", FAILING.replace("{name: one", "{name: zero, task: noop}\n  - {name: one"))
    place.flujoctl("run", "failing.yaml", "--id", "f")

    retried = place.flujoctl("retry", "f", "--step", "zero")

    assert retried.code == 1
    assert [step["generation"] for step in place.inspect("f")["steps"]] == [2, 1, 2]
