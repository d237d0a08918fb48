"""Hold what the parts of one kernel have in common. Each takes out of it what it needs."""

from __future__ import annotations

from typing import NamedTuple

from flujo.kernel.clock import Clock
from flujo.kernel.store.backend import StateBackend

from .latecomers import Latecomers
from .left_tasks import LeftTasks
from .live_runs import LiveRuns
from .recalls import Recalls
from .tasks import KernelTasks
from .timers import Alarm
from .workflow_registry import WorkflowRegistry


class Parts(NamedTuple):
    """What a kernel is made of before anything takes, drives or wakes its runs."""

    owner: str
    """The id of the kernel."""

    backend: StateBackend
    clock: Clock
    registry: WorkflowRegistry
    runs: LiveRuns
    tasks: KernelTasks
    recalls: Recalls
    alarm: Alarm
    latecomers: Latecomers
    left_tasks: LeftTasks
