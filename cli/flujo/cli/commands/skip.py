"""`flujoctl skip`: mark a step as skipped."""

from __future__ import annotations

import click

from flujo.cli.connect import acting
from flujo.cli.going_on import that_work
from flujo.cli.inputs import parse_json
from flujo.cli.many_runs import act_on_each, conclude
from flujo.cli.output import emit, emit_all
from flujo.cli.resume_many import resume_many
from flujo.cli.resume_run import resume_run
from flujo.cli.selecting import Named, Verb, naming_without_ids, runs_named, shifted
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import RunStatus
from flujo.kernel.state import LIVE

SKIP = Verb(
    "Skip a step of",
    [RunStatus.FAILED, RunStatus.PAUSED, RunStatus.CANCELLED, *sorted(LIVE)],
    by_default=[RunStatus.FAILED],
    only_unowned=True,
)


@declare("skip", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID", required=False)
@click.argument("step", metavar="STEP", required=False)
@click.option("--result", metavar="JSON", help="what later steps see as its result")
@click.option("--reason", metavar="TEXT", help="the reason, which is recorded")
@click.option("--resume", is_flag=True, help="resume the runs at once, in this process or on the server")
@naming_without_ids
def command(
    session: Session,
    run_id: str | None,
    step: str | None,
    result: str | None,
    reason: str | None,
    resume: bool,
    named: Named,
) -> int:
    """Mark a step as skipped, in a run that no process runs: failed, paused, cancelled or interrupted.

    Without ID, in all runs that options choose, by default failed ones. The next resume continues after it. A step that
    has completed cannot be skipped.
    """
    run_id, step = shifted(named, run_id, step)
    if step is None:
        raise click.UsageError("say which step of which run to skip: ID STEP, or STEP and options that choose runs")
    value = None if result is None else parse_json(result, "--result")
    wanted = named._replace(run_ids=() if run_id is None else (run_id,))

    async def skip() -> int:
        found = await runs_named(session, wanted, SKIP)
        async with acting(session.target) as runs:
            done = await act_on_each(
                session, found, lambda each: runs.skip(each, step, value, reason=reason, by=session.user)
            )
            skipped = [each.run_id for each in done if each.error is None]
            state = await runs.inspect(skipped[0]) if wanted.is_one and skipped and not resume else None
        if not resume:
            _show(session, skipped, step, is_one=wanted.is_one)
        if state is not None:
            for command in that_work(session, state, [f"flujoctl resume {state.run_id}"]):
                session.suggest(command)
        if wanted.is_one:
            if done[0].error is not None:
                raise done[0].error
            return await resume_run(session, skipped[0]) if resume else 0
        code = conclude(session, done, "have a step skipped")
        return max(code, await resume_many(session, skipped)) if resume and skipped else code

    return run_async(skip)


def _show(session: Session, run_ids: list[str], step: str, *, is_one: bool) -> None:
    answers = [{"run_id": run_id, "step": step, "status": "skipped"} for run_id in run_ids]
    if session.output != "table":
        if is_one:
            for answer in answers:
                emit(answer, session.output)
        else:
            emit_all(answers, session.output)
    elif not session.quiet:
        for run_id in run_ids:
            print(f"step {step} of run {run_id} is skipped")
