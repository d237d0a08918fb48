"""What the children of a run were begun with, for a program that is compared with what it has done before.

A replay asks for every completed child. They are read many at a time, so that a parent of a thousand children resumes
with ten reads of the store, and of these no more than ten are held in memory.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from itertools import islice

import anyio

from flujo.kernel.errors import CorruptStoreError, UnknownEventError
from flujo.kernel.journal.events import EventRow, RunCreated, decode
from flujo.kernel.journal.state import StepStatus, WorkflowState
from flujo.kernel.journal.summaries import RunSummary, is_child
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.records import FoundRun, StoredRun

logger = logging.getLogger("flujo.kernel")

AT_ONCE = 100
"""How many children are read with one call."""

MOST_PAGES = 10
"""How many answers are kept until the program asks for what they hold; each is about READ_BYTES at most."""


async def begun(backend: StateBackend, run: RunSummary) -> RunCreated:
    """Return what a run was begun with. Raises RunNotFoundError, RunReplacedError, StoreError."""
    return _created(await backend.read_events(run.run_id, run.uid, 0, 1))


class BegunChildren:
    """The completed children of one run. Made once they are asked for: those that complete afterwards are not
    compared."""

    def __init__(self, parent: WorkflowState, backend: StateBackend) -> None:
        self._parent = parent
        self._backend = backend
        completed = (step for step in parent.steps.values() if step.status is StepStatus.COMPLETED)
        self._unread = dict.fromkeys(step.child for step in completed if step.child is not None)
        self._pages: deque[dict[str, RunCreated | None]] = deque(maxlen=MOST_PAGES)
        self._lock = anyio.Lock()  # branches that ask in the same tick share one read

    async def take(self, child: str) -> RunCreated | None:
        """Return what a child was begun with; None if that is not known any more: it is gone, or damaged. Raises
        StoreError."""
        async with self._lock:
            page = next((page for page in self._pages if child in page), None)
            return (await self._read(child) if page is None else page).pop(child)

    async def _read(self, child: str) -> dict[str, RunCreated | None]:
        """Read a child, and with it those that the program has begun first and not asked for: it does so next."""
        others = (each for each in self._unread if each != child)
        wanted = [child, *islice(others, AT_ONCE - 1)]
        answer = await self._backend.read_runs(wanted, 1)
        page = {each: self._begun(run) for each, run in zip(wanted, answer, strict=False)}  # it may be a part
        self._pages.append(page)
        for each in page:
            self._unread.pop(each, None)
        return page

    def _begun(self, found: FoundRun) -> RunCreated | None:
        try:
            if isinstance(found, CorruptStoreError):
                raise found
            if isinstance(found, StoredRun) and is_child(found.summary, self._parent.run_id, self._parent.created_at):
                return _created(found.events)
        except (CorruptStoreError, UnknownEventError) as error:
            logger.warning("run %s cannot compare what a child of its was begun with: %s", self._parent.run_id, error)
        return None


def _created(rows: Sequence[EventRow]) -> RunCreated:
    created = decode(rows[0]).fact
    assert isinstance(created, RunCreated)
    return created
