"""The durable kernel: declare steps and workflows, open a `Kernel` on a backend, start and resume runs.

This module is the table of contents of the package; everything here is public, and everything public is here. A name is
imported when it is used: a command that lists the runs of a store pays for no part of what runs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import PruneResult as PruneResult
    from .api import RunHandle as RunHandle
    from .api import Runs as Runs
    from .api import StoredRuns as StoredRuns
    from .clock import Clock as Clock
    from .clock import SystemClock as SystemClock
    from .errors import FlujoError as FlujoError
    from .errors import RunCancelled as RunCancelled
    from .errors import RunFailed as RunFailed
    from .errors import RunInterrupted as RunInterrupted
    from .errors import RunNotFoundError as RunNotFoundError
    from .errors import RunPaused as RunPaused
    from .errors import StateIncompatibilityError as StateIncompatibilityError
    from .errors import StepFailed as StepFailed
    from .errors import StoreError as StoreError
    from .execution.context import Context as Context
    from .execution.current_attempt import Attempt as Attempt
    from .execution.current_attempt import Wait as Wait
    from .execution.current_attempt import current_attempt as current_attempt
    from .execution.programs import RunStart as RunStart
    from .execution.programs import Step as Step
    from .execution.programs import Workflow as Workflow
    from .execution.programs import step as step
    from .execution.programs import workflow as workflow
    from .journal.events import Event as Event
    from .journal.explanation import Explanation as Explanation
    from .journal.explanation import Reason as Reason
    from .journal.explanation import Why as Why
    from .journal.retry import RetryPolicy as RetryPolicy
    from .journal.state import Progress as Progress
    from .journal.state import RunStatus as RunStatus
    from .journal.state import StepState as StepState
    from .journal.state import StepStatus as StepStatus
    from .journal.state import WorkflowState as WorkflowState
    from .journal.statistics import Statistics as Statistics
    from .journal.statistics import StepDurations as StepDurations
    from .journal.statistics import WorkflowStatistics as WorkflowStatistics
    from .journal.summaries import RunSummary as RunSummary
    from .kernel import Kernel as Kernel
    from .observer import Observer as Observer
    from .outcomes import CancelOutcome as CancelOutcome
    from .outcomes import Delivery as Delivery
    from .outcomes import PauseOutcome as PauseOutcome
    from .store.backend import StateBackend as StateBackend
    from .store.filters import Instant as Instant
    from .store.records import Order as Order
    from .store.records import RunFilter as RunFilter
    from .store.records import StoredDefinition as StoredDefinition
    from .store.retention import Retention as Retention

_MODULES = {
    "Attempt": "execution.current_attempt",
    "CancelOutcome": "outcomes",
    "Clock": "clock",
    "Context": "execution.context",
    "Delivery": "outcomes",
    "Event": "journal.events",
    "Explanation": "journal.explanation",
    "FlujoError": "errors",
    "Instant": "store.filters",
    "Kernel": "kernel",
    "Observer": "observer",
    "Order": "store.records",
    "PauseOutcome": "outcomes",
    "Progress": "journal.state",
    "PruneResult": "api",
    "Reason": "journal.explanation",
    "Retention": "store.retention",
    "RetryPolicy": "journal.retry",
    "RunCancelled": "errors",
    "RunFailed": "errors",
    "RunFilter": "store.records",
    "RunHandle": "api",
    "RunInterrupted": "errors",
    "RunNotFoundError": "errors",
    "RunPaused": "errors",
    "RunStart": "execution.programs",
    "RunStatus": "journal.state",
    "RunSummary": "journal.summaries",
    "Runs": "api",
    "StateBackend": "store.backend",
    "StateIncompatibilityError": "errors",
    "Statistics": "journal.statistics",
    "Step": "execution.programs",
    "StepDurations": "journal.statistics",
    "StepFailed": "errors",
    "StepState": "journal.state",
    "StepStatus": "journal.state",
    "StoreError": "errors",
    "StoredDefinition": "store.records",
    "StoredRuns": "api",
    "SystemClock": "clock",
    "Wait": "execution.current_attempt",
    "Why": "journal.explanation",
    "Workflow": "execution.programs",
    "WorkflowState": "journal.state",
    "WorkflowStatistics": "journal.statistics",
    "current_attempt": "execution.current_attempt",
    "step": "execution.programs",
    "workflow": "execution.programs",
}
"""Where each name above is: `if TYPE_CHECKING` is for those who read types, this is for the interpreter."""

__all__ = list(_MODULES)


if not TYPE_CHECKING:  # a type checker would take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = found  # so that the next look-up is one of a dictionary
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
