"""`flujoctl pause`: stop runs before their next step."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli.connect import acting, reading
from flujo.cli.find_run import find_run
from flujo.cli.output import emit_all
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import PauseOutcome


@declare("pause", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--reason", metavar="TEXT", help="the reason, which is recorded")
def command(session: Session, run_ids: Sequence[str], reason: str | None) -> int:
    """Pause runs: running steps finish and are recorded, no other step starts.

    A run stays paused until `unpause` or `resume`. Timers, signals and retries that become due meanwhile are not lost.
    """

    async def pause() -> list[tuple[str, PauseOutcome]]:
        async with reading(session.target) as runs:
            found = [await find_run(runs, run_id) for run_id in run_ids]
        async with acting(session.target) as runs:
            return [(run_id, await runs.pause(run_id, reason, by=session.user)) for run_id in found]

    outcomes = run_async(pause)
    if session.output != "table":
        emit_all([{"run_id": run_id, "outcome": outcome.value} for run_id, outcome in outcomes], session.output)
    elif not session.quiet:
        for run_id, outcome in outcomes:
            is_paused = outcome in (PauseOutcome.PAUSED, PauseOutcome.ALREADY_PAUSED)
            print(f"run {run_id} {'is paused' if is_paused else 'was asked to pause'}")
    for run_id, _ in outcomes:
        session.suggest(f"flujoctl unpause {run_id}")
    return 0
