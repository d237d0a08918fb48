"""`flujoctl set`: set variables of a run, and results of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from flujo.cli.connect import acting, reading
from flujo.cli.find_run import find_run
from flujo.cli.going_on import that_work
from flujo.cli.inputs import parse_inputs, parse_json
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, run_async

if TYPE_CHECKING:
    from flujo.kernel import WorkflowState


@declare("set", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
@click.argument("assignments", metavar="[NAME=TEXT]...", nargs=-1)
@click.option(
    "--result", "results", metavar="STEP=JSON", multiple=True, help="give a step its result, as if it had completed"
)
@click.option("--reason", metavar="TEXT", help="the reason, which is recorded")
def command(
    session: Session, run_id: str, assignments: Sequence[str], results: Sequence[str], reason: str | None
) -> int:
    """Set variables of a run, each as NAME=TEXT or NAME:=JSON, whether a process runs it or not.

    A workflow in Python reads them with `ctx.variable`; no template of a YAML workflow does, and `set` says so.

    The result of a step can be set in a run that no process runs, if the step has not completed; the next resume uses
    it.
    """
    variables = parse_inputs(assignments)
    given = dict(_parse(result) for result in results)
    if not variables and not given:
        raise click.UsageError("say what to set: NAME=TEXT, NAME:=JSON or --result STEP=JSON")

    async def change() -> tuple[str, WorkflowState]:
        async with reading(session.target) as runs:
            found = await find_run(runs, run_id)
            state = await runs.inspect(found)
        async with acting(session.target) as runs:
            for name, value in variables.items():
                await runs.set_variable(found, name, value, reason=reason, by=session.user)
            for step, result in given.items():
                await runs.set_output(found, step, result, reason=reason, by=session.user)
        return found, state

    found, state = run_async(change)
    if session.output != "table":
        emit({"run_id": found, "variables": sorted(variables), "results": sorted(given)}, session.output)
    elif not session.quiet:
        for name in variables:
            print(f"variable {name} of run {found} is set")
        for step in given:
            print(f"the result of step {step} of run {found} is set")
    also_parameters = [name for name in variables if name in state.inputs]
    if len(also_parameters) < len(variables) and state.definition is not None:
        session.note(
            f"no template reads a variable, and run {found} is of a YAML workflow: it is recorded and shown, and "
            f"changes nothing; a step that waits for a value is sent one by `flujoctl signal {found} NAME JSON`"
        )
    for name in also_parameters:
        session.note(
            f"run {found} has a parameter {name} too, which stays as it was: `flujoctl resume {found} {name}=TEXT` "
            "replaces that, and names the steps that have used it"
        )
    if given:
        for command in that_work(session, state, [f"flujoctl resume {found}"]):
            session.suggest(command)
    return 0


def _parse(assignment: str) -> tuple[str, Any]:
    step, equals, text = assignment.partition("=")
    if not equals or not step:
        raise click.UsageError(f"{assignment!r} is not a result: write STEP=JSON")
    return step, parse_json(text, f"the result of {step!r}")
