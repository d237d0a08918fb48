"""A step is performed round by round; what is recorded of its rounds decides what a later life of its run does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from flujo.kernel import Context, RetryPolicy, Workflow, workflow
from flujo.kernel.execution.attempt_runner import StepOptions
from flujo.kernel.execution.rounds import Rounds
from flujo.kernel.state import WorkflowState
from kernel.harness import Harness, ManualClock, crash, until


class Service:
    """What is asked in each round: it says how often it was asked, and fails and blocks as it is told."""

    def __init__(self, fails: set[int] | None = None) -> None:
        self.asked = 0
        self.fails = fails or set()
        self.numbers: list[int] = []
        self.blocks_at: int | None = None

    async def ask(self, number: int) -> int:
        self.asked += 1
        self.numbers.append(number)
        if self.asked == self.blocks_at:
            await anyio.sleep_forever()
        if self.asked in self.fails:
            raise ConnectionError(f"question {self.asked}")
        return self.asked


def asking(
    service: Service,
    wanted: int = 3,
    *,
    pause: float = 0,
    retry: RetryPolicy | None = None,
    is_last: Callable[[Any], Awaitable[bool]] | None = None,
) -> Workflow:
    """A workflow of one such step, `poll`, in a task of the program's own, as a graph performs it."""

    async def is_enough(result: int) -> bool:
        return result >= wanted

    def body(number: int) -> Callable[[], Awaitable[int]]:
        return lambda: service.ask(number)

    options = StepOptions() if retry is None else StepOptions(retry=retry)

    @workflow(name="flow")
    async def flow(ctx: Context) -> Any:
        found: list[Any] = []

        async def poll() -> None:
            found.append(await ctx.rounds(Rounds(body, options, is_last or is_enough, pause), name="poll"))

        async with anyio.create_task_group() as group:
            group.start_soon(poll)
        return found

    return flow


def names(state: WorkflowState) -> dict[str, str]:
    """What is recorded, by its kind and status."""
    return {step.name: f"{step.kind} {step.status.value}" for step in state.steps.values()}


async def test_rounds_and_pauses_are_items_of_their_step() -> None:
    """Each has a record of its own, none has failed, and the output of the step is that of the last round."""
    harness, service = Harness(), Service()
    flow = asking(service)
    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        state = await kernel.wait("r")

    assert state.output == [3]
    assert names(state) == {
        "poll": "items completed",
        "poll[0]": "task completed",
        "poll[1]": "sleep completed",
        "poll[2]": "task completed",
        "poll[3]": "sleep completed",
        "poll[4]": "task completed",
    }
    assert service.numbers == [1, 2, 3]


async def test_between_two_rounds_a_run_waits() -> None:
    """For the instant of the next round, which begins then and not before."""
    clock = ManualClock()
    harness, service = Harness(clock), Service()
    flow = asking(service, 2, pause=10)
    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", "step_waiting", "poll[1]")
        state = await kernel.inspect("r")
        await clock.asleep(10)
        asked = service.asked
        clock.advance(10)
        ended = await kernel.wait("r")

    assert (state.status, [wait["step"] for wait in state.wait]) == ("waiting", ["poll[1]"])
    assert (asked, ended.output) == (1, [2])


async def test_a_step_goes_on_in_the_round_in_which_its_kernel_died() -> None:
    """Rounds that have completed are handed out, and the interrupted one is performed again."""
    harness, service = Harness(), Service()
    flow = asking(service)
    async with harness.kernel(flow) as kernel:
        service.blocks_at = 2
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", "step_started", "poll[2]")
        crash(kernel)
    service.blocks_at, service.asked = None, 1
    async with harness.kernel(flow) as kernel:
        state = await kernel.wait("r")

    assert state.output == [3]
    assert service.numbers in ([1, 2, 2, 3], [1, 2, 3])  # as its body had begun, or only its start was recorded


async def test_a_step_that_has_ended_is_not_asked_again() -> None:
    """Its outcome is handed out, and nobody asks for its rounds or judges them."""
    harness, service = Harness(), Service()
    judged: list[int] = []

    async def is_last(result: int) -> bool:
        judged.append(result)
        return result == 2

    inner = asking(service, is_last=is_last)

    @workflow(name="flow")
    async def flow(ctx: Context) -> Any:
        found = await inner.program(ctx, {})
        await ctx.wait_signal("go")
        return found

    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", "step_waiting", "go")
        crash(kernel)
    before = list(judged)
    async with harness.kernel(flow) as kernel:
        await kernel.signal("r", "go")
        state = await kernel.wait("r")

    assert (state.output, service.asked) == ([2], 2)
    assert judged == before == [1, 2]


async def test_the_failure_of_a_round_is_that_of_the_step() -> None:
    """By its type and text; a resume performs that round again, and goes on behind it."""
    harness, service = Harness(), Service(fails={2})
    flow = asking(service, 4)
    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        failed = await kernel.wait("r")
        await kernel.resume("r")
        state = await kernel.wait("r")

    assert failed.error is not None
    assert (failed.error.type, failed.error.message, failed.error.step) == ("ConnectionError", "question 2", "poll")
    assert (names(failed)["poll"], names(failed)["poll[2]"]) == ("items failed", "task failed")
    assert state.output == [4]
    assert service.numbers == [1, 2, 2, 3]


async def test_a_round_is_retried_as_a_step_is() -> None:
    """With attempts of its own."""
    harness, service = Harness(), Service(fails={2})
    flow = asking(service, retry=RetryPolicy(max_attempts=2, delay=0))
    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        state = await kernel.wait("r")

    assert state.output == [3]
    assert state.steps["poll[2]"].attempt == 2


async def test_a_round_that_cannot_be_judged_fails_the_step() -> None:
    """With what judging it has raised; the round has completed nevertheless."""

    async def is_last(result: int) -> bool:
        raise LookupError("no such field")

    harness, service = Harness(), Service()
    flow = asking(service, is_last=is_last)
    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        state = await kernel.wait("r")

    assert state.error is not None
    assert (state.error.type, state.error.step) == ("LookupError", "poll")
    assert names(state) == {"poll": "items failed", "poll[0]": "task completed"}


async def test_a_cancel_in_a_pause_ends_both() -> None:
    """The step and its pause; a resume takes the pause anew and goes on with the next round."""
    clock = ManualClock()
    harness, service = Harness(clock), Service()
    flow = asking(service, 2, pause=10)
    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", "step_waiting", "poll[1]")
        await kernel.cancel("r")
        cancelled = await kernel.wait("r")
        await kernel.resume("r")
        await clock.asleep(10)
        clock.advance(10)
        state = await kernel.wait("r")

    assert (names(cancelled)["poll"], names(cancelled)["poll[1]"]) == ("items cancelled", "sleep cancelled")
    assert (state.output, service.numbers) == ([2], [1, 2])
