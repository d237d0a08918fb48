"""Filters, orders and statistics to messages and back."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.client.wire.filters import from_filter, given_order, to_filter, to_order
from flujo.client.wire.statistics import from_statistics, to_statistics
from flujo.kernel import Order, RunFilter, Statistics, StepDurations, WorkflowStatistics
from flujo.kernel.errors import InvalidNameError
from flujo.kernel.store.filters import EARLIEST, LATEST, run_filter
from flujo.v1 import run_service_pb2 as pb

FULL = RunFilter(
    statuses=("failed", "paused"),
    workflow="flow",
    id_prefix="r-",
    labels=(("Stadt", "Zürich"), ("a", "1")),
    created_from=EARLIEST,
    created_before=LATEST,
    updated_from=1,
    updated_before=1_767_225_600_123_456,
    finished_from=-1,
    finished_before=0,
    failed_step="a/b[1]",
    parent="p",
)


@pytest.mark.parametrize(
    "filter", [RunFilter(), FULL, *(RunFilter(**{name: value}) for name, value in FULL._asdict().items() if value)]
)
def test_a_filter_arrives_as_it_was_sent(filter: RunFilter) -> None:
    """Every part alone, and all together; instants to the microsecond, also before 1970."""
    assert run_filter(**from_filter(pb.RunFilter.FromString(to_filter(filter).SerializeToString()))) == filter


def test_a_zero_is_an_instant() -> None:
    """And not the same as none."""
    assert run_filter(**from_filter(to_filter(RunFilter(finished_before=0)))).finished_before == 0


def test_every_order_has_a_number() -> None:
    """0 is the default, and what is unknown is refused."""
    assert [given_order(to_order(order)) for order in Order] == list(Order)
    assert given_order(pb.RUN_ORDER_UNSPECIFIED) is Order.CREATED
    with pytest.raises(InvalidNameError, match="order"):
        given_order(3)


WORKFLOW = WorkflowStatistics(
    workflow="flow",
    runs={"completed": 3, "paused": 1},
    created=2,
    ended={"completed": 2, "failed": 1},
    retried=1,
    failure_rate=1 / 3,
    retry_rate=0.0,
    p50_seconds=0.123456,
    p95_seconds=86400.0,
    longest_seconds=86400.000001,
    failing_steps={"b": 2, "a": 1},
    slowest_steps=[StepDurations("resize[*]", 3, 0.5, 1.000001, 0.75), StepDurations("a", 1, 0.0, 0.0, 0.0)],
    sampled=2,
)

UNKNOWN: dict[str, Any] = dict.fromkeys(
    ("failure_rate", "retry_rate", "p50_seconds", "p95_seconds", "longest_seconds"), None
)


@pytest.mark.parametrize("workflow", [WORKFLOW, WORKFLOW._replace(**UNKNOWN), WORKFLOW._replace(p50_seconds=0.0)])
def test_statistics_arrive_as_they_were_sent(workflow: WorkflowStatistics) -> None:
    """Rates and durations that do not exist stay apart from those that are zero, and steps keep their order."""
    sent = Statistics(1_767_225_600_123_456, 1_767_225_600_123_457, [workflow])

    arrived = from_statistics(pb.GetStatsResponse.FromString(to_statistics(sent).SerializeToString()))

    assert arrived == sent
    assert list(arrived.workflows[0].failing_steps) == ["b", "a"]
