"""A loop: a step that waits for others, one for each item of a list.

    shrink         waits for its items; its outcome is that of the loop
    shrink[3]      an item: a step with attempts, retries and a checkpoint of its own

Items begin in the order of the list, at most so many at once. Once one has failed no other begins, unless the loop goes
on; those at work come to their end. What is recorded of items is handed out first, in the order in which they settled,
so that a replay knows of a failure before it could begin another item. An item that has completed binds: another one in
its place contradicts it (StepRunner.perform).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import count, takewhile
from typing import Any, NamedTuple

from flujo.kernel.clock import Clock
from flujo.kernel.codecs import PLAIN
from flujo.kernel.durations import MICROSECONDS
from flujo.kernel.errors import Difference, StepFailed
from flujo.kernel.journal.progress import PER_SECOND
from flujo.kernel.journal.state import SETTLED, StepState, StepStatus
from flujo.kernel.keys import item_key

from .arguments import digest_item
from .attempt_runner import Body, StepOptions
from .branches import run_together
from .call_forms import as_recorded, forms_of_item
from .child_runs import ChildCall, ChildRuns
from .child_steps import perform_child
from .live_run import LiveRun
from .progress import Reporter
from .step_runner import StepRunner


class Agenda(NamedTuple):
    """What a loop is to do. With `chunk_size` the first item of a chunk begins once the chunk before has come to its
    end."""

    items: Sequence[Any]
    at_once: int = 1
    chunk_size: int | None = None


class ItemOutcome(NamedTuple):
    """What an item has come to; `pending` if it has not begun. One that was skipped may have an output."""

    status: StepStatus
    output: Any = None
    failure: StepFailed | None = None


class LoopEnd(NamedTuple):
    """What the items of a loop have come to, and from when to when it took, in microseconds UTC."""

    agenda: Agenda
    outcomes: Sequence[ItemOutcome]
    started_at: int
    ended_at: int


class Loop(NamedTuple):
    """How a loop is performed.

    `read` gives its items; what it raises is the failure of the loop. `body` makes the body of one of them, with the
    `options` of all; with `child` an item is a run that is started, and what that raises is its failure. `conclude`
    gives the output of the loop, or raises its failure. Its progress is reported every `report_seconds`, with None
    never."""

    read: Callable[[], Awaitable[Agenda]]
    body: Callable[[Agenda, int], Body]
    options: StepOptions
    conclude: Callable[[LoopEnd], Any]
    goes_on: bool = False
    report_seconds: float | None = None
    child: Callable[[Agenda, int], Awaitable[ChildCall]] | None = None


_NAMED = 5
"""How many items a difference names."""


class LoopRunner:
    """Performs one loop. One owner: the call that has made it."""

    def __init__(
        self,
        run: LiveRun,
        steps: StepRunner,
        child_runs: ChildRuns,
        reporter: Reporter,
        clock: Clock,
        key: str,
        loop: Loop,
    ) -> None:
        self._run = run
        self._steps = steps
        self._child_runs = child_runs
        self._reporter = reporter
        self._clock = clock
        self._key = key
        self._loop = loop
        self._problem: Exception | None = None
        self._agenda = Agenda(())
        self._keys: list[str] = []
        self._outcomes: list[ItemOutcome] = []
        self._open: set[int] = set()  # items that had begun in an earlier life and have no outcome
        self._done = self._failed = 0
        self._done_before = 0  # in earlier lives
        self._began_at = self._reported_at = 0

    async def perform(self) -> Any:
        """Return the output of the loop; raises StepFailed."""
        loop = self._run.state.steps.get(self._key)
        if loop is None or loop.status not in SETTLED:
            await self._go_through_the_record()
        return await self._steps.loop(self._key, self._work)

    async def _go_through_the_record(self) -> None:
        try:
            self._agenda = agenda = await self._loop.read()
        except Exception as error:
            self._problem = error
            return
        if (found := self._differences()) and not self._run.state.changes_accepted:
            self._run.refuse(found)
        if self._run.stopped is not None:
            await self._run.unwind()
        self._keys = [item_key(self._key, index) for index in range(len(agenda.items))]
        self._outcomes = [ItemOutcome(StepStatus.PENDING)] * len(agenda.items)
        recorded = [(index, step) for index, key in enumerate(self._keys) if (step := self._recorded(key)) is not None]
        self._open = {index for index, step in recorded if step.status not in SETTLED}
        settled = [(step.settled_seq or 0, index) for index, step in recorded if step.status in SETTLED]
        for _, index in sorted(settled):
            await self._perform_item(index)
        self._done_before = self._done

    def _differences(self) -> list[Difference]:
        """Return how the list contradicts the items that have completed: one is made of another item now, or is not in
        the list any more. Items begin in the order of the list, so those follow on its end."""
        steps, items = self._run.state.steps, self._agenda.items
        found: list[Difference] = []
        for index, item in enumerate(items):
            step = steps.get(item_key(self._key, index))
            if step is not None and step.is_completed and step.digest and step.digest != _digest_of(item, step):
                found.append(Difference(step.name, "changed", "the item it was made of has changed since it completed"))
        beyond = (steps.get(item_key(self._key, index)) for index in count(len(items)))
        detail = "it has completed, and the list of its loop has no such item any more"
        found += [
            Difference(step.name, "removed", detail) for step in takewhile(bool, beyond) if step and step.is_completed
        ]
        if len(found) < 2:
            return found
        names = ", ".join(each.step for each in found[:_NAMED]) + (" …" if len(found) > _NAMED else "")
        return [Difference(self._key, "changed", f"{len(found)} items that have completed are others now: {names}")]

    def _recorded(self, key: str) -> StepState | None:
        step = self._run.state.steps.get(key)
        return None if step is None or step.status is StepStatus.PENDING else step

    async def _work(self) -> Any:
        """Perform the items that have no outcome, and conclude the loop."""
        if self._problem is not None:
            raise self._problem
        self._began_at = self._reported_at = self._clock.now()
        self._report()
        for chunk in self._chunks():
            todo = iter(chunk)
            if self._agenda.at_once == 1:
                await self._perform_some(todo)
            else:
                workers = min(self._agenda.at_once, len(chunk))
                await run_together([lambda todo=todo: self._perform_some(todo)] * workers)  # type: ignore[misc]
        self._report()
        started_at = self._run.state.steps[self._key].started_at or self._began_at
        return self._loop.conclude(LoopEnd(self._agenda, self._outcomes, started_at, self._clock.now()))

    def _chunks(self) -> Iterator[Sequence[int]]:
        """Yield the items that have no outcome, chunk by chunk, in the order of the list."""
        size = self._agenda.chunk_size or max(1, len(self._keys))
        for first in range(0, len(self._keys), size):
            of_chunk = range(first, min(first + size, len(self._keys)))
            if left := [index for index in of_chunk if self._outcomes[index].status is StepStatus.PENDING]:
                yield left

    async def _perform_some(self, todo: Iterator[int]) -> None:
        for index in todo:
            if self._may_begin(index):
                await self._perform_item(index)
                self._note_progress()

    def _may_begin(self, index: int) -> bool:
        return self._loop.goes_on or not self._failed or index in self._open

    async def _perform_item(self, index: int) -> None:
        key = self._keys[index]
        try:
            if self._loop.child is None:
                output = await self._perform_body(key, index, self._loop.body(self._agenda, index))
            else:
                output = await self._run_child(key, index, self._loop.child)
        except StepFailed as failure:
            self._failed += 1
            self._outcomes[index] = ItemOutcome(StepStatus.FAILED, failure=failure)
        else:
            self._outcomes[index] = ItemOutcome(self._run.state.steps[key].status, output)
        self._done += 1

    async def _perform_body(self, key: str, index: int, body: Body) -> Any:
        step = self._run.state.steps.get(key)
        digest = _digest_of(self._agenda.items[index], step)
        # One that has completed is refused if its item is another one now, any other one runs again.
        is_item = step is not None and step.status is not StepStatus.COMPLETED
        return await self._steps.perform(key, body, self._loop.options, digest, is_item=is_item)

    async def _run_child(self, key: str, index: int, start: Callable[[Agenda, int], Awaitable[ChildCall]]) -> Any:
        async def wait(call: ChildCall) -> Any:
            return await self._steps.child(key, call, self._child_runs, self._loop.options.retry, PLAIN)

        fail = partial(self._perform_body, key, index)
        return await perform_child(self._recorded(key), partial(start, self._agenda, index), wait, fail)

    # -- progress -----------------------------------------------------------------------------------------------

    def _note_progress(self) -> None:
        seconds = self._loop.report_seconds
        if seconds is not None and (now := self._clock.now()) - self._reported_at >= seconds * MICROSECONDS:
            self._reported_at = now
            self._report()

    def _report(self) -> None:
        """Report how many items have an outcome, how many of them have failed, and the rate of this life."""
        if self._loop.report_seconds is None or not self._keys:
            return
        metrics: dict[str, float] = {"failed": self._failed}
        seconds = (self._clock.now() - self._began_at) / MICROSECONDS
        if seconds > 0 and (new := self._done - self._done_before):
            metrics[PER_SECOND] = float(f"{new / seconds:.3g}")
        self._reporter.report(self._key, self._done, len(self._keys), None, metrics)


def _digest_of(item: Any, step: StepState | None) -> str | None:
    """Return the digest of an item; the recorded one if that is of an equal item."""
    digest = digest_item(item)
    return digest if step is None else as_recorded(step.digest, digest, forms_of_item(item))
