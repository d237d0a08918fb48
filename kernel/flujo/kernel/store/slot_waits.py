"""Telling which steps of a run wait for a slot of a fleet's limit, and who has the slots."""

from __future__ import annotations

from collections.abc import Sequence

from flujo.kernel.journal.explanation import SlotWait
from flujo.kernel.journal.state import LIVE, WorkflowState

from .backend import StateBackend
from .fleet import SlotUse


async def slot_waits_of(backend: StateBackend, state: WorkflowState) -> Sequence[SlotWait]:
    """Return the steps of a run that wait for a slot of a limit of all kernels, by their names."""
    if not backend.capabilities.shares_limits or state.status not in LIVE or state.unowned:
        return ()
    found = [
        SlotWait(use.step, limit.name, limit.slots, place, [_holder(each) for each in limit.held])
        for limit in await backend.fleet_limits()
        for place, use in enumerate(limit.waiting, start=1)
        if use.uid == state.uid
    ]
    return sorted(found)


def _holder(use: SlotUse) -> str:
    return f"{use.step!r} of run {use.run_id} at {use.host}"
