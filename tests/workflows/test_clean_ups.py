"""Steps that always run, on the real kernel: after whatever else has ended, each once per end of the run."""

from __future__ import annotations

import pytest

from kernel.harness import until
from workflows.played import PlayHarness, generations, statuses

IN_ORDER = "{name: a}, {name: b}, {name: tidy, always_run: true}, {name: c}, {name: close, always_run: true}"
GRAPH = (
    "{name: a}, {name: b}, {name: tidy, always_run: true}, {name: c, depends_on: [a]},"
    " {name: close, always_run: true, depends_on: [c]}"
)


@pytest.mark.parametrize(
    ("steps", "failing", "began", "failed"),
    [
        (IN_ORDER, [], ["a", "b", "tidy", "c", "close"], []),
        (IN_ORDER, ["b"], ["a", "b", "tidy", "close"], ["b"]),
        (IN_ORDER, ["c"], ["a", "b", "tidy", "c", "close"], ["c"]),
        (IN_ORDER, ["b", "tidy"], ["a", "b", "tidy", "close"], ["b", "tidy"]),
        (IN_ORDER, ["b", "tidy", "close"], ["a", "b", "tidy", "close"], ["b", "tidy", "close"]),
        (IN_ORDER, ["tidy"], ["a", "b", "tidy", "close"], ["tidy"]),
        (IN_ORDER, ["close"], ["a", "b", "tidy", "c", "close"], ["close"]),
        (GRAPH, [], ["a", "b", "c", "close", "tidy"], []),
        (GRAPH, ["a"], ["a", "b", "tidy", "close"], ["a"]),
        (GRAPH, ["c"], ["a", "b", "c", "tidy", "close"], ["c"]),
        (GRAPH, ["c", "close"], ["a", "b", "c", "tidy", "close"], ["c", "close"]),
        (GRAPH, ["close"], ["a", "b", "c", "close", "tidy"], ["close"]),
        (GRAPH, ["tidy"], ["a", "b", "c", "close", "tidy"], ["tidy"]),
    ],
)
async def test_clean_ups_run_after_the_rest_in_the_order_of_the_file(
    steps: str, failing: list[str], began: list[str], failed: list[str]
) -> None:
    """At most once each; their failures stand behind the one that ended the run."""
    harness = PlayHarness(failing=dict.fromkeys(failing, 1))

    state = await harness.play(steps)

    assert sorted(harness.began[:2]) + harness.began[2:] == began
    assert state.status == ("failed" if failed else "completed")
    assert list(state.failed_steps) == failed
    assert state.failed_step == (failed[0] if failed else None)


@pytest.mark.parametrize("b", ["{name: b}", "{name: b, depends_on: [a]}"], ids=["sequence", "graph"])
async def test_a_clean_up_knows_what_has_happened(b: str) -> None:
    """`error` is the failure that ended the run, also after another clean-up has failed; steps that have not run have a
    status."""
    harness = PlayHarness(failing={"a": 1, "tidy": 1})
    seen = "inputs: {x: '{{ error.step }} {{ error.message }} {{ steps.b.status }}'}"

    await harness.play(
        f"{{name: a, on_error: {{message: gone}}}}, {b}, {{name: tidy, always_run: true, {seen}}},"
        f" {{name: close, always_run: true, {seen}}}, {{name: unless, always_run: true, condition: error is none}}"
    )

    assert harness.given["tidy"] == {"x": "a gone pending"}
    assert harness.given["close"] == {"x": "a gone pending"}
    assert "unless" not in harness.began


async def test_a_clean_up_depends_on_a_step_that_a_handler_makes_up_for() -> None:
    """It is not left out with the other dependents of the failed step."""
    harness = PlayHarness(failing={"a": 1})

    await harness.play("{name: a, on_error: {next: fix}}, {name: fix}, {name: tidy, always_run: true, depends_on: [a]}")

    assert sorted(harness.began) == ["a", "fix", "tidy"]


async def test_a_clean_up_that_was_interrupted_still_knows_why_it_runs() -> None:
    """Although what it depends on has settled, it is one of the failure and not a step in its place."""
    harness = PlayHarness("ab", failing={"a": 1})
    harness.held = {"tidy"}
    await harness.play_until(
        "{name: a}, {name: b}, {name: tidy, always_run: true, depends_on: [b], inputs: {x: '{{ error.step }}'}}",
        *("step_started", "tidy"),
    )

    await harness.recover()

    assert harness.began == ["tidy"]
    assert harness.given["tidy"] == {"x": "a"}


async def test_a_clean_up_that_was_jumped_over_runs_at_the_end() -> None:
    """Always is always."""
    harness = PlayHarness(failing={"a": 1})

    state = await harness.play(
        "{name: a, on_error: {next: c}}, {name: tidy, always_run: true}, {name: c}",
        top="outputs: {tidied: '{{ steps.tidy.result }}'}\n",
    )

    assert harness.began == ["a", "c", "tidy"]
    assert state.output == {"tidied": "tidy"}


async def test_a_clean_up_in_a_loop_is_due_again_after_each_jump_back() -> None:
    """What it did in an earlier round does not count for the end."""
    harness = PlayHarness(failing={"b": 1, "a#2": 1})

    state = await harness.play("{name: a}, {name: tidy, always_run: true}, {name: b, on_error: {next: a}}")

    assert harness.began == ["a", "tidy", "b", "a#2", "tidy#2"]
    assert state.failed_step == "a#2"


async def test_a_clean_up_may_fail_if_it_says_so() -> None:
    """With `on_error: continue` nothing comes of it."""
    harness = PlayHarness(failing={"a": 1, "tidy": 1})

    state = await harness.play("{name: a}, {name: tidy, always_run: true, on_error: continue}")

    assert statuses(state) == {"a": "failed", "tidy": "failed"}
    assert list(state.failed_steps) == ["a"]


@pytest.mark.parametrize("steps", [IN_ORDER, GRAPH])
async def test_after_a_resume_the_clean_ups_run_anew(steps: str) -> None:
    """They get a new generation with the failure, since the run comes to another end."""
    harness = PlayHarness(failing={"a": 1})
    await harness.play(steps)
    harness.began.clear()

    state = await harness.resume()

    assert state.status == "completed"
    assert sorted(harness.began) == (
        ["a", "b", "c", "close", "tidy"] if steps is IN_ORDER else ["a", "c", "close", "tidy"]
    )
    assert generations(state) | {"b": 1} == {"a": 2, "b": 1, "c": 1, "close": 2, "tidy": 2}


@pytest.mark.parametrize("steps", [IN_ORDER, GRAPH])
@pytest.mark.parametrize("crash_at", ["step_started", "step_completed"])
async def test_a_crash_among_clean_ups_repeats_none_that_is_done(steps: str, crash_at: str) -> None:
    """The end of the run goes on where it was, after the failure as it is recorded."""
    harness = PlayHarness(failing={"a": 1})
    harness.held = {"tidy" if crash_at == "step_started" else "close"}
    await harness.play_until(steps, crash_at, "tidy")

    state = await harness.recover()

    assert harness.began == (["tidy", "close"] if crash_at == "step_started" else ["close"])
    assert (state.status, state.failed_step, list(state.failed_steps)) == ("failed", "a", ["a"])
    assert generations(state)["tidy"] == 1


async def test_a_cancel_leaves_no_time_for_clean_ups() -> None:
    """As docs/yaml-workflows.md says: they run when the run is resumed and comes to an end."""
    harness = PlayHarness()
    harness.held = {"a"}
    workflow = harness.flow(IN_ORDER)
    async with harness.kernel(workflow) as kernel:
        await kernel.start(workflow, run_id="r")
        await until(kernel, "r", "step_started", "a")
        await kernel.cancel("r")
        state = await kernel.wait("r")
    assert statuses(state) == {"a": "cancelled"}

    harness.held.clear()
    harness.began.clear()
    state = await harness.resume()

    assert state.status == "completed"
    assert harness.began == ["a", "b", "tidy", "c", "close"]
