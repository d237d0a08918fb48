"""Requests that others leave in the inbox of a run: the owner looks, takes them in order and answers each once."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, Observer, workflow
from flujo.kernel.backend import Request
from flujo.kernel.errors import StoreFullError
from flujo.kernel.events import SignalReceived
from kernel.flows import waiting
from kernel.harness import Harness, JumpingClock, until


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

    harness = Harness(JumpingClock())
    backend = Flaky(harness.store)

    @workflow()
    async def waiter(ctx: Context) -> Any:
        return await ctx.wait_signal("go")

    async with harness.kernel(waiter, backend=backend) as kernel, harness.backend() as other:
        await kernel.start(waiter, run_id="r")
        await until(kernel, "r", "step_waiting")
        backend.broken = True
        await Observer(other).signal("r", "go", 5)
        with anyio.fail_after(30):
            assert await kernel.result("r") == 5


async def test_a_request_of_a_newer_release_is_left_for_one(caplog: pytest.LogCaptureFixture) -> None:
    """It stays in the inbox, the log names it, and what was posted behind it is taken all the same."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.backend.post("r", Request("rename", '{"to": "s"}', harness.clock.now()))
        async with harness.kernel(waiting, recover=False) as other:
            await other.signal("r", "go", 7)

        assert await kernel.result("r") == 7

    assert "'rename' of a newer release is left alone" in caplog.text
    assert [each.kind for each in left_in_the_inbox(harness)] == ["rename"]


async def test_requests_are_taken_in_the_order_they_were_posted() -> None:
    """By whichever processes: the journal has them as the inbox had them."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
    async with harness.kernel(waiting, recover=False) as one, harness.kernel(waiting, recover=False) as other:
        for number in range(6):
            await (one, other)[number % 2].signal("r", "note", number)
    async with harness.kernel(waiting) as kernel:
        await kernel.signal("r", "go", None)
        await kernel.result("r")

    facts = [event.fact for event in harness.journal("r") if isinstance(event.fact, SignalReceived)]
    assert [(fact.name, fact.payload) for fact in facts] == [*(("note", str(n)) for n in range(6)), ("go", "null")]
    assert left_in_the_inbox(harness) == []


def left_in_the_inbox(harness: Harness) -> list[Request]:
    """Everything that no commit has taken."""
    return [posted.request for posted in harness.store.inbox.values()]
