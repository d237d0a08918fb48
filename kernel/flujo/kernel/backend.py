"""Declare the port that every store keeps, for those who write a backend or open one (docs/writing-a-backend.md)."""

from __future__ import annotations

from .journal.summaries import RunSummary, WorkflowStats, is_child
from .store.backend import (
    Capabilities,
    Commit,
    Due,
    Order,
    Page,
    Posted,
    Problem,
    Refused,
    Removal,
    Request,
    RunFilter,
    StateBackend,
    StoredDefinition,
)
from .store.filters import (
    EARLIEST,
    LATEST,
    Instant,
    Wanted,
    check_instant,
    check_labels,
    check_limit,
    check_order,
    check_statuses,
    check_text,
    run_filter,
)

__all__ = [
    "EARLIEST",
    "LATEST",
    "Capabilities",
    "Commit",
    "Due",
    "Instant",
    "Order",
    "Page",
    "Posted",
    "Problem",
    "Refused",
    "Removal",
    "Request",
    "RunFilter",
    "RunSummary",
    "StateBackend",
    "StoredDefinition",
    "Wanted",
    "WorkflowStats",
    "check_instant",
    "check_labels",
    "check_limit",
    "check_order",
    "check_statuses",
    "check_text",
    "is_child",
    "run_filter",
]
