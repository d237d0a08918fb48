"""`flujoctl publish`: have a server start a definition by its name from now on."""

from __future__ import annotations

import click

from flujo.cli import sources
from flujo.cli.connect import connected
from flujo.cli.maintenance import run_interruptible
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, harmless
from flujo.cli.target import ServerTarget
from flujo.kernel.api import PutOutcome
from flujo.kernel.errors import DeclarationError


@declare("publish")
@click.argument("file", metavar="FILE")
def command(session: Session, file: str) -> int:
    """Store the definition in FILE on a server, which starts it by its name from now on.

    It takes the place of what was published under that name. Runs that exist keep the text they were started with.
    Every server of the store knows it, also after a restart. Without --server, that is the server of the store here.
    """
    target = session.target
    place = target if isinstance(target, ServerTarget) else ServerTarget(target.listen)
    workflow = sources.load(file)
    definition = workflow.definition
    if definition is None:
        raise DeclarationError(f"{file} is no definition", ["flujoctl publish FILE.yaml"])

    async def put() -> PutOutcome:
        async with connected(place) as client:
            return (await client.put_workflow(definition.text, file)).outcome

    outcome = run_interruptible(put)
    if session.output == "name":
        print(harmless(workflow.name))
    elif session.output != "table":
        emit({"name": workflow.name, "outcome": outcome.value}, session.output)
    elif not session.quiet:
        print(harmless(f"{workflow.name} is {_WORDS[outcome]}"))
        session.suggest(f"flujoctl run {workflow.name} --server {place.address}")
    return 0


_WORDS = {
    PutOutcome.CREATED: "published",
    PutOutcome.REPLACED: "published in the place of an earlier text",
    PutOutcome.UNCHANGED: "published already, as it is in the file",
    PutOutcome.UNKNOWN: "published",
}
