"""Runs as an earlier system's page tells of them: the id `workflow_id`, the steps step1 and step2, two variables.

A story is how such a run came to stand where it stands; it is told on a store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any, NamedTuple

import anyio

from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, Observer, StateBackend, Workflow, workflow
from flujo.kernel.events import Fact

RUN = "workflow_id"

MakeHandle = Callable[[], StateBackend]


class Story(NamedTuple):
    """`end` is where the run stops: in step1, in step2, or waiting for a signal after step1; "none" is nowhere. How it
    stops: it fails, is left behind by its kernel, is cancelled, or is left behind and then paused."""

    end: str
    how: str = "fails"

    def __str__(self) -> str:
        return f"{self.how} in {self.end}"

    async def tell(self, make: MakeHandle, run_id: str = RUN) -> None:
        """Bring the run into being on a store, of which `make` gives handles."""
        begun = anyio.Event()
        program = self._workflow(begun)
        async with Kernel(make(), [program]) as kernel:
            handle = await kernel.start(program, run_id=run_id)
            if self.how == "fails":
                await handle.wait()
            elif self.end == "signal":
                async with aclosing(handle.watch()) as events:
                    async for event in events:
                        if event.type == "step_waiting":
                            break
            else:
                await begun.wait()
            if self.how == "is cancelled":
                await handle.cancel()
                await handle.wait()
        if self.how == "is paused":
            async with Kernel(make(), recover=False) as kernel:
                await kernel.pause(run_id)

    def tell_blocking(self, url: str, run_id: str = RUN) -> None:
        """The same on the store of this URL, from code that blocks."""
        anyio.run(self.tell, lambda: open_backend(url), run_id, backend="asyncio")

    def _workflow(self, begun: anyio.Event) -> Workflow:
        async def body(name: str) -> str:
            if name != self.end:
                return f"Output from Step {name[-1]}"
            begun.set()
            if self.how == "fails":
                raise ValueError("no")
            await anyio.sleep_forever()
            return "never"

        @workflow(name="workflow-name")
        async def program(ctx: Context) -> list[Any]:
            await ctx.set_variable("user_input", "value")
            await ctx.set_variable("computed_value", 42)
            first: Any = await ctx.step(body, "step1", name="step1")
            if self.end == "signal":
                return [first, await ctx.wait_signal("step2")]
            return [first, await ctx.step(body, "step2", name="step2")]

        return program


COMPLETED = Story("none")
FAILED = Story("step2")
INTERRUPTED = Story("step2", "is left")
STORIES = [
    FAILED,
    INTERRUPTED,
    Story("step1"),
    Story("step1", "is left"),
    Story("step1", "is cancelled"),
    Story("step2", "is cancelled"),
    Story("step2", "is paused"),
    Story("signal", "is left"),
    Story("signal", "is paused"),
]
"""Every way in which a run may stand that is not completed."""


def facts_of(url: str, run_id: str = RUN) -> list[Fact]:
    """What the journal of a run holds."""

    async def read() -> list[Fact]:
        async with open_backend(url) as backend:
            return [event.fact for event in await Observer(backend).events(run_id)]

    return anyio.run(read, backend="asyncio")
