"""Convert statistics to messages and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flujo.kernel.api import Statistics, StepDurations, WorkflowStatistics
from flujo.v1 import run_service_pb2 as pb

from .runs import from_run_status, to_run_status
from .values import from_duration, from_timestamp, to_duration, to_timestamp

_DURATIONS = {"p50": "p50_seconds", "p95": "p95_seconds", "longest": "longest_seconds"}
_RATES = ("failure_rate", "retry_rate")


def to_statistics(statistics: Statistics) -> pb.GetStatsResponse:
    """Return the message of an answer."""
    return pb.GetStatsResponse(
        since=to_timestamp(statistics.since),
        until=to_timestamp(statistics.until),
        workflows=[_to_workflow(each) for each in statistics.workflows],
    )


def from_statistics(message: pb.GetStatsResponse) -> Statistics:
    """Return the statistics in a message."""
    return Statistics(
        from_timestamp(message.since),
        from_timestamp(message.until),
        [_from_workflow(each) for each in message.workflows],
    )


def _to_workflow(statistics: WorkflowStatistics) -> pb.WorkflowStats:
    made = pb.WorkflowStats(
        workflow=statistics.workflow,
        runs=_to_counts(statistics.runs),
        created=statistics.created,
        ended=_to_counts(statistics.ended),
        retried=statistics.retried,
        failure_rate=statistics.failure_rate,
        retry_rate=statistics.retry_rate,
        failing_steps=[pb.StepFailures(step=step, runs=runs) for step, runs in statistics.failing_steps.items()],
        slowest_steps=[
            pb.StepDurations(
                step=each.step,
                times=each.times,
                median=to_duration(each.median_seconds),
                longest=to_duration(each.longest_seconds),
                p95=to_duration(each.p95_seconds),
            )
            for each in statistics.slowest_steps
        ],
        sampled=statistics.sampled,
    )
    for theirs, ours in _DURATIONS.items():
        if (seconds := getattr(statistics, ours)) is not None:
            getattr(made, theirs).CopyFrom(to_duration(seconds))
    return made


def _from_workflow(message: pb.WorkflowStats) -> WorkflowStatistics:
    told: Any = message
    rates = {name: getattr(told, name) if told.HasField(name) else None for name in _RATES}
    durations = {
        ours: from_duration(getattr(told, theirs)) if told.HasField(theirs) else None
        for theirs, ours in _DURATIONS.items()
    }
    return WorkflowStatistics(
        workflow=message.workflow,
        runs=_from_counts(message.runs),
        created=message.created,
        ended=_from_counts(message.ended),
        retried=message.retried,
        failing_steps={each.step: each.runs for each in message.failing_steps},
        slowest_steps=[
            StepDurations(each.step, each.times, *map(from_duration, (each.median, each.longest, each.p95)))
            for each in message.slowest_steps
        ],
        sampled=message.sampled,
        **rates,
        **durations,
    )


def _to_counts(counts: Mapping[str, int]) -> list[pb.StatusCount]:
    return [pb.StatusCount(status=to_run_status(status), count=count) for status, count in counts.items()]


def _from_counts(messages: Iterable[pb.StatusCount]) -> dict[str, int]:
    return {from_run_status(each.status).value: each.count for each in messages}
