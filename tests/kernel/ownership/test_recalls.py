"""Runs that are asked back into memory: each once, and again for as long as the store does not answer."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from flujo.kernel.ownership.recalls import Recalls
from flujo.kernel.ownership.tasks import KernelTasks
from kernel.harness import JumpingClock, settled


class Serving:
    """Recalls that are being served; `answers` says what the store says, by how often it was asked."""

    def __init__(self, answer: Callable[[int], bool] = lambda asked: True) -> None:
        self.asked: list[str] = []
        self.clock = JumpingClock()
        self.tasks = KernelTasks("one")
        self.recalls = Recalls(self.clock, self.tasks)
        self._answer = answer

    async def reload(self, run_id: str) -> bool:
        self.asked.append(run_id)
        await anyio.lowlevel.checkpoint()
        return self._answer(len(self.asked))


async def serve(serving: Serving, done: Callable[[], bool]) -> None:
    async with anyio.create_task_group() as group:
        serving.tasks.open(group)
        group.start_soon(serving.recalls.serve, serving.reload)
        await settled(done)
        group.cancel_scope.cancel()


async def test_a_store_that_does_not_answer_is_asked_again_every_second() -> None:
    """The run comes back with the first answer, and not once more."""
    serving = Serving(lambda asked: asked == 3)
    serving.recalls.ask("r")

    await serve(serving, lambda: len(serving.asked) == 3)

    assert serving.asked == ["r"] * 3
    assert serving.clock.naps == [1.0, 1.0]


async def test_a_run_that_is_asked_for_while_it_comes_back_is_looked_at_once_more() -> None:
    """What was posted during the read may not have been seen by it; ten such requests cost one more look."""
    serving = Serving()

    async def reload(run_id: str) -> bool:
        if not serving.asked:
            for _ in range(10):
                serving.recalls.ask(run_id)
        serving.asked.append(run_id)
        await anyio.lowlevel.checkpoint()
        return True

    serving.reload = reload  # type: ignore[method-assign]
    serving.recalls.ask("r")

    await serve(serving, lambda: len(serving.asked) == 2)

    assert serving.asked == ["r", "r"]
