"""Who asks, as a server knows it: what is asked inside of a block is recorded as asked by that principal."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel import Context, workflow
from flujo.kernel.errors import RunFailed
from flujo.kernel.events import Event, VariableSet
from flujo.kernel.principals import acting_as, principal
from kernel.harness import Harness


@workflow()
async def setting(ctx: Context) -> Any:
    """A program that does on its own what others may ask of a run."""
    await ctx.set_variable("mine", 1)
    return await ctx.wait_signal("go")


@workflow()
async def failing(ctx: Context) -> None:
    async def fail() -> None:
        raise ValueError("no")

    await ctx.step(fail, name="a")


def who(events: Any) -> dict[str, list[str | None]]:
    """The principals of the facts that have one, by the kind of event."""
    found: dict[str, list[str | None]] = {}
    for event in events:
        assert isinstance(event, Event)
        fact: Any = event.fact
        if hasattr(fact, "principal"):
            found.setdefault(event.type, []).append(fact.principal)
    return found


async def test_what_is_asked_is_recorded_with_who_asks() -> None:
    """Beside the name that is claimed; and what the program does by itself is nobody's request."""
    async with Harness().kernel(setting, failing) as kernel:
        with acting_as("ci"):
            await kernel.start("setting", run_id="r")
            await kernel.set_variable("r", "theirs", 2, by="ann")
            await kernel.pause("r")
            await kernel.wait("r")
        with acting_as("ops"):
            await kernel.unpause("r")
        with acting_as("bot"):
            await kernel.signal("r", "go", by="ann")
        await kernel.wait("r")
        events = await kernel.events("r")

    found = who(events)
    variables = {each.fact.name: each.fact.principal for each in events if isinstance(each.fact, VariableSet)}
    assert found["run_created"] == ["ci"]
    assert variables == {"mine": None, "theirs": "ci"}
    assert found["pause_requested"] == ["ci"]
    assert found["run_resumed"] == ["ops"]
    assert found["signal_received"] == ["bot"]


async def test_changes_by_hand_and_forks_say_who_asked() -> None:
    """The history that a fork takes over keeps what it says."""
    async with Harness().kernel(failing) as kernel:
        with pytest.raises(RunFailed):
            await kernel.run("failing", run_id="r")
        with acting_as("ann"):
            await kernel.skip("r", "a")
            await kernel.set_output("r", "a", 1)
            await kernel.cancel("r")
        with acting_as("bob"):
            await kernel.fork("r", new_run_id="s")
        old, new = who(await kernel.events("r")), who(await kernel.events("s"))

    assert (old["run_created"], old["step_skipped"], old["step_output_set"]) == ([None], ["ann"], ["ann"])
    assert new["run_created"] == ["bob"]


async def test_a_request_in_an_inbox_keeps_who_asked() -> None:
    """Another process records it, which does not know who called."""
    harness = Harness()
    async with harness.kernel(setting) as owner, harness.kernel(setting, recover=False) as other:
        await owner.start("setting", run_id="r")
        with acting_as("ci"):
            await other.signal("r", "go")
        await owner.wait("r")
        found = who(await owner.events("r"))

    assert found["signal_received"] == ["ci"]


def test_nobody_asks_outside_of_a_block() -> None:
    """The innermost block counts, and its end is its end."""
    assert principal() is None
    with acting_as("a"):
        with acting_as("b"):
            assert principal() == "b"
        assert principal() == "a"
    assert principal() is None
