"""What a kernel alone knows of its own runs, before the store tells."""

from __future__ import annotations

import pytest

from flujo.kernel.errors import RequestReusedError
from kernel.flows import waiting
from kernel.harness import Harness, until


async def test_a_run_of_another_kernel_is_no_local_one() -> None:
    """Its changes are looked for in the store, and its end as well."""
    harness = Harness()
    async with harness.kernel(waiting) as owner, harness.kernel(recover=False) as other:
        await owner.start(waiting, run_id="r")
        await until(owner, "r", "step_waiting")
        summary = harness.summary("r")

        assert owner._runtime.local_runs.change(summary.uid) is not None
        assert other._runtime.local_runs.change(summary.uid) is None
        assert await other._runtime.local_runs.settled("r") is None
        assert not owner._runtime.local_runs.has_ended(summary)
        await owner.signal("r", "go", 1)
        await owner.wait("r")

        assert owner._runtime.local_runs.has_ended(summary)
        assert not other._runtime.local_runs.has_ended(summary)


async def test_a_request_is_known_as_soon_as_its_run_has_recorded_it() -> None:
    """The same one is a repeat, another one under its id is refused, and one without an id is never known."""
    async with Harness().kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await kernel.set_variable("r", "name", 1, request_id="x")
        request = ("x", kernel._runtime.runs.find("r").state.requests["x"])  # type: ignore[union-attr]

        assert await kernel._runtime.local_runs.recorded("r", request) is not None
        assert await kernel._runtime.local_runs.recorded("r", None) is None
        with pytest.raises(RequestReusedError):
            await kernel._runtime.local_runs.recorded("r", ("x", "another"))
