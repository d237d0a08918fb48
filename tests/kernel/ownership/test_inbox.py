"""Requests that others leave in the inbox of a run: the owner looks, takes them in order and answers each once."""

from __future__ import annotations

from typing import Any

import anyio

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, Observer, workflow
from flujo.kernel.errors import StoreFullError
from kernel.harness import JumpingClock, Stage, until


async def test_a_request_is_taken_although_the_first_look_for_it_failed() -> None:
    """A store that cannot be read for a moment delays what others ask for, and nothing is forgotten."""

    class Flaky(InMemoryBackend):
        broken = False

        async def take(self) -> Any:
            found = await super().take()
            if self.broken:
                self.broken = False
                raise StoreFullError(self.url)
            return found

    stage = Stage(JumpingClock())
    backend = Flaky(stage.store)

    @workflow()
    async def waiter(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    async with stage.kernel(waiter, backend=backend) as kernel, stage.backend() as other:
        await kernel.start(waiter, run_id="r")
        await until(kernel, "r", "step_waiting")
        backend.broken = True
        await Observer(other).signal("r", "go", 5)
        with anyio.fail_after(5):
            assert await kernel.result("r") == 5
