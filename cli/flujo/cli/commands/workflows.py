"""`flujoctl workflows`: list the workflows of a server, or show one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flujo.cli import graphs, text
from flujo.cli.connect import connected
from flujo.cli.maintenance import run_interruptible
from flujo.cli.nearest import nearest
from flujo.cli.output import emit, emit_all
from flujo.cli.session import Session, declare, harmless
from flujo.cli.target import ServerTarget
from flujo.kernel.errors import WorkflowNotFoundError

if TYPE_CHECKING:
    from flujo.client.store_keeping import ServedWorkflow


@declare("workflows")
@click.argument("name", metavar="[NAME]", required=False)
def command(session: Session, name: str | None) -> int:
    """List the workflows that a server was started with or that were published there, or show the definition of one.

    `run` starts them by these names. Without --server, that is the server of the store here.
    """
    target = session.target
    place = target if isinstance(target, ServerTarget) else ServerTarget(target.listen)

    async def ask() -> list[ServedWorkflow]:
        async with connected(place) as client:
            return list(await client.workflows()) if name is None else [await client.workflow(name)]

    try:
        found = run_interruptible(ask)
    except WorkflowNotFoundError as error:
        meant = nearest(error.workflow, error.known)
        error.hints = (f"flujoctl workflows {meant}" if meant else "flujoctl workflows",)
        raise
    if session.output == "name":
        print("\n".join(each.name for each in found))
    elif name is not None:
        _show(session, found[0])
    elif session.output != "table":
        emit_all([_object(each) for each in found], session.output)
    elif found:
        rows = [[each.name, each.version or "-", _origin(each), ", ".join(each.inputs) or "-"] for each in found]
        print(text.table(("WORKFLOW", "VERSION", "FROM", "INPUTS"), rows, status=0, colour=False))
    else:
        session.note("it has no workflows of its own; it runs definitions that are sent along")
    return 0


def _origin(workflow: ServedWorkflow) -> str:
    return "published" if workflow.stored else "the server"


def _object(workflow: ServedWorkflow) -> dict[str, Any]:
    told = {"name": workflow.name, "version": workflow.version, "inputs": list(workflow.inputs)}
    return {**told, "published": workflow.stored}


def _show(session: Session, workflow: ServedWorkflow) -> None:
    if session.output != "table":
        steps = None if workflow.plan is None else [step[0] for step in workflow.plan]
        emit({**_object(workflow), "steps": steps, "definition": workflow.definition}, session.output)
    elif workflow.definition is not None:
        print(harmless(workflow.definition.rstrip("\n")))
    elif workflow.plan is not None:
        print(graphs.as_text(graphs.of_plan(workflow.plan, {}), colour=session.has_colour))
    else:
        inputs = ", ".join(workflow.inputs) or "no inputs of its own"
        print(harmless(f"{workflow.name} is a program, which decides as it goes; it takes {inputs}"))
