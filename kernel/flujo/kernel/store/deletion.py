"""Deleting one run with all runs it has started."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

from flujo.kernel.errors import CorruptStoreError, RunActiveError, RunReplacedError
from flujo.kernel.journal.state import LIVE
from flujo.kernel.journal.summaries import RunSummary

from .backend import StateBackend
from .records import RunFilter
from .workspaces import Workspaces

READ_RUNS = 500

PAUSE = 0.1
"""Seconds between two tries to delete a run that others keep alive."""


class Deletion:
    """Deletes runs of one store. `stop` has a live process end a run, and returns once it has, or is gone."""

    def __init__(self, backend: StateBackend, workspaces: Workspaces, stop: Callable[[str], Awaitable[None]]) -> None:
        self._backend = backend
        self._workspaces = workspaces
        self._stop = stop

    async def delete(self, run_id: str, *, force: bool, uid: str | None = None) -> None:
        """Delete a run with its family, as Runs.delete says."""
        family = [await self._load(run_id)]
        if uid and family[0].uid != uid:
            raise RunReplacedError(run_id)
        for member in family:  # parents before their children, and each at rest before it is asked for its own
            if member.status in LIVE and member.owner is not None and await self._backend.is_alive(member.owner):
                if not force:
                    raise RunActiveError(member.run_id, member.owner)
                await self._stop(member.run_id)
            family += await self._children(member)
        for member in reversed(family):  # or a crash half-way would leave children whose parent is not known any more
            await self._delete(member, force)

    async def _load(self, run_id: str) -> RunSummary:
        """Return the summary of a run. A damaged one is had from a listing, which need not vouch for it."""
        try:
            return await self._backend.load(run_id)
        except CorruptStoreError:
            for run in await self._listed(RunFilter(id_prefix=run_id)):
                if run.run_id == run_id:
                    return run
            raise

    async def _delete(self, run: RunSummary, force: bool) -> None:
        while True:
            try:
                await self._backend.delete(run.run_id, run.uid)
            except RunActiveError:  # another kernel has adopted it meanwhile
                if not force:
                    raise
                await self._stop(run.run_id)
                await anyio.sleep(PAUSE)  # or a kernel that has not taken it up yet would be asked over and over
            else:
                await self._workspaces.remove([run])
                return

    async def _children(self, parent: RunSummary) -> Sequence[RunSummary]:
        """Return the runs that this life of a run has started and that are still there."""
        # An earlier life of the run may have started others.
        return await self._listed(RunFilter(parent=parent.run_id, created_from=parent.created_at))

    async def _listed(self, wanted: RunFilter) -> Sequence[RunSummary]:
        found: list[RunSummary] = []
        page: str | None = None
        while True:
            listed = await self._backend.list(wanted, limit=READ_RUNS, page=page)
            found += listed.runs
            if (page := listed.next) is None:
                return found
