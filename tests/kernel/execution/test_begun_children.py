"""What children were begun with: how a replay reads it, and what it does not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Context, Kernel, RunStatus, Workflow, workflow
from flujo.kernel.backend import EventRow, FoundRun, RunSummary
from flujo.kernel.errors import CorruptStoreError, StoreError
from flujo.kernel.execution import begun_children
from kernel.harness import Harness, JumpingClock, until

CHILDREN = 25


@pytest.fixture(autouse=True)
def ten_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read of ten children stands for one of a hundred."""
    monkeypatch.setattr(begun_children, "AT_ONCE", 10)


@workflow()
async def echo(ctx: Context, number: int) -> int:
    """Return its input."""
    return number


def adding(first: int = 0, *, backwards: bool = False, at_once: bool = False) -> Workflow:
    """A workflow that adds up what children return, from `first` on, and then waits."""

    @workflow(name="adding")
    async def program(ctx: Context) -> int:
        async def ask(number: int) -> int:
            output: Any = await ctx.run_child(echo, {"number": number}, name=f"echo-{number - first}")
            return int(output)

        numbers = range(first, first + CHILDREN)
        if at_once:
            total: int = sum(await ctx.gather(*(ask(number) for number in numbers)))
        else:
            total = sum([await ask(number) for number in (reversed(numbers) if backwards else numbers)])
        await ctx.wait_signal("go")
        return total

    return program


class CountingBackend(InMemoryBackend):
    """Counts what it is asked to read; `damaged` is read by nobody, and `fails` so many reads of many runs do."""

    def __init__(self, store: Any, damaged: str = "", fails: int = 0) -> None:
        super().__init__(store)
        self.reads: Counter[str] = Counter()
        self._damaged = damaged
        self._fails = fails
        self._is_inside = False

    def _count(self, name: str) -> None:
        if not self._is_inside:
            self.reads[name] += 1

    async def load(self, run_id: str) -> RunSummary:
        self._count("load")
        return await super().load(run_id)

    async def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> Sequence[EventRow]:
        self._count("read_events")
        return await super().read_events(run_id, uid, after_seq, limit)

    async def read_runs(self, run_ids: Sequence[str], events: int) -> Sequence[FoundRun]:
        if events:  # others ask for what lies in inboxes
            self._count("read_runs")
        if self._fails and events:
            self._fails -= 1
            raise StoreError(self.url, "the line is down")
        self._is_inside = True
        try:
            found = await super().read_runs(run_ids, events)
        finally:
            self._is_inside = False
        damage = CorruptStoreError(self.url, "it is torn")
        return [damage if name == self._damaged else run for name, run in zip(run_ids, found, strict=False)]


async def waiting(harness: Harness, parent: Workflow) -> None:
    """Have a parent wait for its signal after all its children, and its kernel close."""
    async with harness.kernel(parent, echo) as kernel:
        await kernel.start(parent, run_id="r")
        await until(kernel, "r", "step_waiting", "go")


async def finished(kernel: Kernel) -> Any:
    """Have the parent go on, and return its output."""
    await kernel.signal("r", "go")
    return await kernel.result("r")


@pytest.mark.parametrize("how", [{}, {"backwards": True}, {"at_once": True}], ids=["in a row", "backwards", "at once"])
async def test_a_replay_reads_many_children_with_one_call(how: dict[str, bool]) -> None:
    """In whatever order the program asks for them, and also for all in one tick."""
    harness = Harness()
    await waiting(harness, adding(at_once="at_once" in how))
    backend = CountingBackend(harness.store)

    async with harness.kernel(adding(**how), echo, backend=backend) as kernel:
        assert await finished(kernel) == sum(range(CHILDREN))

    assert backend.reads["read_runs"] == 3
    assert backend.reads["load"] + backend.reads["read_events"] < CHILDREN


async def test_a_large_parent_holds_a_few_answers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it asks for later than that is read again, each by itself."""
    monkeypatch.setattr(begun_children, "MOST_PAGES", 1)
    harness = Harness()
    await waiting(harness, adding())
    backend = CountingBackend(harness.store)

    async with harness.kernel(adding(backwards=True), echo, backend=backend) as kernel:
        assert await finished(kernel) == sum(range(CHILDREN))

    assert 3 < backend.reads["read_runs"] <= CHILDREN


@pytest.mark.parametrize("at_once", [False, True], ids=["in a row", "at once"])
async def test_each_of_many_children_is_compared(at_once: bool) -> None:
    """One that is begun with something else now is told by its name."""
    harness = Harness()
    await waiting(harness, adding(at_once=at_once))

    async with harness.kernel(adding(1, at_once=at_once), echo) as kernel:
        await kernel.signal("r", "go")
        state = await kernel.wait("r")

    assert state.status is RunStatus.PAUSED
    assert "echo-" in state.differences[0][0]


async def test_a_damaged_child_does_not_keep_its_parent_from_going_on() -> None:
    """The parent has its output; what it was begun with cannot be compared any more, and a log says so."""
    harness = Harness()
    await waiting(harness, adding())
    backend = CountingBackend(harness.store, damaged="r.echo-7")

    async with harness.kernel(adding(), echo, backend=backend) as kernel:
        assert await finished(kernel) == sum(range(CHILDREN))


async def test_a_store_that_is_away_is_asked_again() -> None:
    """A replay goes on when it is back, with nothing left out."""
    harness = Harness(JumpingClock())
    await waiting(harness, adding())
    backend = CountingBackend(harness.store, fails=2)

    async with harness.kernel(adding(1), echo, backend=backend) as kernel:
        await kernel.signal("r", "go")
        state = await kernel.wait("r")

    assert state.differences
