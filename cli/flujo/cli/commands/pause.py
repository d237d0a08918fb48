"""`flujoctl pause`: stop runs before their next step."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli.connect import acting, reading
from flujo.cli.going_on import that_work
from flujo.cli.many_runs import Done, ask_all, conclude
from flujo.cli.output import emit_all
from flujo.cli.selecting import Named, Verb, filter_named, naming, runs_named
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import PauseOutcome, WorkflowState
from flujo.kernel.api import PAUSABLE, RunActedOn
from flujo.kernel.errors import RunFinishedError

PAUSE = Verb("Pause", *PAUSABLE)


@declare("pause")
@naming
@click.option("--reason", metavar="TEXT", help="the reason, which is recorded")
def command(session: Session, named: Named, reason: str | None) -> int:
    """Pause runs, named by their ids or chosen by options: running steps finish and are recorded, no other step starts.

    A run stays paused until `unpause` or `resume`. Timers, signals and retries that become due meanwhile are not lost.
    """

    async def pause() -> Sequence[Done[PauseOutcome]]:
        if named.run_ids:
            found = await runs_named(session, named, PAUSE)
            async with acting(session.target) as runs:
                return [Done(id, await runs.pause(id, reason, by=session.user), None) for id in found]
        if (wanted := await filter_named(session, named, PAUSE)) is None:
            return []
        async with acting(session.target) as runs:
            return await ask_all(runs.pause_runs, wanted, reason, by=session.user, read=_outcome)

    done = [each for each in run_async(pause) if not isinstance(each.error, RunFinishedError)]  # ended: as it should be
    outcomes = [(each.run_id, each.answer) for each in done if each.answer is not None]
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
    for command in _ways_back(session, [run_id for run_id, _ in outcomes]) if named.run_ids else ():
        session.suggest(command)
    return conclude(session, done, "paused") if any(each.error for each in done) else 0


def _ways_back(session: Session, run_ids: Sequence[str]) -> list[str]:
    """Return the commands that undo a pause."""

    async def read() -> list[WorkflowState]:
        async with reading(session.target) as runs:
            return [await runs.inspect(run_id) for run_id in run_ids]

    paused = [] if session.quiet else run_async(read)
    return [way for state in paused for way in that_work(session, state, [f"flujoctl unpause {state.run_id}"])]


def _outcome(run: RunActedOn) -> PauseOutcome:
    return PauseOutcome(run.outcome) if run.outcome in set(PauseOutcome) else PauseOutcome.UNKNOWN
