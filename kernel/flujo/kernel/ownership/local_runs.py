"""What a kernel alone knows of its own runs, for those that look at a store: how they go on at this moment, before the
store tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

from flujo.kernel.errors import BlockingCallError
from flujo.kernel.execution.current_attempt import account
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.journal.requests import is_repeat
from flujo.kernel.journal.state import WorkflowState
from flujo.kernel.journal.summaries import RunSummary
from flujo.kernel.loops import this_task
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.reading import recorded

from .driver import Driver
from .live_runs import LiveRuns
from .recovery import Recovery
from .takeover import Takeover


class KernelRuns:
    """The runs of one kernel as `flujo.kernel.observer.LocalRuns` describes them."""

    def __init__(
        self, backend: StateBackend, runs: LiveRuns, driver: Driver, takeover: Takeover, recovery: Recovery
    ) -> None:
        self._backend = backend
        self._runs = runs
        self._driver = driver
        self._takeover = takeover
        self._recovery = recovery

    def change(self, uid: str) -> Callable[[], Awaitable[None]] | None:
        """Return something to await until a run has committed something or ended; None for a run not owned here."""
        self.require_here()
        return self._driver.change(uid) if self._runs.holds(uid) else None

    def any_change(self) -> anyio.Event:
        """Return what is set when any run owned here has committed something; there is another one then."""
        self.require_here()
        return self._driver.any_change()

    def raise_if_unrecoverable(self, summary: RunSummary) -> None:
        """Raise what keeps a run from ever going on: no other kernel adopts what this one owns before it is closed, and
        after a failure of the store this one records nothing any more."""
        if summary.owner == self._driver.owner and self._driver.failure is not None:
            raise self._driver.failure.with_traceback(None)

    def has_ended(self, summary: RunSummary) -> bool:
        """True if a run that was owned here when it was looked at is not held any more."""
        return summary.owner == self._driver.owner and not self._runs.holds(summary.uid)

    def takeover(self, summary: RunSummary) -> Callable[[], Awaitable[None]] | None:
        """Return something to await while this kernel takes a run over that had no live owner when it was looked at;
        None if it does not: then the run stays as it is until somebody asks for more. Awaiting it raises StoreError."""
        is_being_claimed = self.has_ended(summary)  # owned here, and not held: this may also be the other way round
        under_way = self._takeover.under_way(summary.run_id) if is_being_claimed else None
        return under_way or self._recovery.adoption_of(summary)

    def require_here(self) -> None:
        """Raise WrongEventLoopError when called in another event loop than that of the kernel."""
        self._driver.require_here()

    async def settled(self, run_id: str) -> WorkflowState | None:
        """Return the state of a run in memory once it has settled, to be read only; None for any other run, and for one
        that leaves memory in another way. Raises BlockingCallError if it is the run itself that asks, in its program or
        in the body of a step."""
        self.require_here()
        if (run := self._runs.find(run_id)) is not None:
            if not run.ended.is_set():
                _require_another(run)
            await run.ended.wait()
            if run.failure is not None:
                raise run.failure
            if run.has_settled:
                return run.state
        return None

    async def recorded(self, run_id: str, request: Sequence[str] | None) -> WorkflowState | None:
        """Return the run if it has recorded this very request, durably. Raises RunNotFoundError, RequestReusedError.

        Does not wait for a run of this kernel that has not recorded it: the caller may record it in the same tick."""
        run = None if request is None else self._runs.find(run_id)
        if run is not None and not run.is_lost:
            if not is_repeat(run.state, request):
                return None
            await run.written()
            if not run.is_lost:
                return run.state
        return await recorded(self._backend, run_id, request)


def _require_another(run: LiveRun) -> None:
    """Raise BlockingCallError if this code is the program of a run, or the body of one of its steps."""
    asking = account()
    if run.task == this_task() or (asking is not None and asking[0] == run.uid):
        raise BlockingCallError(
            f"waiting for run {run.state.run_id!r}",
            "never ends: it is the run itself that waits",
            ["let whoever has started it wait, or another run"],
        )
