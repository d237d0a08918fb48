"""`flujoctl explain`: say what a run does or waits for, and what to type."""

from __future__ import annotations

import sys

import click

from flujo.cli import text
from flujo.cli.connect import reading
from flujo.cli.find_run import find_run
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, has_colour, run_async
from flujo.kernel import Explanation


@declare("explain", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
def command(session: Session, run_id: str) -> int:
    """Say what a run is doing, or why it does not progress, and which commands help."""

    async def explain() -> Explanation:
        async with reading(session.target) as runs:
            return await runs.explain(await find_run(runs, run_id))

    explanation = run_async(explain)
    if session.output != "table":
        emit(explanation.to_dict(), session.output)
        return 0
    word = text.coloured(explanation.status.value, colour=has_colour(sys.stdout))
    print(f"run {explanation.run_id} is {word}")
    for reason in explanation.reasons:
        print(f"  {text.printable(reason.text)}")
    for command in dict.fromkeys(command for reason in explanation.reasons for command in reason.commands):
        session.suggest(command)
    return 0
