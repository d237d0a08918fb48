"""Which runs may begin: as many as `max_runs` at work, the others in the order they came."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flujo.kernel.ownership.admission import Admission
from flujo.kernel.ownership.live_runs import LiveRuns, Residence
from flujo.kernel.ownership.recalls import Recalls
from flujo.kernel.ownership.tasks import KernelTasks
from flujo.kernel.state import RunStatus
from kernel.harness import ManualClock


def at_work(uid: str, status: RunStatus = RunStatus.RUNNING) -> Any:
    return SimpleNamespace(uid=uid, state=SimpleNamespace(run_id=f"run-{uid}", status=status), is_in_line=False)


def admission(runs: LiveRuns, max_runs: int | None) -> Admission:
    return Admission(runs, Recalls(ManualClock(), KernelTasks("one")), max_runs)


async def test_without_a_bound_every_run_begins() -> None:
    """However many are at work."""
    runs = LiveRuns()
    for uid in "abc":
        runs.admit(at_work(uid))

    assert not admission(runs, None).is_full


async def test_runs_at_work_on_their_way_and_in_line_fill_the_places() -> None:
    """One that waits does not: what it waits for may be a child in the queue."""
    runs = LiveRuns()
    runs.admit(at_work("a", RunStatus.WAITING))
    runs.hold("b", "run-b", Residence.PARKED)
    assert not admission(runs, 2).is_full

    runs.hold("c", "run-c", Residence.STARTING)

    assert admission(runs, 2).is_full


async def test_the_first_in_the_queue_is_called_when_there_is_room() -> None:
    """One at a time, and none while as many as may are at work."""
    runs = LiveRuns()
    runs.admit(at_work("a"))
    for uid in "bc":
        runs.hold(uid, f"run-{uid}", Residence.QUEUED)
    queue = admission(runs, 1)
    queue.call_next()
    assert runs.where("b") is Residence.QUEUED

    runs.disown("a")
    queue.call_next()
    queue.call_next()

    assert (runs.where("b"), runs.where("c")) == (Residence.STARTING, Residence.QUEUED)
