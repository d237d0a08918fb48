"""`StateBackend`: flujo's port of the same name, with states and queries as an earlier system has them.

A backend of `flujo.state.backends` is one of flujo: `Kernel(SQLiteBackend("state.db"))` runs workflows on it. Besides,
it answers the calls of this class, opened or not, each on a handle of its own. They are thin: every answer comes from
the port, and nothing is recorded but by the kernel. An argument of a wrong kind is refused by InvalidNameError, which
names it, before anything else happens.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flujo.backends.discovery import workspaces_beside
from flujo.kernel import Observer, RunFilter, RunStatus, RunSummary, SystemClock
from flujo.kernel import StateBackend as Port
from flujo.kernel.backend import run_filter
from flujo.kernel.durations import MICROSECONDS, format_instant
from flujo.kernel.errors import RunNotFoundError, StateNotRecordableError
from flujo.state import arguments
from flujo.state.access import read, record
from flujo.state.saving import changes_between, shape

MEASURED_RUNS = 1000
"""Over how many completed runs, the newest ones, the average of get_workflow_stats is taken."""

_AT_ONCE = 500
_DAY_SECONDS = 86400


class StateBackend(Port):
    """A place where states live, which anybody may ask about its runs. Every call may raise StoreError, and
    StoreNotFoundError before there is anything at this place: asking makes no store."""

    @abstractmethod
    def handle(self) -> Port:
        """Another handle on the same store, not open yet."""

    @property
    def workspaces(self) -> Path | None:
        """Return where the runs of this store have the folders that go with them: beside it; None for a store without a
        path."""
        return None if self.path is None else workspaces_beside(self.path)

    # -- states -------------------------------------------------------------------------------------------------

    async def load_state(self, run_id: str) -> dict[str, Any] | None:
        """Return a run in the JSON shape of a state file: workflow_id, name, start_time, last_updated, status,
        execution_state and variables. None if there is no such run."""
        arguments.text("run_id", run_id)
        try:
            return shape(await read(self.handle, run_id))
        except RunNotFoundError:
            return None

    async def save_state(self, run_id: str, state: Mapping[str, Any]) -> None:
        """Record what leads from a run as it stands to `state`, a state that `load_state` gave and somebody has
        changed: outputs of steps, variables, and the status "completed". Each becomes an event, all in one commit.

        Raises StateNotRecordableError for anything else: a run that nobody has run, a failure that did not happen, an
        output or a variable that is gone, a state that is out of date. Raises RunActiveError for a run that a live
        process runs, unless only variables change, and what Kernel.amend raises."""
        arguments.text("run_id", run_id)
        arguments.mapping("state", state)
        try:
            recorded = await read(self.handle, run_id)
        except RunNotFoundError as error:
            raise StateNotRecordableError(
                run_id,
                "there is no such run, and a run comes into being by being run",
                [f"flujoctl run FILE --id {run_id}"],
            ) from error
        if changes := changes_between(recorded, state):
            await record(self.handle, recorded, changes, reason=None, by=None)

    async def delete_state(self, run_id: str) -> None:
        """Forget a run with its children and the workspaces flujo made for them; nothing happens if it is not there.

        Raises RunActiveError while a live process runs one of them."""
        arguments.text("run_id", run_id)
        async with self.handle() as backend:
            try:
                await Observer(backend, workspaces=self.workspaces).delete(run_id)
            except RunNotFoundError:
                pass

    async def list_states(self, status: str | None = None) -> list[dict[str, Any]]:
        """run_id, status, created_at and updated_at of every run, or of those with a status, newest first."""
        wanted = ("run_id", "status", "created_at", "updated_at")
        return [{name: row[name] for name in wanted} for row in await self.list_workflows(status)]

    # -- queries ------------------------------------------------------------------------------------------------

    async def list_workflows(
        self,
        status: str | None = None,
        pipeline_id: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """Return the runs, newest first, each as a row (`row_of`); `pipeline_id` is the name of a workflow. `offset`
        reads what it passes over: a long list is better read with Observer.list, page by page.

        Raises InvalidNameError for a status that does not exist, and for a limit or an offset below 0."""
        arguments.optional_text("status", status)
        arguments.optional_text("pipeline_id", pipeline_id)
        for what, number in (("limit", 0 if limit is None else limit), ("offset", offset)):
            arguments.count(what, number)
        wanted = run_filter(statuses=[status] if status else [], workflow=pipeline_id or None)
        runs = await self._newest(wanted, None if limit is None else offset + limit)
        return [row_of(run) for run in runs[offset:]]

    async def get_failed_workflows(self, hours_back: float = 24) -> list[dict[str, Any]]:
        """Return the runs that are failed and became so in the last hours, each as a row (`row_of`), newest first."""
        arguments.hours("hours_back", hours_back)
        wanted = RunFilter((RunStatus.FAILED,), finished_from=_ago(hours_back * 3600))
        return [row_of(run) for run in await self._newest(wanted, None)]

    async def get_workflow_stats(self) -> dict[str, Any]:
        """total_workflows; status_counts, by status; recent_workflows_24h, those created in the last 24 hours; and
        average_execution_time_ms, from start to end of the newest 1,000 completed ones, 0 without any."""
        async with self.handle() as backend:
            stats = await backend.stats(_ago(_DAY_SECONDS))
            newest = await backend.list(RunFilter((RunStatus.COMPLETED,)), limit=MEASURED_RUNS)
        counts: dict[str, int] = {}
        for each in stats:
            for status, number in each.runs.items():
                counts[status] = counts.get(status, 0) + number
        took = [millis for run in newest.runs if (millis := _took_ms(run)) is not None]
        return {
            "total_workflows": sum(counts.values()),
            "status_counts": counts,
            "recent_workflows_24h": sum(each.created for each in stats),
            "average_execution_time_ms": sum(took) / len(took) if took else 0.0,
        }

    async def cleanup_old_workflows(self, days_old: float = 30) -> int:
        """Forget the completed, failed and cancelled runs that ended that many days ago, with their workspaces; returns
        how many. Runs that go on, or ought to, stay, and paused ones too."""
        arguments.days("days_old", days_old)
        gone = 0
        async with self.handle() as backend:
            observer = Observer(backend, workspaces=self.workspaces)
            more = True
            while more:
                pruned = await observer.prune(older_than_seconds=days_old * _DAY_SECONDS, limit=_AT_ONCE)
                gone += pruned.total
                more = pruned.more
        return gone

    async def _newest(self, wanted: RunFilter, number: int | None) -> list[RunSummary]:
        """Return the newest runs that match, as many as that, or with None all of them."""
        runs: list[RunSummary] = []
        page: str | None = None
        async with self.handle() as backend:
            while number is None or len(runs) < number:
                left = _AT_ONCE if number is None else min(_AT_ONCE, number - len(runs))
                found = await backend.list(wanted, limit=left, page=page)
                runs += found.runs
                if (page := found.next) is None:
                    break
        return runs


def row_of(run: RunSummary) -> dict[str, Any]:
    """Return a run as a row: run_id, pipeline_id and pipeline_name (the workflow), pipeline_version, status,
    current_step, current_step_index (how many steps have an outcome), total_steps, failed_step, error_message,
    created_at and updated_at (ISO 8601 in UTC), execution_time_ms (from start to end). None where it is not known."""
    return {
        "run_id": run.run_id,
        "pipeline_id": run.workflow,
        "pipeline_name": run.workflow,
        "pipeline_version": run.version,
        "status": run.status,
        "current_step": run.current_step,
        "current_step_index": run.steps_done,
        "total_steps": run.steps_total,
        "failed_step": run.failed_step,
        "error_message": run.error_message,
        "created_at": format_instant(run.created_at),
        "updated_at": format_instant(run.updated_at),
        "execution_time_ms": _took_ms(run),
    }


def _took_ms(run: RunSummary) -> float | None:
    if run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at) * 1000 / MICROSECONDS


def _ago(seconds: float) -> int:
    """Return the instant so long ago, in microseconds UTC."""
    return SystemClock().now() - round(seconds * MICROSECONDS)
