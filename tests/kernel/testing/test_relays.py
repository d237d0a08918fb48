"""A handle that passes on what it is asked: the whole port, also what is added to it later."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel.backend import StateBackend
from flujo.kernel.errors import StoreError
from flujo.kernel.testing.crashes import MortalBackend
from flujo.kernel.testing.relays import RelayBackend, is_call, port
from simulation.places import MemoryPlace
from simulation.world import READS, Life, World

calls = pytest.mark.parametrize("name", [name for name, member in port().items() if is_call(member)])
questions = pytest.mark.parametrize("name", [name for name, member in port().items() if not is_call(member)])


class Answering(InMemoryBackend):
    """Answers every call with its name and what it was asked with."""

    def __getattribute__(self, name: str) -> Any:
        member = port().get(name)
        if member is None:
            return super().__getattribute__(name)
        if is_call(member):
            return Answer(name).soon
        return f"the {name}" if isinstance(member, property) else Answer(name).at_once


class Answer:
    def __init__(self, name: str) -> None:
        self._name = name

    def at_once(self, *arguments: Any, **options: Any) -> Any:
        return self._name, *arguments, *options.values()

    async def soon(self, *arguments: Any, **options: Any) -> Any:
        return self.at_once(*arguments, **options)


def asked(name: str) -> tuple[list[str], dict[str, str]]:
    """What to ask a call with: each argument is its own name."""
    found = list(inspect.signature(getattr(StateBackend, name)).parameters.values())[1:]
    by_name = {each.name: each.name for each in found if each.kind is each.KEYWORD_ONLY}
    return [each.name for each in found if each.name not in by_name], by_name


@calls
async def test_every_call_is_passed_on_with_what_it_was_asked(name: str) -> None:
    """And its answer comes back; none is answered by the default that the port has for it."""
    told: list[str] = []

    class Telling(RelayBackend):
        async def relay(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
            told.append(name)
            return await super().relay(name, call)

    arguments, options = asked(name)

    assert await getattr(Telling(Answering()), name)(*arguments, **options) == (
        name,
        *arguments,
        *options.values(),
    )
    assert told == [name]


@questions
def test_every_question_that_is_answered_at_once_is_passed_on(name: str) -> None:
    """Also properties."""
    found = getattr(RelayBackend(Answering()), name)

    assert (found() if callable(found) else found) in ((name,), f"the {name}")


@calls
async def test_a_dead_process_calls_nothing(name: str) -> None:
    """Neither the handle of `crash_at_every_checkpoint` nor that of the simulator lets anything through once its
    process is dead, but for what its operating system does for it."""
    mortal = MortalBackend(Answering(), None, [])
    mortal.is_dead = True
    life = Life(World(MemoryPlace()), 1, [])
    life.backend.inner = Answering()
    life.dead = True
    arguments, options = asked(name)
    for handle in (mortal, life.backend):
        with anyio.fail_after(60):
            if name == "close":
                await handle.close()
            else:
                with pytest.raises(StoreError, match="was killed"):
                    await getattr(handle, name)(*arguments, **options)


@calls
async def test_a_life_may_die_at_every_call_that_changes_its_store(name: str) -> None:
    """What is not known to change nothing counts as a write, and so do the calls that a life does itself."""
    life = Life(World(MemoryPlace()), 1, [])
    life.backend.inner = Answering()
    arguments, options = asked(name)
    await getattr(life.backend, name)(*arguments, **options)

    assert (life.writes > 0) is not (name in READS or name == "close" or name.startswith("wait_for_"))


def test_only_calls_of_the_port_are_said_to_change_nothing() -> None:
    """A call that was renamed is a write until somebody looks."""
    assert set(port()) >= READS
