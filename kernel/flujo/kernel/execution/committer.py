"""The one place where a commit happens: everything recorded since the last commit goes to the backend as one batch.

Recording never waits. `record` folds an event into the run's state and puts it into the next batch; whoever needs
it to be durable awaits `batch.durable()`. While one batch is being written, the next one fills: a hundred concurrent
runs share one disk sync. The committer lingers for a few scheduler ticks before it takes a batch, but only while
nobody waits for it, so that a step's outcome and the next step's start go together although some code runs between
them (docs/adr/0003).

Batches are strictly first in, first out, and one is written at a time. So whatever a program has seen is in the journal
before anything that follows from it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Protocol

from anyio.lowlevel import checkpoint

from flujo.kernel.clock import Clock
from flujo.kernel.errors import KernelClosedError, StoreError
from flujo.kernel.journal.decisions import Stop
from flujo.kernel.journal.events import EventRow, Fact, row_of
from flujo.kernel.journal.fold import apply
from flujo.kernel.journal.state import WorkflowState
from flujo.kernel.journal.summaries import RunSummary, summarize
from flujo.kernel.loops import TOGETHER, Door, new_door, new_event
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.records import Commit, Refused, StoredDefinition

journal_logger = logging.getLogger("flujo.journal")
"""Tells what is recorded of runs: of the run itself at the level INFO, of its steps at DEBUG."""

LINGER_TICKS = 4


class Recorder(Protocol):
    """What the committer knows of a run that records: its state, who owns it, and how it is told to stop."""

    @property
    def state(self) -> WorkflowState: ...
    @property
    def uid(self) -> str: ...
    @property
    def owner(self) -> str | None: ...
    @property
    def token(self) -> int: ...

    def stop(self, why: Stop) -> None:
        """Make the program of the run unwind."""
        ...


_new = tuple.__new__  # what Commit(…) comes to, in half the time; built for every run of a batch


class _Share:
    """What one run has in a batch."""

    __slots__ = ("alone_from", "definition", "rows", "run", "summary", "taken")

    def __init__(self, run: Recorder) -> None:
        self.run = run
        self.rows: list[EventRow] = []
        self.taken: Sequence[int] = ()
        self.definition: StoredDefinition | None = None
        self.alone_from: int | None = None
        self.summary: RunSummary | None = None  # what is written of the run, once that is known


class Batch:
    """What is recorded together. `refused` tells which runs were not written, once it is done.

    `is_logged`: somebody reads of what is recorded; not asked for each event, of which there are two in every step."""

    __slots__ = ("_doors", "_waiting", "awaited", "failure", "is_done", "is_logged", "refused", "shares")

    def __init__(self) -> None:
        self.shares: dict[str, _Share] = {}
        self.awaited = False
        self.is_logged = journal_logger.isEnabledFor(logging.INFO)
        self.is_done = False
        self._doors: list[Door] = []  # behind each, up to TOGETHER wait
        self._waiting = 0
        self.refused: dict[str, Refused] = {}
        self.failure: StoreError | KernelClosedError | None = None

    async def durable(self) -> None:
        """Return when the batch is on disk; raises what kept it from getting there."""
        self.awaited = True
        if not self.is_done:
            if self._waiting % TOGETHER == 0:
                self._doors.append(new_door())
            self._waiting += 1
            await self._doors[-1].wait()
        if self.failure is not None:
            raise self.failure

    def summary_of(self, uid: str) -> RunSummary | None:
        """Return how a run stands by what is written of it; None before that is known."""
        return self.shares[uid].summary

    def end(self) -> None:
        """Let everybody who waits for it go on."""
        self.is_done = True
        for door in self._doors:
            door.open()

    async def end_in_turns(self) -> None:
        """Let everybody who waits for it go on, TOGETHER in one turn of the event loop, in the order in which they
        came."""
        self.is_done = True
        try:
            for door in self._doors:
                if door is not self._doors[0]:
                    await checkpoint()
                door.open()
        finally:
            self.end()


class Committer:
    """Drains everything that is recorded into the backend, batch after batch."""

    def __init__(
        self,
        backend: StateBackend,
        clock: Clock,
        committed: Callable[[Collection[str]], None],
        failed: Callable[[], None] = lambda: None,
        rewound: Callable[[Recorder], None] = lambda run: None,
    ) -> None:
        """`committed` is called with the uids of the runs of a batch that was written, `failed` once no batch will be
        written any more, `rewound` with a run of which the store has forgotten events, after it was told to stop."""
        self._backend = backend
        self._clock = clock
        self._committed = committed
        self._failed = failed
        self._rewound = rewound
        self._next = Batch()
        self._wake = new_event()
        self._writing: Batch | None = None
        self._idle = False  # whether `serve` waits for something to do
        self._closing = False
        self.failure: StoreError | KernelClosedError | None = None
        self.commits = 0  # batches written, for tests and benchmarks

    def record(
        self,
        run: Recorder,
        fact: Fact,
        taken: Sequence[int] = (),
        definition: StoredDefinition | None = None,
        at: int | None = None,
    ) -> Batch:
        """Make a fact part of a run's history, to be durable with the returned batch. Never waits.

        `at` is the instant that the fact reckons from, if it names a later one. That batch is refused for the run if
        another run is in the way of it (`keep_apart`)."""
        if self.failure is not None:
            raise self.failure
        state = run.state
        seq = state.seq + 1
        if at is None:
            at = self._clock.now()
        if at < state.updated_at:
            at = state.updated_at
        row = row_of(seq, at, fact)  # before the fold: what cannot be written does not become part of the run
        apply(state, seq, at, fact)
        batch = self._next
        share = batch.shares.get(run.uid)
        if share is None:
            share = batch.shares[run.uid] = _Share(run)
            if self._idle:
                self._idle = False
                self._wake.set()
        share.rows.append(row)
        if taken:
            share.taken = (*share.taken, *taken)
        if definition is not None:
            share.definition = definition
        return batch

    async def written(self) -> None:
        """Return once everything recorded until now is written, or lost."""
        for batch in (self._writing, self._next if self._next.shares else None):
            if batch is not None:
                with suppress(StoreError, KernelClosedError):
                    await batch.durable()

    def fail(self, failure: StoreError) -> None:
        """Record nothing from now on, as after a failure of the store."""
        self._fail(failure)

    def keep_apart(self, run: Recorder, alone_from: int) -> None:
        """Have what was just recorded of a run refused while another run of its workflow, created at this instant or
        later, is not final."""
        self._next.shares[run.uid].alone_from = alone_from

    def close(self) -> None:
        """Let `serve` return once everything recorded is written."""
        self._closing = True
        self._wake.set()

    async def serve(self) -> None:
        """Write batches until closed."""
        try:
            while True:
                if not self._next.shares:
                    if self._closing:
                        return
                    self._wake, self._idle = new_event(), True
                    await self._wake.wait()
                    continue
                await self._linger()
                batch, self._next = self._next, Batch()
                self._writing = batch
                await self._write(batch)
                self._writing = None
                await batch.end_in_turns()
                del batch  # or a kernel with nothing to do would hold the runs that were in it (tests/test_budget.py)
                await checkpoint()
        finally:
            # A second Ctrl-C, or an event loop that is torn down, ends this task wherever it is. Whoever waits for
            # a batch must not wait for ever: nothing will be written any more.
            self._fail(KernelClosedError())

    async def _linger(self) -> None:
        for _ in range(LINGER_TICKS):
            if self._next.awaited or self._closing:
                return
            await checkpoint()

    async def _write(self, batch: Batch) -> None:
        try:
            # A run's state holds all it has recorded, so at this instant, before anything else can run, it is the
            # summary.
            commits = [_commit(share) for share in batch.shares.values()]
            batch.refused = await self._backend.append(commits)
        except StoreError as failure:
            batch.failure = failure
            self._lose(batch)
            self._fail(failure)
        except BaseException:
            batch.failure = KernelClosedError()
            self._lose(batch)
            batch.end()
            raise
        else:
            self.commits += 1
            for uid, why in batch.refused.items():
                # Told to stop before anybody who waits for this batch can go on.
                run = batch.shares[uid].run
                run.stop(Stop.FENCED)
                self.drop(run)
                if why is Refused.REWOUND:
                    self._rewound(run)
            self._committed(batch.shares.keys() - batch.refused.keys() if batch.refused else batch.shares.keys())

    def drop(self, run: Recorder) -> None:
        """Take what a run has recorded out of the next batch: another kernel owns the run now. What this kernel has
        recorded for a later life of the run stays."""
        share = self._next.shares.get(run.uid)
        if share is None or share.run is not run:
            return
        del self._next.shares[run.uid]
        if not self._next.shares:
            # Nothing is left in it to write, and somebody may wait for it: the end of a run that was fenced.
            self._next.end()
            self._next = Batch()

    def _lose(self, batch: Batch) -> None:
        for share in batch.shares.values():
            share.run.stop(Stop.LOST)

    def _fail(self, failure: StoreError | KernelClosedError) -> None:
        """Nothing can be recorded from now on: tell every run that had something to record, and whoever waits for
        it."""
        self.failure = self.failure or failure
        batch = self._next
        batch.failure = failure
        self._lose(batch)
        batch.shares.clear()  # or it would be written on top of what may be missing
        batch.end()
        self._failed()


def _commit(share: _Share) -> Commit:
    run, state, rows = share.run, share.run.state, share.rows
    summary = share.summary = summarize(state, run.owner, run.token)
    return _new(
        Commit,
        (
            state.run_id,
            run.uid,
            run.token,
            rows[0][0] - 1,
            rows,
            summary,
            share.taken,
            share.definition,
            share.alone_from,
        ),
    )
