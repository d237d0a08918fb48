"""Listing the runs of a store: what needs their summaries, and neither their journals nor anything that runs them."""

from __future__ import annotations

from typing import Unpack

from flujo.kernel.journal.state import LIVE
from flujo.kernel.journal.summaries import RunSummary

from .backend import StateBackend
from .filters import RunQuery, check_limit, check_order, check_text, run_filter
from .records import Order, Page


async def is_interrupted(backend: StateBackend, summary: RunSummary) -> bool:
    """True for an unfinished run without a live owner."""
    if summary.status not in LIVE:
        return False
    return summary.owner is None or not await backend.is_alive(summary.owner)


class RunLists:
    """The calls of `StoredRuns` that list runs, on an open store."""

    def __init__(self, backend: StateBackend) -> None:
        self._backend = backend

    async def list(
        self, *, order: str = Order.CREATED, limit: int = 50, page: str | None = None, **wanted: Unpack[RunQuery]
    ) -> Page:
        """See StoredRuns.list."""
        chosen = run_filter(**wanted)
        return await self._backend.list(
            chosen, order=check_order(order), limit=check_limit(limit), page=check_text("page", page) or None
        )

    async def count(self, **wanted: Unpack[RunQuery]) -> int:
        """See StoredRuns.count."""
        return await self._backend.count(run_filter(**wanted))

    async def is_interrupted(self, summary: RunSummary) -> bool:
        """See StoredRuns.is_interrupted."""
        return await is_interrupted(self._backend, summary)
