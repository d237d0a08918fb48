"""The ways to the runs of a store: reading one of them, and recording changes of one.

Each call opens a handle of its own and closes it, so that nothing is held between the calls of code that blocks."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence

from flujo.kernel import Kernel, Observer, WorkflowState
from flujo.kernel.amendments import Amendment, SetVariable, apply_amendment
from flujo.kernel.backend import StateBackend
from flujo.kernel.errors import RunActiveError

MakeHandle = Callable[[], StateBackend]
"""Gives another handle on the same store, not open yet."""

REASON = "saved through flujo.state"


async def read(handle: MakeHandle, run_id: str) -> WorkflowState:
    """Everything recorded of a run; raises RunNotFoundError, StoreNotFoundError."""
    async with handle() as backend:
        return await Observer(backend).inspect(run_id)


async def record(
    handle: MakeHandle, seen: WorkflowState, changes: Sequence[Amendment], *, reason: str | None, by: str | None
) -> WorkflowState:
    """Record changes of a run, all or none, and return it as it is then. `seen` says which life of it is meant.

    While a live process runs it, variables go to that process one by one, and show here at once; for anything else
    RunActiveError is raised. Raises what Kernel.amend does."""
    reason, by = reason or REASON, by or user()
    async with handle():  # a kernel would make a store that is gone
        pass
    async with Kernel(handle(), recover=False) as kernel:
        try:
            await kernel.amend(seen.run_id, changes, uid=seen.uid, reason=reason, by=by)
        except RunActiveError:
            variables = [change for change in changes if isinstance(change, SetVariable)]
            if len(variables) < len(changes):
                raise
            for name, value in variables:
                await kernel.set_variable(seen.run_id, name, value, reason=reason, by=by)
            state = await kernel.inspect(seen.run_id)
            for change in variables:
                apply_amendment(state, change)
            return state
        return await kernel.inspect(seen.run_id)


def user() -> str | None:
    """Return who runs this process, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this number, as in some containers
        return None
