"""Steps that always run, on the real kernel: after whatever else has ended, each once per end of the run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel import Kernel
from flujo.kernel.events import CancelRequested, row_of
from flujo.kernel.transitions import summarize
from kernel.harness import ManualClock, crash, settled, until
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


# -- after a cancel, and when the time of the run is over -------------------------------------------------------------

SEES = (
    'inputs: {x: \'{{ run.reason or "no" }}{{ " " ~ error.type if error else "" }}'
    " {{ steps.a.status }} {{ steps.b.status }}'}"
)
TELLING = f"{{name: a}}, {{name: b}}, {{name: tidy, always_run: true, {SEES}}}, {{name: close, always_run: true}}"
TELLING_GRAPH = TELLING.replace("b},", "b, depends_on: [a]},")


class Stopped(PlayHarness):
    """A run whose step `b` never ends, until it is stopped."""

    def __init__(self, steps: str, held: str = "b", top: str = "timeout: 1h\n", **failing: int) -> None:
        super().__init__(failing=failing)
        self.held = {held}
        self.workflow = self.flow(steps, top=top)
        self.clock: ManualClock = ManualClock()

    @asynccontextmanager
    async def come_to(self, step: str = "b") -> AsyncIterator[Kernel]:
        """A kernel in which the run has come to the step."""
        async with self.kernel(self.workflow) as kernel:
            await kernel.start(self.workflow, run_id="r")
            await settled(lambda: step in self.began)
            yield kernel

    async def stop(self, kernel: Kernel, how: str) -> None:
        """Cancel the run, or let its time go by."""
        if how == "cancelled":
            await kernel.cancel("r", "enough")
        else:
            self.clock.advance(3600)


@pytest.mark.parametrize("steps", [TELLING, TELLING_GRAPH], ids=["sequence", "graph"])
@pytest.mark.parametrize(
    ("how", "status", "error"),
    [("cancelled", "cancelled", "RunCancelled"), ("timeout", "failed", "TimeoutError")],
)
async def test_a_run_that_is_stopped_cleans_up(steps: str, how: str, status: str, error: str) -> None:
    """Then it ends as it would have; clean-ups are told why, and see what the steps have come to."""
    harness = Stopped(steps)
    async with harness.come_to() as kernel:
        await harness.stop(kernel, how)
        state = await kernel.wait("r")

    assert harness.began == ["a", "b", "tidy", "close"]
    assert harness.given["tidy"] == {"x": f"{how} {error} completed pending"}
    assert state.status == status
    assert statuses(state) == {"a": "completed", "b": "cancelled", "tidy": "completed", "close": "completed"}
    if how == "timeout":
        assert (state.error.type, list(state.failed_steps)) == ("TimeoutError", ["b"])  # type: ignore[union-attr]
    else:
        assert state.cancel_reason == "enough"


@pytest.mark.parametrize("steps", [TELLING, TELLING_GRAPH], ids=["sequence", "graph"])
async def test_after_a_resume_of_a_stopped_run_everything_that_was_cut_short_runs_anew(steps: str) -> None:
    """The clean-ups as well, since the run comes to another end."""
    harness = Stopped(steps)
    async with harness.come_to() as kernel:
        await kernel.cancel("r")
        await kernel.wait("r")
    harness.held.clear()
    harness.began.clear()

    state = await harness.resume()

    assert state.status == "completed"
    assert harness.began == ["b", "tidy", "close"]
    assert generations(state) == {"a": 1, "b": 2, "tidy": 2, "close": 2}
    assert harness.given["tidy"] == {"x": "no completed completed"}


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
async def test_a_cancel_ends_the_clean_ups_of_a_run_that_was_stopped(how: str) -> None:
    """Also one that never ends by itself; what comes after it does not begin."""
    harness = Stopped(TELLING)
    harness.held |= {"tidy"}
    async with harness.come_to() as kernel:
        await harness.stop(kernel, how)
        await settled(lambda: "tidy" in harness.began)
        await kernel.cancel("r")
        state = await kernel.wait("r")

    assert harness.began == ["a", "b", "tidy"]
    assert state.status == ("cancelled" if how == "cancelled" else "failed")


@pytest.mark.parametrize(("top", "seconds"), [("", 60), ("settings: {clean_up_timeout: 5s}\n", 5)])
async def test_clean_ups_have_a_time_of_their_own(top: str, seconds: int) -> None:
    """A minute for all of them together, unless the definition says otherwise."""
    harness = Stopped(TELLING, top=top)
    harness.held |= {"close"}
    async with harness.come_to() as kernel:
        await kernel.cancel("r")
        await until(kernel, "r", "step_started", "close")
        await harness.clock.asleep(seconds)
        assert (await kernel.inspect("r")).status == "running"
        harness.clock.advance(seconds)
        state = await kernel.wait("r")

    assert state.status == "cancelled"
    assert statuses(state)["tidy"] == "completed"


async def test_the_time_of_the_run_does_not_end_its_clean_ups() -> None:
    """It was cancelled before that was over."""
    harness = Stopped(TELLING, top="timeout: 30s\n")
    harness.held |= {"tidy"}
    async with harness.come_to() as kernel:
        await kernel.cancel("r")
        await until(kernel, "r", "step_started", "tidy")
        harness.clock.advance(31)
        for _ in range(20):
            await checkpoint()
        assert (await kernel.inspect("r")).status == "running"
        await kernel.cancel("r")
        await kernel.wait("r")


@pytest.mark.parametrize("steps", [TELLING, TELLING_GRAPH], ids=["sequence", "graph"])
@pytest.mark.parametrize("how", ["cancelled", "timeout"])
@pytest.mark.parametrize("crash_at", ["clean_up_started", "step_started", "step_completed"])
async def test_after_a_crash_the_next_owner_goes_on_with_the_clean_ups(steps: str, how: str, crash_at: str) -> None:
    """None that is done runs again, and the end is the same."""
    harness = Stopped(steps)
    harness.held |= {"tidy" if crash_at != "step_completed" else "close"}
    async with harness.come_to() as kernel:
        await harness.stop(kernel, how)
        await until(kernel, "r", crash_at, None if crash_at == "clean_up_started" else "tidy")
        crash(kernel)
    harness.began.clear()
    harness.held.clear()

    state = await harness.recover()

    assert harness.began == (["close"] if crash_at == "step_completed" else ["tidy", "close"])
    assert state.status == ("cancelled" if how == "cancelled" else "failed")
    if crash_at != "step_completed":
        assert harness.given["tidy"]["x"].startswith(how)


async def test_a_crash_between_the_cancel_and_the_clean_ups_leaves_them_to_the_next_owner() -> None:
    """The request is recorded, and what follows from it is not."""
    harness = Stopped(TELLING)
    async with harness.come_to() as kernel:
        crash(kernel)
    state = harness.journal_state()
    run = harness.store.runs["r"]
    run.events.append(row_of(state.seq + 1, state.updated_at, CancelRequested("enough")))
    run.summary = summarize(harness.journal_state(), run.summary.owner, run.summary.token)
    harness.held.clear()
    harness.began.clear()

    state = await harness.recover()

    assert (state.status, harness.began) == ("cancelled", ["tidy", "close"])


async def test_a_plain_resume_goes_on_with_clean_ups_that_were_interrupted() -> None:
    """The run was to end: it does, and only a resume after that begins a new life."""
    harness = Stopped(TELLING)
    harness.held |= {"tidy"}
    async with harness.come_to() as kernel:
        await kernel.cancel("r")
        await until(kernel, "r", "step_started", "tidy")
        crash(kernel)
    harness.held.clear()
    harness.began.clear()

    async with harness.kernel(load_definition=harness.load, recover=False) as kernel:
        for status, began in (("cancelled", ["tidy", "close"]), ("completed", ["b", "tidy", "close"])):
            await kernel.resume("r")
            assert (await kernel.wait("r")).status == status
            assert harness.began == began
            harness.began.clear()


async def test_a_run_that_nobody_runs_is_cleaned_up_by_whoever_cancels_it() -> None:
    """As far as its definition can be had there; otherwise it ends at once."""
    harness = Stopped(TELLING)
    for known in (True, False):
        async with harness.come_to() as kernel:
            crash(kernel)
        harness.began.clear()
        async with harness.kernel(recover=False, load_definition=harness.load if known else None) as kernel:
            await kernel.cancel("r")
            state = await kernel.wait("r")
            await kernel.delete("r")
        assert (state.status, harness.began) == ("cancelled", ["tidy", "close"] if known else [])


async def test_nothing_is_cleaned_up_before_anything_has_begun() -> None:
    """There is nothing to clean up."""
    harness = Stopped(TELLING)
    async with harness.kernel(harness.workflow, max_runs=1) as kernel:
        await kernel.start(harness.workflow, run_id="first")
        await kernel.start(harness.workflow, run_id="r")
        await kernel.cancel("r")
        state = await kernel.wait("r")
        await kernel.cancel("first")
        await kernel.wait("first")

    assert (state.status, statuses(state)) == ("cancelled", {})


async def test_a_clean_up_that_was_at_work_runs_again_after_a_cancel() -> None:
    """It had begun because a step had failed, and was cut short like any other."""
    harness = Stopped(TELLING, held="tidy", b=1)
    async with harness.come_to("tidy") as kernel:
        harness.held.clear()
        await kernel.cancel("r")
        state = await kernel.wait("r")

    assert harness.began == ["a", "b", "tidy", "tidy", "close"]
    assert generations(state)["tidy"] == 2
    assert harness.given["tidy"] == {"x": "cancelled ValueError completed failed"}


async def test_a_failing_clean_up_keeps_no_other_from_running_after_a_cancel() -> None:
    """And changes nothing about the end."""
    harness = Stopped(TELLING, tidy=1)
    async with harness.come_to() as kernel:
        await kernel.cancel("r")
        state = await kernel.wait("r")

    assert (statuses(state)["tidy"], statuses(state)["close"]) == ("failed", "completed")
    assert state.status == "cancelled"


async def test_in_a_loop_the_clean_up_of_the_last_round_is_due() -> None:
    """That of an earlier one does not count."""
    harness = Stopped("{name: a}, {name: tidy, always_run: true}, {name: b, on_error: {next: a}}", held="b#2", b=1)
    async with harness.come_to("b#2") as kernel:
        await kernel.cancel("r")
        await kernel.wait("r")

    assert harness.began == ["a", "tidy", "b", "a#2", "tidy#2", "b#2"]


async def test_a_pause_while_a_run_cleans_up_changes_nothing() -> None:
    """What is to end has no time to rest."""
    harness = Stopped(TELLING)
    harness.held |= {"tidy"}
    async with harness.come_to() as kernel:
        await kernel.cancel("r")
        await until(kernel, "r", "step_started", "tidy")
        await kernel.pause("r")
        (reason,) = [each for each in (await kernel.explain("r")).reasons if each.step == "tidy"]
        assert "it is cancelled, and its clean-up 'tidy' has been at work" in reason.text
        await kernel.cancel("r")
        assert (await kernel.wait("r")).status == "cancelled"


async def test_a_clean_up_may_wait() -> None:
    """For an instant, within the time that clean-ups have."""
    harness = PlayHarness()
    clock = ManualClock()
    harness.clock = clock
    text = (
        "name: flow\nsteps:\n- {name: go, task: wait_signal}\n"
        "- {name: rest, task: sleep, always_run: true, inputs: {seconds: 7}}\n"
    )
    workflow = harness.load_text(text)
    async with harness.kernel(workflow) as kernel:
        await kernel.start(workflow, run_id="r")
        await until(kernel, "r", "step_waiting", "go")
        await kernel.cancel("r")
        await clock.asleep(7)
        clock.advance(7)
        state = await kernel.wait("r")

    assert statuses(state) == {"go": "cancelled", "rest": "completed"}


async def test_a_fork_of_a_cancelled_run_cleans_up_again() -> None:
    """What the old run has cleaned up is not part of its history."""
    harness = Stopped(TELLING)
    async with harness.come_to() as kernel:
        await kernel.cancel("r")
        await kernel.wait("r")
    harness.held.clear()
    harness.began.clear()

    async with harness.kernel(load_definition=harness.load) as kernel:
        await kernel.fork("r", new_run_id="f")
        assert (await kernel.wait("f")).status == "completed"

    assert harness.began == ["b", "tidy", "close"]
