"""`flujoctl stats`: counts, failures and durations of runs, by workflow."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from flujo.cli import text
from flujo.cli.connect import reading
from flujo.cli.output import emit, emit_all
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import Statistics, StepDurations, WorkflowStatistics
from flujo.kernel.durations import format_duration, format_instant, parse_duration
from flujo.kernel.state import FINAL, LIVE, RunStatus

HEAD = ("WORKFLOW", "STORED", "LIVE", "PAUSED", "CREATED", "ENDED", "FAILED", "RETRIED", "P50", "P95", "LONGEST")
STEPS_EACH = 3
"""How many steps of each workflow the tables show when there are several workflows."""


@declare("stats", formats=("table", "json", "jsonl", "yaml"))
@click.option("--workflow", metavar="NAME", help="only this workflow, with more of its steps")
@click.option("--window", metavar="DURATION", default="24h", help="how far back to look (default 24h)")
def command(session: Session, workflow: str | None, window: str) -> int:
    """Show how many runs there are, and of those that ended in the window how many failed and how long they took.

    STORED, LIVE and PAUSED count all runs of the store. The other columns are about the window: FAILED and RETRIED are
    shares of the runs that ended, the durations are those of the runs that completed. The slowest steps come from a
    sample: the runs that completed last, at most 200 per workflow.
    """
    seconds = parse_duration(window)

    async def read() -> Statistics:
        async with reading(session.target) as runs:
            return await runs.stats(window_seconds=seconds, workflow=workflow)

    statistics = run_async(read)
    if session.output == "jsonl":
        emit_all([_object(each) for each in statistics.workflows], session.output)
    elif session.output != "table":
        bounds = {"since": format_instant(statistics.since), "until": format_instant(statistics.until)}
        emit({**bounds, "workflows": [_object(each) for each in statistics.workflows]}, session.output)
    else:
        _show(statistics.workflows)
    session.note(f"the window is the last {format_duration(seconds)}")
    return 0


def _object(told: WorkflowStatistics) -> dict[str, Any]:
    return {
        "workflow": told.workflow,
        "runs": dict(told.runs),
        "created": told.created,
        "ended": dict(told.ended),
        "retried": told.retried,
        "failure_rate": told.failure_rate,
        "retry_rate": told.retry_rate,
        "p50_seconds": told.p50_seconds,
        "p95_seconds": told.p95_seconds,
        "longest_seconds": told.longest_seconds,
        "failing_steps": dict(told.failing_steps),
        "slowest_steps": [step._asdict() for step in told.slowest_steps],
        "sampled": told.sampled,
    }


def _show(workflows: Sequence[WorkflowStatistics]) -> None:
    _print_table(HEAD, map(_row, workflows))
    each = STEPS_EACH if len(workflows) > 1 else None
    failing = [
        (told.workflow, step, str(runs)) for told in workflows for step, runs in list(told.failing_steps.items())[:each]
    ]
    slowest = [(told.workflow, *_step_row(step)) for told in workflows for step in told.slowest_steps[:each]]
    if failing:
        print()
        _print_table(("WORKFLOW", "FAILING STEP", "RUNS"), failing)
    if slowest:
        print()
        _print_table(("WORKFLOW", "SLOWEST STEP", "P50", "P95", "LONGEST", "TIMES"), slowest)


def _print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(text.table(head, list(rows), status=0, colour=False), file=sys.stdout)


def _row(told: WorkflowStatistics) -> Sequence[str]:
    live = sum(told.runs.get(status, 0) for status in LIVE)
    return (
        told.workflow,
        str(sum(told.runs.values())),
        str(live),
        str(told.runs.get(RunStatus.PAUSED, 0)),
        str(told.created),
        str(sum(told.ended.get(status, 0) for status in FINAL)),
        _percent(told.failure_rate),
        _percent(told.retry_rate),
        _took(told.p50_seconds),
        _took(told.p95_seconds),
        _took(told.longest_seconds),
    )


def _step_row(step: StepDurations) -> Sequence[str]:
    took = (step.median_seconds, step.p95_seconds, step.longest_seconds)
    return (step.step, *map(_took, took), str(step.times))


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.3g} %"


def _took(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)
