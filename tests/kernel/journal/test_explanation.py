"""Why a run stands still, or what it does: every reason, with the commands that help."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from flujo.kernel import Context, Observer, RetryPolicy, StoredRuns, Why, WorkflowState, workflow
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.events import (
    AttemptFailed,
    CancelRequested,
    Event,
    Fact,
    PauseRequested,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunFailed,
    RunPaused,
    RunResumed,
    RunTakenOver,
    SignalReceived,
    SignalSetAside,
    StepFailed,
    StepInterrupted,
    StepStarted,
    StepWaiting,
)
from flujo.kernel.journal.explanation import explain
from flujo.kernel.state import FINAL
from flujo.kernel.transitions import add_up
from kernel.harness import START, Harness, crash, recorded, until
from kernel.legal_events import steps_of_histories

CREATED = RunCreated("flow", "{}")
A = StepStarted("a", max_attempts=3)
IN_A_MINUTE = START + 60 * MICROSECONDS


def state_of(*facts: Fact, unowned: bool = False) -> WorkflowState:
    """A run with this history, all of it recorded at the start."""
    state = add_up("r", "u", [Event(seq, START, fact) for seq, fact in enumerate([CREATED, *facts], 1)])
    state.unowned = unowned
    return state


BETWEEN = "its program is between two steps: its own code runs, or waits for something flujo does not know of"
FLUJO_RESUME, FLUJO_WATCH, FLUJO_CANCEL = "flujoctl resume r", "flujoctl watch r", "flujoctl cancel r"
LIST = "flujoctl list --status running"
STEP_A = "flujoctl inspect r --step a"

CASES: list[tuple[list[Fact], dict[str, Any], list[tuple[Why, str | None, int | None, str, list[str]]]]] = [
    ([RunCompleted("1")], {}, [(Why.FINISHED, None, None, "it has completed", ["flujoctl inspect r"])]),
    ([RunCancelled()], {}, [(Why.FINISHED, None, None, "it was cancelled", [FLUJO_RESUME])]),
    ([RunCancelled("enough")], {}, [(Why.FINISHED, None, None, "it was cancelled: enough", [FLUJO_RESUME])]),
    (
        [RunFailed("ValueError", "no")], {},
        [(Why.FINISHED, None, None, "it has failed: ValueError: no", [FLUJO_RESUME, "flujoctl inspect r"])],
    ),
    (
        [RunFailed("ValueError", "no", "a[0]", 1, ["a[0]"])], {},
        [(Why.FINISHED, "a[0]", None, "it has failed: step 'a[0]' failed: ValueError: no",
          [FLUJO_RESUME, "flujoctl skip r 'a[0]'", "flujoctl inspect r"])],
    ),
    (
        [PauseRequested(), RunPaused("PauseRequested")], {},
        [(Why.PAUSED, None, None, "it is paused: a pause was asked for", [FLUJO_RESUME])],
    ),
    (
        [A, RunPaused("StepInterrupted", "a")], {},
        [(Why.PAUSED, None, None, "it is paused: the process that ran it died in the same step too often",
          [FLUJO_RESUME])],
    ),
    (
        [A, RunTakenOver("dead", "heir"), StepInterrupted("a", 1), RunPaused("StepInterrupted", "a")], {},
        [(Why.PAUSED, None, None,
          "it is paused: the process that ran it died in the same step too often, the last one was dead",
          [FLUJO_RESUME])],
    ),
    (
        [RunPaused("StateIncompatible")], {},
        [(Why.PAUSED, None, None, "it is paused: its program has changed and contradicts what is recorded",
          ["flujoctl diff r  # shows what differs, and what helps", FLUJO_RESUME])],
    ),
    (
        [RunPaused("StateIncompatible", differences=[("a", "misfit", "it is odd"), ("b", "removed", "gone")])], {},
        [(Why.PAUSED, None, None,
          "it is paused: its program has changed and contradicts what is recorded: a: it is odd, and 1 more",
          ["flujoctl diff r  # shows what differs, and what helps",
           "flujoctl resume r --from-step a  # run that step and all later ones again"])],
    ),
    ([], {"unowned": True}, [(Why.INTERRUPTED, None, None, "no process runs it", [FLUJO_RESUME])]),
    (
        [A, StepInterrupted("a", 1)], {"unowned": True},
        [(Why.INTERRUPTED, "a", None, "no process runs it; it was interrupted in a", [FLUJO_RESUME])],
    ),
    (
        [StepWaiting("w", "signal", signal="go")], {"unowned": True},
        [(Why.INTERRUPTED, None, None, "no process runs it", [FLUJO_RESUME]),
         (Why.SIGNAL, "w", None, "step 'w' waits for the signal 'go'", ["flujoctl signal r go"])],
    ),
    (
        [StepWaiting("w", "signal", signal="go")], {"unowned": True, "untaken": ["go"]},
        [(Why.INTERRUPTED, None, None, "no process runs it", [FLUJO_RESUME])],
    ),
    (
        [A], {"unowned": True, "known": False},
        [(Why.UNREGISTERED, None, None, "no process runs it, and its workflow 'flow' is not registered here",
          ["flujoctl serve FILE.py:flow", FLUJO_RESUME])],
    ),
    (
        [A], {},
        [(Why.WORKING, "a", None, "step 'a' has been at work for 30s, attempt 1", [FLUJO_WATCH])],
    ),
    ([], {}, [(Why.BETWEEN_STEPS, None, None, BETWEEN, [FLUJO_WATCH])]),
    ([A, StepInterrupted("a", 1)], {}, [(Why.BETWEEN_STEPS, "a", None, BETWEEN, [FLUJO_WATCH])]),
    (
        [A, AttemptFailed("a", 1, "OSError", "no", IN_A_MINUTE)], {},
        [(Why.BACKOFF, "a", IN_A_MINUTE,
          "step 'a' has failed 1 of 3 times (OSError: no); its next attempt is due in 30s",
          [FLUJO_WATCH, STEP_A])],
    ),
    (
        [StepWaiting("nap", "sleep", until=IN_A_MINUTE)], {},
        [(Why.TIMER, "nap", IN_A_MINUTE, "step 'nap' sleeps and goes on in 30s", [FLUJO_WATCH])],
    ),
    (
        [StepWaiting("nap", "sleep", until=START)], {},
        [(Why.TIMER, "nap", START, "step 'nap' sleeps and goes on now", [FLUJO_WATCH])],
    ),
    (
        [StepWaiting("ok", "signal", signal="approve")], {},
        [(Why.SIGNAL, "ok", None, "step 'ok' waits for the signal 'approve'", ["flujoctl signal r approve"])],
    ),
    (
        [StepWaiting("ok", "signal", until=IN_A_MINUTE, signal="approve")], {},
        [(Why.SIGNAL, "ok", IN_A_MINUTE, "step 'ok' waits for the signal 'approve', in 30s at the latest",
          ["flujoctl signal r approve"])],
    ),
    (
        [StepWaiting("c", "child", child="r.c")], {},
        [(Why.CHILD, "c", None, "step 'c' waits for the run 'r.c'", ["flujoctl explain r.c"])],
    ),
    (
        [], {"is_queued": True},
        [(Why.LIMIT, None, None, "it waits for a free slot: the limit on concurrent runs is reached",
          [LIST, FLUJO_CANCEL])],
    ),
    (
        [], {"ahead": ("q", "interrupted")},
        [(Why.OVERLAP, None, None,
          "it begins once run q, which is interrupted, has ended: its workflow says on_overlap: queue",
          ["flujoctl resume q", "flujoctl cancel q", FLUJO_CANCEL])],
    ),
    (
        [A], {"queued": ["b"]},
        [(Why.WORKING, "a", None, "step 'a' has been at work for 30s, attempt 1", [FLUJO_WATCH]),
         (Why.LIMIT, "b", None, "step 'b' waits for a free slot: the limit on concurrent steps is reached",
          [LIST, FLUJO_CANCEL])],
    ),
    (
        [A, CancelRequested()], {},
        [(Why.STOPPING, "a", None, "a cancel was asked for 30s ago, and the body of 'a' has not ended yet",
          [FLUJO_WATCH])],
    ),
    (
        [A, StepWaiting("ok", "signal", signal="go"), PauseRequested()], {},
        [(Why.STOPPING, "a", None, "a pause was asked for 30s ago, and the body of 'a' has not ended yet",
          [FLUJO_WATCH]),
         (Why.SIGNAL, "ok", None, "step 'ok' waits for the signal 'go'", ["flujoctl signal r go"])],
    ),
    (
        [StepWaiting("ok", "signal", signal="go"), SignalReceived("go", '"x"'),
         SignalSetAside("ok", "go", 3, "$", "it is no number", "integer")], {},
        [(Why.SIGNAL, "ok", None,
          "step 'ok' waits for the signal 'go'; the last one was set aside: the payload of the signal 'go' does not "
          "fit at $: it is no number; it waits for integer",
          ["flujoctl signal r go JSON"])],
    ),
    (
        [RunResumed(timeout_seconds=60.0), A], {},
        [(Why.WORKING, "a", None, "step 'a' has been at work for 30s, attempt 1", [FLUJO_WATCH]),
         (Why.TIMEOUT, None, IN_A_MINUTE, "its timeout is over in 30s: the run fails then, wherever it is",
          [FLUJO_WATCH])],
    ),
    (
        [RunCompleted("1")], {"untaken": ["go"]},
        [(Why.FINISHED, None, None, "it has completed", ["flujoctl inspect r"]),
         (Why.UNTAKEN, None, None, "no wait has taken the signal 'go'",
          ["flujoctl inspect r"])],
    ),
    (
        [A, AttemptFailed("a", 1, "OSError", "no", IN_A_MINUTE)], {"unowned": True},
        [(Why.INTERRUPTED, None, None, "no process runs it", [FLUJO_RESUME]),
         (Why.BACKOFF, "a", IN_A_MINUTE,
          "step 'a' has failed 1 of 3 times (OSError: no); its next attempt is due in 30s", [STEP_A])],
    ),
    (
        [StepWaiting("nap", "sleep", until=IN_A_MINUTE)], {"unowned": True},
        [(Why.INTERRUPTED, None, None, "no process runs it", [FLUJO_RESUME]),
         (Why.TIMER, "nap", IN_A_MINUTE, "step 'nap' sleeps and goes on in 30s", [FLUJO_RESUME])],
    ),
    (
        [A, StepFailed("a", 1, "OSError", "no"), RunFailed("OSError", "no", "a")], {},
        [(Why.FINISHED, "a", None, "it has failed: step 'a' failed: OSError: no",
          [FLUJO_RESUME, "flujoctl skip r a", "flujoctl inspect r"]),
         (Why.FINISHED, "a", None,
          "step 'a' has failed 1 of 3 times, and its `retry` allows no other attempt: "
          "it is not for this failure, or its time was over", [STEP_A])],
    ),
    (
        [RunCancelled()], {"untaken": ["go"]},
        [(Why.FINISHED, None, None, "it was cancelled", [FLUJO_RESUME]),
         (Why.UNTAKEN, None, None,
          "no wait has taken the signal 'go'; a resume takes it along", [FLUJO_RESUME])],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "options", "expected"), CASES)
def test_every_reason_has_its_words_and_commands(
    facts: list[Fact],
    options: dict[str, Any],
    expected: list[tuple[Why, str | None, int | None, str, list[str]]],
) -> None:
    """Thirty seconds after its last event a run says why it stands where it stands, and what to type about it."""
    options = dict(options)
    state = state_of(*facts, unowned=options.pop("unowned", False))

    explanation = explain(state, START + 30 * MICROSECONDS, **options)

    found = [(each.why, each.step, each.until, each.text, list(each.commands)) for each in explanation.reasons]
    assert found == expected
    assert (explanation.run_id, explanation.status) == ("r", state.status)


def test_the_table_knows_every_reason() -> None:
    """A reason that is added to the code has to be added above; unknown is what only a newer server knows."""
    assert {reason[0] for _, _, expected in CASES for reason in expected} == set(Why) - {Why.UNKNOWN}


@pytest.mark.parametrize("options", [{}, {"known": False}, {"queued": ["b"]}, {"is_queued": True}], ids=str)
def test_no_run_stands_still_in_silence(options: dict[str, Any]) -> None:
    """Whatever state legal histories lead to, live or with its owner dead, there is a reason, and none is an error."""
    states = 0
    for before, _, _ in steps_of_histories(4):
        if before.seq == 0:
            continue
        states += 1
        for unowned in (False, True):
            before.unowned = unowned and before.status not in FINAL
            explanation = explain(before, before.updated_at + MICROSECONDS, **options)
            assert explanation.reasons
            for reason in explanation.reasons:
                assert reason.text
                assert reason.commands
            assert explanation.to_dict()["reasons"]

    assert states > 500


def test_what_users_see() -> None:
    """The JSON of an explanation has instants as text."""
    state = state_of(StepWaiting("nap", "sleep", until=IN_A_MINUTE))

    assert explain(state, START).to_dict() == {
        "run_id": "r",
        "status": "waiting",
        "reasons": [
            {
                "why": "timer",
                "text": "step 'nap' sleeps and goes on in 1m",
                "step": "nap",
                "until": "2026-01-01T00:01:00.000000Z",
                "commands": ["flujoctl watch r"],
            }
        ],
    }


# -- of real runs --------------------------------------------------------------------------------------------------


async def reasons(observer: StoredRuns, run_id: str = "r") -> list[tuple[Why, str | None]]:
    return [(reason.why, reason.step) for reason in (await observer.explain(run_id)).reasons]


async def test_a_live_run_is_explained_step_by_step() -> None:
    """At work, in backoff, asleep, waiting for somebody, and finished."""
    harness = Harness()
    begun, release = anyio.Event(), anyio.Event()

    async def work() -> None:
        if not release.is_set():
            begun.set()
            await release.wait()
            raise ConnectionError("no line")

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(work, retry=RetryPolicy(max_attempts=2, delay=10, jitter=0))
        await ctx.sleep(10)
        await ctx.wait_signal("go")

    async with harness.kernel(program) as kernel, harness.kernel() as elsewhere:
        await kernel.start(program, run_id="r")
        await begun.wait()
        seen = [await reasons(kernel)]
        release.set()
        await harness.clock.asleep(10)
        seen.append(await reasons(kernel))
        harness.clock.advance(10)
        await recorded(harness, "r", "step_waiting")
        seen.append(await reasons(kernel))
        harness.clock.advance(10)
        await until(kernel, "r", "step_waiting", "go")
        seen.append(await reasons(kernel))
        assert await reasons(elsewhere) == seen[-1]
        await kernel.signal("r", "go")
        await kernel.result("r")
        seen.append(await reasons(kernel))

    assert seen == [
        [(Why.WORKING, "work")],
        [(Why.BACKOFF, "work")],
        [(Why.TIMER, "sleep")],
        [(Why.SIGNAL, "go")],
        [(Why.FINISHED, None)],
    ]


async def test_a_run_whose_process_died_is_explained_by_whoever_looks() -> None:
    """By a kernel that knows its workflow, by one that does not, and by one that does not run any."""
    harness = Harness()
    begun = anyio.Event()

    async def work() -> None:
        begun.set()
        await anyio.sleep_forever()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(work)

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await begun.wait()
        crash(kernel)
    async with harness.kernel(program, recover=False) as knows, harness.kernel() as does_not:
        assert await reasons(knows) == [(Why.INTERRUPTED, "work")]
        assert await reasons(does_not) == [(Why.UNREGISTERED, None)]
        assert await reasons(Observer(knows.backend, clock=harness.clock)) == [(Why.INTERRUPTED, "work")]


async def test_a_step_that_waits_for_its_turn_is_explained() -> None:
    """The kernel that runs it knows that its limit is reached, also when it has recovered the step's dead attempt."""
    harness = Harness()
    begun = anyio.Event()

    async def work() -> None:
        begun.set()
        await anyio.sleep_forever()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.gather(a=ctx.step(work), b=ctx.step(work))

    async with harness.kernel(program, max_steps=1) as kernel:
        await kernel.start(program, run_id="r")
        await begun.wait()
        await anyio.wait_all_tasks_blocked()
        first = await reasons(kernel)
        crash(kernel)
    begun = anyio.Event()
    async with harness.kernel(program, max_steps=1) as kernel:
        await begun.wait()
        await anyio.wait_all_tasks_blocked()
        second = await reasons(kernel)

    assert [why for why, _ in first] == [why for why, _ in second] == [Why.WORKING, Why.LIMIT]
    assert {step for _, step in first} == {step for _, step in second} == {"a/work", "b/work"}


async def test_a_body_that_does_not_end_is_named() -> None:
    """A cancel waits for a body that shields itself, and a pause for any."""
    harness = Harness()
    begun, release = anyio.Event(), anyio.Event()

    async def stubborn() -> None:
        begun.set()
        with anyio.CancelScope(shield=True):
            await release.wait()

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(stubborn)

    async with harness.kernel(program) as kernel:
        await kernel.start(program, run_id="r")
        await begun.wait()
        await kernel.pause("r")
        pausing = await kernel.explain("r")
        await kernel.cancel("r")
        cancelling = await kernel.explain("r")
        release.set()
        await kernel.wait("r")

    assert [(reason.why, reason.text.split(" was ")[0]) for reason in (*pausing.reasons, *cancelling.reasons)] == [
        (Why.STOPPING, "a pause"),
        (Why.STOPPING, "a cancel"),
    ]
