"""`flujoctl pause`: stop runs before their next step."""

from __future__ import annotations

import click

from flujo.cli.connect import acting
from flujo.cli.output import emit_all
from flujo.cli.selecting import Named, Verb, naming, runs_named
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import PauseOutcome, Runs
from flujo.kernel.api import PAUSABLE
from flujo.kernel.errors import RunFinishedError

PAUSE = Verb("Pause", *PAUSABLE)


@declare("pause")
@naming
@click.option("--reason", metavar="TEXT", help="the reason, which is recorded")
def command(session: Session, named: Named, reason: str | None) -> int:
    """Pause runs, named by their ids or chosen by options: running steps finish and are recorded, no other step starts.

    A run stays paused until `unpause` or `resume`. Timers, signals and retries that become due meanwhile are not lost.
    """

    async def pause() -> list[tuple[str, PauseOutcome | None]]:
        if not (found := await runs_named(session, named, PAUSE)):
            return []
        async with acting(session.target) as runs:
            return [(run_id, await _pause(runs, run_id)) for run_id in found]

    async def _pause(runs: Runs, run_id: str) -> PauseOutcome | None:
        try:
            return await runs.pause(run_id, reason, by=session.user)
        except RunFinishedError:
            if named.run_ids:
                raise
            return None  # a chosen run that has ended meanwhile is as it should be

    outcomes = [(run_id, outcome) for run_id, outcome in run_async(pause) if outcome is not None]
    if session.output == "name":
        for run_id, _ in outcomes:
            print(run_id)
    elif session.output != "table":
        emit_all([{"run_id": run_id, "outcome": outcome.value} for run_id, outcome in outcomes], session.output)
    elif not session.quiet:
        for run_id, outcome in outcomes:
            is_paused = outcome in (PauseOutcome.PAUSED, PauseOutcome.ALREADY_PAUSED)
            print(f"run {run_id} {'is paused' if is_paused else 'was asked to pause'}")
    if outcomes and not named.run_ids:
        session.suggest(f"flujoctl unpause {' '.join([*named.choice.options_but_statuses(), '--status paused'])}")
    for run_id, _ in outcomes if named.run_ids else ():
        session.suggest(f"flujoctl unpause {run_id}")
    return 0
