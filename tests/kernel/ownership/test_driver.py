"""Driving runs: each in a task of its own, as long as the kernel is open and its store answers."""

from __future__ import annotations

import pytest

from flujo.kernel import RunFailed, StoreError
from flujo.kernel.errors import KernelClosedError
from kernel.flows import doubling, waiting
from kernel.harness import FailingBackend, Harness, until


async def test_a_kernel_that_is_not_open_drives_nothing() -> None:
    """Before it is entered and after it is left."""
    kernel = Harness().kernel(doubling)
    with pytest.raises(KernelClosedError):
        await kernel.start(doubling)
    async with kernel:
        assert await kernel.run(doubling, {"number": 2}) == 4
    with pytest.raises(KernelClosedError):
        await kernel.start(doubling)


async def test_a_store_that_has_failed_ends_every_run_in_memory() -> None:
    """Also one that had nothing to record; what is asked of it raises what the store said."""
    harness = Harness()
    backend = FailingBackend(harness.store)
    async with harness.kernel(doubling, waiting, backend=backend) as kernel:
        await kernel.start(waiting, run_id="waits")
        await until(kernel, "waits", "step_waiting")
        backend.broken = True
        with pytest.raises((StoreError, RunFailed)):
            await kernel.run(doubling)
        with pytest.raises(StoreError, match="on fire"):
            await kernel.wait("waits")
        with pytest.raises(StoreError, match="on fire"):
            await kernel.signal("waits", "go")
