"""Where a failure in a sequence leads, on the real kernel: ahead, back, and no further than the limit."""

from __future__ import annotations

from flujo.kernel import events
from workflows.played import PlayHarness, generations, statuses

LOOP = (
    "{name: prepare, inputs: {value: '{{ error.message if error else 0 }}'}},"
    " {name: work, on_error: {next: prepare}},"
    " {name: done, inputs: {value: '{{ steps.prepare.result }} {{ steps.work.result }} {{ error is none }}'}}"
)


async def test_a_jump_ahead_leaves_out_what_stands_between() -> None:
    """Those steps are skipped, with the reason; `error` is the failure the run goes on after."""
    harness = PlayHarness(failing={"a": 1})

    state = await harness.play(
        "{name: a, on_error: {next: c}}, {name: b}, {name: c, inputs: {x: '{{ steps.b.status }} {{ error.step }}'}}"
    )

    assert state.status == "completed"
    assert statuses(state) == {"a": "failed", "b": "skipped", "c": "completed"}
    assert harness.given["c"] == {"x": "skipped a"}
    facts = [event.fact for event in harness.journal("r")]
    assert [fact.reason for fact in facts if isinstance(fact, events.StepSkipped)] == [
        "step 'a' has failed and goes on with 'c'"
    ]


async def test_without_its_failure_nothing_jumps() -> None:
    """The steps run in order."""
    harness = PlayHarness()

    await harness.play("{name: a, on_error: {next: c}}, {name: b}, {name: c}")

    assert harness.began == ["a", "b", "c"]


async def test_a_jump_back_repeats_steps_under_new_keys() -> None:
    """Templates see the last repeat; a failure that a later repeat has made good is no `error` any more."""
    harness = PlayHarness(failing={"work": 1, "work#2": 1})

    state = await harness.play(LOOP)

    assert harness.began == ["prepare", "work", "prepare#2", "work#2", "prepare#3", "work#3", "done"]
    assert harness.given["prepare#2"] == {"value": "work as told"}
    assert harness.given["done"] == {"value": "work#2 as told work#3 true"}
    assert state.steps["work#2"].status == "failed"


async def test_a_step_can_jump_to_itself() -> None:
    """Which is a loop like any other."""
    harness = PlayHarness(failing={"a": 1})

    await harness.play("{name: a, on_error: {next: a}}, {name: b}")

    assert harness.began == ["a", "a#2", "b"]


async def test_the_jump_beyond_the_limit_fails_the_run() -> None:
    """It says what failed, where it would have gone, and which setting limits it."""
    harness = PlayHarness(failing={"work": 1, "work#2": 1, "work#3": 1})

    state = await harness.play(LOOP, top="settings: {max_jumps: 2}\n")

    assert state.error is not None
    assert (state.status, state.failed_step, state.error.type) == ("failed", "work#3", "JumpLimitError")
    assert state.error.message == (
        "ValueError: work#3 as told (and the run has jumped back 2 times, so it does not jump to 'prepare' again; "
        "`settings.max_jumps` is the limit)"
    )


async def test_without_jumps_back_there_are_still_jumps_ahead() -> None:
    """A limit of 0 is about loops only."""
    harness = PlayHarness(failing={"a": 1})

    state = await harness.play("{name: a, on_error: {next: c}}, {name: b}, {name: c}", top="settings: {max_jumps: 0}\n")

    assert state.status == "completed"


async def test_the_default_limit_is_a_hundred() -> None:
    """The run ends, however sure the step is to fail."""
    harness = PlayHarness(failing={"a": 1, **{f"a#{number}": 1 for number in range(2, 200)}})

    state = await harness.play("{name: a, on_error: {next: a}}")

    assert state.failed_step == "a#101"


async def test_a_crash_in_a_loop_goes_on_in_the_same_repeat() -> None:
    """The repeats before it are not run again."""
    harness = PlayHarness(failing={"work": 1})
    harness.held = {"work#2"}
    await harness.play_until(LOOP, "step_started", "work#2")

    state = await harness.recover()

    assert state.status == "completed"
    assert harness.began == ["work#2", "done"]


async def test_a_resume_tries_the_last_repeat_afresh() -> None:
    """And jumps no further than a first try would have."""
    harness = PlayHarness(failing={"work": 1, "work#2": 1})
    await harness.play(LOOP, top="settings: {max_jumps: 1}\n")
    harness.began.clear()

    state = await harness.resume()

    assert state.status == "completed"
    assert harness.began == ["work#2", "done"]
    assert generations(state) == {"prepare": 1, "work": 1, "prepare#2": 1, "work#2": 2, "done": 1}


async def test_from_a_repeat_only_what_came_after_it_runs_again() -> None:
    """`work#2` is that one, `work` all of them."""
    harness = PlayHarness(failing={"work": 1, "work#2": 1})
    await harness.play(LOOP)
    harness.began.clear()

    state = await harness.resume("work#2")
    assert harness.began == ["work#2", "done"]
    assert generations(state) == {
        "prepare": 1, "work": 1, "prepare#2": 1, "work#2": 2, "prepare#3": 2, "work#3": 2, "done": 2,
    }  # fmt: skip

    harness.began.clear()
    state = await harness.resume("work")
    assert harness.began == ["work", "done"]
    assert generations(state)["prepare"] == 1


async def test_after_another_way_every_step_behind_runs_again() -> None:
    """From a step that was jumped over the first time: what stands behind it in the file, although it began earlier."""
    harness = PlayHarness(failing={"a": 1})
    steps = "{name: a, on_error: {next: c}}, {name: b}, {name: c}"
    await harness.play(steps)
    await harness.resume("a")
    harness.began.clear()

    state = await harness.resume("b")

    assert harness.began == ["b", "c"]
    assert generations(state) == {"a": 2, "b": 3, "c": 3}
