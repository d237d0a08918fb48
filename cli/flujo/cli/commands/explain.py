"""`flujoctl explain`: say what a run does or waits for, and what to type."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import click

from flujo.cli import text
from flujo.cli.connect import reading
from flujo.cli.find_run import find_run
from flujo.cli.foreground import failed_step_of, where_to_look
from flujo.cli.going_on import explained
from flujo.cli.hearing import last_lines, under_heading, where_it_failed
from flujo.cli.output import emit
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import Explanation, RunStatus, Why, WorkflowState


@declare("explain", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
def command(session: Session, run_id: str) -> int:
    """Say what a run is doing, or why it does not progress, and which commands help."""

    async def explain() -> tuple[Explanation, WorkflowState, list[str]]:
        async with reading(session.target) as runs:
            found = await find_run(runs, run_id)
            explanation = await runs.explain(found)
            state = await runs.inspect(found)
            return explanation, state, await last_lines(runs, state) if session.output == "table" else []

    explanation, state, lines = run_async(explain)
    explanation = explained(session, explanation, state)
    if session.output != "table":
        emit(explanation.to_dict(), session.output)
        return 0
    word = text.coloured(explanation.status.value, colour=session.has_colour)
    print(f"run {explanation.run_id} is {word}")
    for reason in explanation.reasons:
        first, *rest = text.without_lines(reason.text, lines)
        print(f"  {text.printable(first)}")
        for line in rest:
            print(f"  {text.printable(line)}")
    for line in [*_places(explanation, state), *(under_heading(state, lines) or where_it_failed(state))]:
        print(line)
    sys.stdout.flush()
    for command in dict.fromkeys(_commands(explanation, state, lines)):
        session.suggest(command)
    return 0


def _places(explanation: Explanation, state: WorkflowState) -> Iterator[str]:
    """Yield where the files of a run are that has not completed, unless that is said already."""
    if state.status in (RunStatus.COMPLETED, RunStatus.PENDING):
        return
    told = "\n".join(reason.text for reason in explanation.reasons)
    known = [("it works in", "workspace"), ("what it prints is in", "log_file")]
    places = [f"{words} {path}" for words, key in known if isinstance(path := state.environment.get(key), str)]
    if places and not any(str(state.environment.get(key)) in told for _, key in known):
        yield text.printable(f"  ({'; '.join(places)})")


def _commands(explanation: Explanation, state: WorkflowState, lines: Sequence[str]) -> Iterator[str]:
    """Yield what helps: what shows more of a failure, then the signals that are waited for, then all the rest."""
    if state.status is RunStatus.FAILED and (look := where_to_look(state, failed_step_of(state), lines)) is not None:
        yield look
    for reason in sorted(explanation.reasons, key=lambda reason: reason.why is not Why.SIGNAL):
        yield from reason.commands
