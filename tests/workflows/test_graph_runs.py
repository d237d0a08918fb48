"""Graphs on the real kernel: what starts when, what a failure stops, and that nothing depends on which step was
faster."""

from __future__ import annotations

from itertools import islice

import pytest

from flujo.kernel.errors import StateIncompatibilityError
from kernel.harness import FailingBackend
from workflows.played import PlayHarness, generations, statuses

# -- order ------------------------------------------------------------------------------------------------------------

DIAMOND = "{name: d, depends_on: [b, c]}, {name: a}, {name: b, depends_on: [a]}, {name: c, depends_on: [a]}, {name: e}"


@pytest.mark.parametrize(
    ("steps", "top", "finish", "waves", "at_once"),
    [
        (DIAMOND, "", "aebcd", ["ae", "bc", "d"], 2),
        (DIAMOND, "", "abce", ["ae", "bc", "d"], 2),
        (DIAMOND, "", "acbe", ["ae", "bc", "d"], 2),
        (DIAMOND, "max_parallel: 1\n", "", [*"abcde"], 1),
        (DIAMOND, "max_parallel: 2\n", "abec", ["ae", "b", "c", "d"], 2),
        ("{name: c, depends_on: [b]}, {name: b, depends_on: [a]}, {name: a}", "", "", [*"abc"], 1),
        ("{name: a}, {name: b}, {name: c, depends_on: []}", "", "cba", ["abc"], 3),
        ("{name: a}, {name: b}", "max_parallel: 5\n", "", [*"ab"], 1),
    ],
    ids=[
        "a diamond",
        "a join waits for the last",
        "whichever that is",
        "one at a time",
        "two at a time",
        "a chain, upside down",
        "without an edge",
        "a sequence",
    ],
)
async def test_a_step_starts_when_all_it_depends_on_have_settled(
    steps: str, top: str, finish: str, waves: list[str], at_once: int
) -> None:
    """Roots at once and the others in waves, within `max_parallel`; those of one wave begin in any order."""
    harness = PlayHarness(finish, together=at_once)

    state = await harness.play(steps, top=top)

    began = iter(harness.began)
    assert state.status == "completed"
    assert ["".join(sorted(islice(began, len(wave)))) for wave in waves] == waves
    assert harness.most_at_work >= at_once
    if "max_parallel" in top:
        assert harness.most_at_work == at_once


async def test_a_chain_in_a_graph_costs_as_little_as_a_sequence() -> None:
    """The outcome of a step and the start of the next one are one commit: S steps take S+2, the first as the run is
    created."""
    chain = "{name: a}, " + ", ".join(
        f"{{name: {b}, depends_on: [{a}]}}" for a, b in zip("abcde", "bcdef", strict=True)
    )
    harness = PlayHarness()
    backend = FailingBackend(harness.store)
    workflow = harness.flow(chain)

    async with harness.kernel(workflow, backend=backend) as kernel:
        await kernel.run(workflow, run_id="r")

    assert len(backend.appends) <= 6 + 2
    assert "".join(harness.began) == "abcdef"


async def test_a_step_sees_only_what_it_depends_on() -> None:
    """Even where a definition cannot tell beforehand what a template will read."""
    harness = PlayHarness("abc")

    await harness.play(
        "{name: a}, {name: b, depends_on: [a], inputs: {x: {}}}, {name: c, inputs: {x: \"{{ steps['a'].status }}\"},"
        " depends_on: [a]}".replace(
            "{x: {}}", '{x: "{% for name in steps %}{{ name }}={{ steps[name].status }} {% endfor %}"}'
        )
    )

    assert harness.given["b"]["x"] == "a=completed b=pending c=pending "
    assert harness.given["c"]["x"] == "completed"


# -- failures ---------------------------------------------------------------------------------------------------------


async def test_a_failure_lets_running_steps_finish_and_no_other_start() -> None:
    """The run then fails with that step; what came to an end besides is recorded."""
    harness = PlayHarness("abc", failing={"a": 1})

    state = await harness.play(
        "{name: a}, {name: b}, {name: c}, {name: after_a, depends_on: [a]}, {name: after_b, depends_on: [b]}"
    )

    assert state.error is not None
    assert (state.status, state.failed_step, state.error.message) == ("failed", "a", "a as told")
    assert statuses(state) == {"a": "failed", "b": "completed", "c": "completed"}


async def test_several_failures_are_told_in_the_order_they_happened() -> None:
    """The first one is the run's, and a resume tries all of them afresh."""
    harness = PlayHarness("bac", failing={"a": 1, "b": 1})

    state = await harness.play("{name: a}, {name: b}, {name: c}, {name: d, depends_on: [a, b, c]}")

    assert state.failed_step == "b"
    assert list(state.failed_steps) == ["b", "a"]

    harness.began.clear()
    state = await harness.resume()
    assert state.status == "completed"
    assert "".join(sorted(harness.began)) == "abd"


async def test_after_continue_the_dependents_run() -> None:
    """They see that it failed, and that it has no result."""
    harness = PlayHarness(failing={"a": 1})

    state = await harness.play(
        "{name: a, on_error: continue}, {name: b, depends_on: [a], inputs: {value: '{{ steps.a.status }} "
        "{{ steps.a.result is defined }} {{ steps.a.error.message }} {{ error.step }}'}}",
        top="outputs: {b: '{{ steps.b.result }}', error: '{{ error.type }}'}\n",
    )

    assert state.output == {"b": "failed false a as told a", "error": "ValueError"}


async def test_a_skipped_step_has_settled() -> None:
    """What depends on it runs, and sees its status."""
    harness = PlayHarness()

    state = await harness.play(
        "{name: a, condition: false}, {name: b, depends_on: [a], condition: 'steps.a is defined'}, "
        "{name: c, depends_on: [b], inputs: {value: '{{ steps.b.status }}'}}"
    )

    assert statuses(state) == {"a": "skipped", "b": "skipped", "c": "completed"}
    assert harness.given["c"] == {"value": "skipped"}


async def test_retries_of_on_error_are_further_attempts() -> None:
    """N of them, with a delay; then the run fails with the message it was given."""
    harness = PlayHarness(failing={"a": 5})

    state = await harness.play(
        "{name: a, on_error: {action: retry, retry: 2, delay: 3, message: 'no luck: {{ error.message }}'}}"
    )

    assert harness.began == ["a", "a", "a"]
    assert state.error is not None
    assert (state.error.type, state.error.message, state.failed_step) == ("ValueError", "no luck: a as told", "a")
    assert state.steps["a"].error is not None
    assert state.steps["a"].error.message == "a as told"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("{{ error }}", '{"step": "a", "type": "ValueError", "message": "a as told"}'),
        (
            "{{ error.nothing }}",
            "a as told (its `message` could not be rendered: line 2, column 55: {{ error.nothing }}: ",
        ),
        ("{{ 'x' * 3000 }}", "x" * 2000 + "…"),
        ("plain", "plain"),
    ],
)
async def test_a_message_never_hides_the_failure(message: str, told: str) -> None:
    """Whatever it gives becomes text of bounded length; one that cannot be rendered says so beside the failure."""
    harness = PlayHarness(failing={"a": 1})

    state = await harness.play(f'{{name: a, on_error: {{message: "{message}"}}}}')

    assert state.error is not None
    assert state.error.message.startswith(told)
    assert state.failed_step == "a"


# -- handlers ---------------------------------------------------------------------------------------------------------

HANDLED = (
    "{name: a, on_error: {next: fix}}, {name: b, depends_on: [a]}, {name: c, depends_on: [b]}, {name: other},"
    " {name: fix, inputs: {value: '{{ error.step }}: {{ error.message }}'}},"
    " {name: join, depends_on: [c, fix, other]}"
)


async def test_a_handler_runs_when_its_failure_happens() -> None:
    """The dependents of the failed step are skipped and say why; those that wait for the handler too are not."""
    harness = PlayHarness(failing={"a": 1})

    state = await harness.play(HANDLED)

    assert state.status == "completed"
    assert statuses(state) == {
        "a": "failed", "other": "completed", "b": "skipped", "c": "skipped", "fix": "completed", "join": "completed",
    }  # fmt: skip
    assert harness.given["fix"] == {"value": "a: a as told"}
    reasons = [fact.fact.reason for fact in harness.journal("r") if fact.type == "step_skipped"]  # type: ignore[union-attr]
    assert reasons == ["step 'a' has failed, and 'fix' handles it"] * 2


async def test_a_handler_without_its_failure_is_skipped() -> None:
    """And what depends on it runs."""
    harness = PlayHarness()

    state = await harness.play(HANDLED)

    assert {name for name, status in statuses(state).items() if status == "skipped"} == {"fix"}
    assert state.steps["join"].status == "completed"


@pytest.mark.parametrize("finish", ["ab", "ba"])
async def test_a_handler_of_two_failures_is_told_of_the_first_in_the_file(finish: str) -> None:
    """It runs once, whichever failed first."""
    harness = PlayHarness(finish, failing={"a": 1, "b": 1})

    await harness.play(
        "{name: a, on_error: {next: fix}}, {name: b, on_error: {next: fix}},"
        " {name: fix, depends_on: [], inputs: {x: '{{ error.step }}'}}"
    )

    assert sorted(harness.began) == ["a", "b", "fix"]
    assert harness.given["fix"] == {"x": "a"}


async def test_the_failure_of_a_handler_is_a_failure() -> None:
    """Nothing handles it, so the run fails with it."""
    harness = PlayHarness(failing={"a": 1, "fix": 1})

    state = await harness.play(HANDLED)

    assert (state.status, state.failed_step) == ("failed", "fix")
    assert "join" not in state.steps


# -- after a crash ----------------------------------------------------------------------------------------------------


async def test_after_a_crash_only_what_had_no_outcome_runs() -> None:
    """Outcomes come back, interrupted steps begin again, and the rest follows."""
    harness = PlayHarness()
    harness.held = {"c"}
    await harness.play_until(DIAMOND, "step_completed", "b")

    state = await harness.recover()

    assert state.status == "completed"
    assert "".join(sorted(harness.began)) in ("cd", "cde")
    assert {step.generation for step in state.steps.values()} == {1}


async def test_after_a_crash_a_failure_still_keeps_new_steps_from_starting() -> None:
    """Also the ones whose turn would come before that failure is handed out again."""
    harness = PlayHarness("abx", failing={"b": 1})
    harness.held = {"slow"}
    steps = "{name: a}, {name: b}, {name: slow}, {name: x, depends_on: [a]}, {name: y, depends_on: [x]}"
    await harness.play_until(steps, "step_failed", "b")
    begun = set(harness.journal_state().steps)

    state = await harness.recover()

    assert (state.status, state.failed_step) == ("failed", "b")
    assert set(state.steps) == begun
    assert "y" not in state.steps
    assert state.steps["slow"].status == "completed"


async def test_after_a_crash_a_step_that_waited_for_room_does_not_slip_in() -> None:
    """There is room for it now that the failed step only hands out its outcome, and yet it must not begin."""
    harness = PlayHarness("ab", failing={"a": 1}, together=2)
    harness.held = {"b"}
    await harness.play_until(
        "{name: a}, {name: b}, {name: c, depends_on: []}", "step_failed", "a", top="max_parallel: 2\n"
    )

    state = await harness.recover()

    assert statuses(state) == {"a": "failed", "b": "completed"}


async def test_a_replay_tells_several_failures_in_the_same_order() -> None:
    """Not in the order of the file or of the tasks."""
    harness = PlayHarness("ba", failing={"a": 1, "b": 1})
    harness.held = {"slow"}
    await harness.play_until("{name: a}, {name: b}, {name: slow}, {name: x, depends_on: [a]}", "step_failed", "a")

    state = await harness.recover()

    assert (state.failed_step, list(state.failed_steps)) == ("b", ["b", "a"])
    assert harness.began == ["slow"]


async def test_a_handled_failure_is_handled_again_after_a_crash() -> None:
    """The same steps are skipped and the same handler goes on."""
    harness = PlayHarness(failing={"a": 1})
    harness.held = {"fix"}
    await harness.play_until(HANDLED, "step_started", "fix")

    state = await harness.recover()

    assert state.status == "completed"
    assert harness.given["fix"] == {"value": "a: a as told"}
    assert "b" not in harness.began
    assert statuses(state)["c"] == "skipped"


async def test_a_lower_limit_after_a_crash_holds_for_what_is_left() -> None:
    """Recorded outcomes do not wait for room."""
    harness = PlayHarness()
    harness.held = {"b", "c"}
    steps = "{name: b}, {name: a}, {name: c}, {name: d, depends_on: [a]}"
    await harness.play_until(steps, "step_completed", "a")
    harness.most_at_work = 0

    async with harness.kernel(load_definition=harness.load, recover=False) as kernel:
        await kernel.resume("r", workflow=harness.flow(steps, top="max_parallel: 1\n"))
        state = await kernel.wait("r")

    assert state.status == "completed"
    assert harness.most_at_work == 1


# -- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_step", "again"),
    [("a", "abcd"), ("b", "bd"), ("c", "cd"), ("d", "d"), ("e", "e")],
)
async def test_from_a_step_only_what_depends_on_it_runs_again(from_step: str, again: str) -> None:
    """Whatever else finished before or after it keeps its output."""
    harness = PlayHarness("eacbd")
    await harness.play(DIAMOND)
    harness.began.clear()

    state = await harness.resume(from_step)

    assert sorted(harness.began) == list(again)
    assert generations(state) == {name: 2 if name in again else 1 for name in "abcde"}


@pytest.mark.parametrize(
    ("from_step", "again"),
    [
        ("a", ["a", "b", "c", "join"]),
        ("b", ["join"]),
        ("fix", ["fix", "join"]),
    ],
)
async def test_from_a_step_beside_a_handler(from_step: str, again: list[str]) -> None:
    """The step whose failure it handled leads the other way this time; what was skipped because of it is judged anew,
    and a handled failure that does not run again stays one."""
    harness = PlayHarness(failing={"a": 1})
    await harness.play(HANDLED)
    harness.began.clear()

    state = await harness.resume(from_step)

    assert sorted(harness.began) == again
    assert state.status == "completed"
    assert state.steps["fix"].status == ("skipped" if from_step == "a" else "completed")
    assert state.steps["b"].status == ("completed" if from_step == "a" else "skipped")


async def test_a_plain_resume_keeps_handled_failures() -> None:
    """Only the failure that ended the run is tried afresh."""
    harness = PlayHarness(failing={"a": 1, "join": 1})
    await harness.play(HANDLED)
    harness.began.clear()

    state = await harness.resume()

    assert harness.began == ["join"]
    assert statuses(state)["a"] == "failed"
    assert generations(state) == {"a": 1, "other": 1, "b": 1, "c": 1, "fix": 1, "join": 2}


async def test_a_graph_may_change_where_nothing_has_completed() -> None:
    """Order, limits, and steps that no completed one depends on; the rest is refused by name."""
    harness = PlayHarness(failing={"c": 1})
    await harness.play(DIAMOND)

    with pytest.raises(StateIncompatibilityError) as refused:
        await harness.resume(steps=DIAMOND.replace("{name: b, depends_on: [a]}", "{name: b, depends_on: [a, e]}"))
    assert [str(each) for each in refused.value.differences] == ["b: its dependencies have changed since it completed"]

    state = await harness.resume(
        steps="{name: e}, {name: a}, {name: x}, {name: c, depends_on: [a, x]}, {name: b, depends_on: [a]},"
        " {name: d, depends_on: [b, c, x]}",
        top="max_parallel: 1\n",
    )
    assert state.status == "completed"
    assert generations(state) == {"a": 1, "b": 1, "c": 2, "d": 1, "e": 1, "x": 1}
