"""`flujoctl fork`: start a new run with the history of another one."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli import sources
from flujo.cli.connect import reading
from flujo.cli.find_run import find_run
from flujo.cli.foreground import advance
from flujo.cli.inputs import parse_inputs
from flujo.cli.resume_run import programs_known_to
from flujo.cli.session import Session, declare, run_async
from flujo.cli.target import ServerTarget
from flujo.kernel import RunHandle, Runs, StoredDefinition, Workflow
from flujo.kernel.clock import Identifiers, SystemClock
from flujo.kernel.keys import check_run_id


@declare("fork")
@click.argument("run_id", metavar="ID")
@click.argument("assignments", metavar="[NAME=TEXT]...", nargs=-1)
@click.option("-p", "--param", "parameters", metavar="NAME=TEXT", multiple=True, help="replace an input; NAME:=JSON")
@click.option("--from-step", metavar="STEP", help="run this step and those that depend on it again")
@click.option("--id", "new_run_id", metavar="NEW-ID", help="the id of the new run")
@click.option("--wait/--no-wait", default=True, help="stay while the run waits (default), or end with 7")
def command(
    session: Session,
    run_id: str,
    assignments: Sequence[str],
    parameters: Sequence[str],
    from_step: str | None,
    new_run_id: str | None,
    wait: bool,
) -> int:
    """Start a new run with everything that run ID recorded before STEP; by default all but the failure that ended it.

    Run ID does not change. The new run gets an empty workspace of its own.
    """
    inputs = parse_inputs([*assignments, *parameters])
    name = Identifiers(SystemClock()).run_id() if new_run_id is None else check_run_id(new_run_id)

    async def fork() -> int:
        async with reading(session.target) as runs:
            state = await runs.inspect(await find_run(runs, run_id))
        is_python = state.definition is None and not isinstance(session.target, ServerTarget)
        workflow = sources.of_run(state) if is_python else None

        def load_definition(stored: StoredDefinition) -> Workflow:
            return sources.from_stored_text(stored, state)

        async def begin(runs: Runs) -> RunHandle:
            handle = await runs.fork(
                state.run_id, from_step=from_step, new_run_id=name, inputs=inputs or None, workflow=workflow
            )
            session.note(f"forked from {state.run_id}; the workspace of the new run is empty")
            return handle

        return await advance(
            session,
            name,
            begin,
            no_wait=not wait,
            load_definition=load_definition,
            workflows=programs_known_to(session, state),
        )

    return run_async(fork)
