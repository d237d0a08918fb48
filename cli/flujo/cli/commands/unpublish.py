"""`flujoctl unpublish`: have a server forget a definition that was published."""

from __future__ import annotations

import click

from flujo.cli.connect import connected
from flujo.cli.maintenance import run_interruptible
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, harmless
from flujo.cli.target import ServerTarget
from flujo.kernel.errors import WorkflowNotFoundError


@declare("unpublish")
@click.argument("name", metavar="NAME")
def command(session: Session, name: str) -> int:
    """Remove a workflow that was published on a server: it is not started by its name any more.

    Its runs go on. Without --server, that is the server of the store here.
    """
    target = session.target
    place = target if isinstance(target, ServerTarget) else ServerTarget(target.listen)

    async def delete() -> None:
        async with connected(place) as client:
            await client.delete_workflow(name)

    try:
        run_interruptible(delete)
    except WorkflowNotFoundError as error:
        error.hints = ("flujoctl workflows  # lists what the server has",)
        raise
    if session.output == "name":
        print(harmless(name))
    elif session.output != "table":
        emit({"name": name}, session.output)
    elif not session.quiet:
        print(harmless(f"{name} is not published any more"))
    return 0
