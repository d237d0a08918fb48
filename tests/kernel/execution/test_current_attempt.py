"""What a body knows of its attempt."""

from __future__ import annotations

import anyio
import pytest

from flujo.kernel import Attempt, RetryPolicy, current_attempt
from kernel.execution.steps import one_step, outcome
from kernel.harness import Harness


async def test_a_plain_function_runs_in_a_thread_and_knows_its_attempt() -> None:
    """A plain `def` leaves the event loop alone, and `current_attempt()` works in its thread."""

    def blocking() -> str:
        with pytest.raises(anyio.NoEventLoopError):
            anyio.get_current_task()
        return current_attempt().step

    assert await outcome(one_step(blocking)) == "it"


async def test_a_body_knows_its_attempt() -> None:
    """`current_attempt()` names run, step, attempt and an idempotency key that all attempts of a generation share."""
    seen: list[Attempt] = []

    async def flaky() -> None:
        seen.append(current_attempt())
        if len(seen) == 1:
            raise ConnectionError

    await outcome(one_step(flaky, retry=RetryPolicy(max_attempts=2)))

    assert [attempt.attempt for attempt in seen] == [1, 2]
    assert {attempt.idempotency_key for attempt in seen} == {"r/it@1"}
    assert seen[1].environment()["FLUJO_ATTEMPT"] == "2"
    with pytest.raises(RuntimeError, match="outside"):
        current_attempt()


async def test_the_idempotency_key_changes_with_the_generation() -> None:
    """A resume that runs a step again gives it another idempotency key, and its attempts count from 1."""
    harness = Harness()
    seen: list[tuple[str, int]] = []

    async def body() -> None:
        attempt = current_attempt()
        seen.append((attempt.idempotency_key, attempt.attempt))

    flow = one_step(body)
    async with harness.kernel(flow) as kernel:
        await kernel.run(flow, run_id="r")
        await (await kernel.resume("r", from_step="it")).result()

    assert seen == [("r/it@1", 1), ("r/it@2", 1)]
