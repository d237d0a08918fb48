"""`flujoctl explain`: say what a run does or waits for, and what to type."""

from __future__ import annotations

import sys

import click

from flujo.cli import text
from flujo.cli.connect import reading
from flujo.cli.find_run import find_run
from flujo.cli.hearing import last_lines
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, has_colour, run_async
from flujo.kernel import Explanation, RunStatus


@declare("explain", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
def command(session: Session, run_id: str) -> int:
    """Say what a run is doing, or why it does not progress, and which commands help."""

    async def explain() -> tuple[Explanation, list[str]]:
        async with reading(session.target) as runs:
            found = await find_run(runs, run_id)
            explanation = await runs.explain(found)
            is_failed = session.output == "table" and explanation.status is RunStatus.FAILED
            return explanation, await last_lines(runs, await runs.inspect(found)) if is_failed else []

    explanation, lines = run_async(explain)
    if session.output != "table":
        emit(explanation.to_dict(), session.output)
        return 0
    word = text.coloured(explanation.status.value, colour=has_colour(sys.stdout))
    print(f"run {explanation.run_id} is {word}")
    for reason in explanation.reasons:
        print(f"  {text.printable(reason.text)}")
    for line in lines:
        print(line)
    sys.stdout.flush()
    for command in dict.fromkeys(command for reason in explanation.reasons for command in reason.commands):
        session.suggest(command)
    return 0
