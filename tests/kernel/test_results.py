"""What a run returns or raises to those who wait for it."""

from __future__ import annotations

import pytest

from flujo.kernel import Observer, RunCancelled, RunFailed, RunInterrupted, RunNotFoundError
from kernel.flows import Flaky, doubling, waiting
from kernel.harness import Harness


async def test_results_say_how_a_run_ended() -> None:
    """`result` returns the output, or raises RunFailed or RunCancelled; for an unknown id RunNotFoundError."""
    flaky = Flaky()

    async with Harness().kernel(doubling, flaky.workflow, waiting) as kernel:
        assert await kernel.run(doubling, {"number": 4}) == 8
        with pytest.raises(RunFailed) as failed:
            await kernel.run(flaky.workflow)
        handle = await kernel.start(waiting)
        await handle.cancel("changed my mind")
        with pytest.raises(RunCancelled, match="changed my mind"):
            await handle.result()
        with pytest.raises(RunNotFoundError):
            await kernel.result("nobody")

    assert (failed.value.step, failed.value.type, failed.value.error) == ("middle", "ValueError", "broken")


async def test_an_interrupted_run_has_no_result() -> None:
    """Who waits for a run that nobody runs is told so."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")

    async with harness.backend() as backend:
        with pytest.raises(RunInterrupted):
            await Observer(backend).result("r")
