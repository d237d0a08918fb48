"""Answer runs that wait for a person with yes or no: what `approve` and `reject` have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import click

from .selecting import Named, naming_without_ids, shifted
from .session import Session, run_async
from .signalling import send


class Answer(NamedTuple):
    """An answer as the command line gives it; without a signal it is for the one that each run waits for."""

    run_id: str | None
    signal: str | None
    comment: str | None
    by: str | None
    resume: bool


_OPTIONS = (
    click.argument("run_id", metavar="ID", required=False),
    click.argument("signal", metavar="[SIGNAL]", required=False),
    click.option("--comment", metavar="TEXT", help="why, which the run is told"),
    click.option("--by", metavar="NAME", help="who says so (default: your name on this machine)"),
    click.option("--resume", is_flag=True, help="resume the run in this process if no process runs it"),
)


def answering(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the run, the signal, what is said with the answer, and the options that choose runs to a command, whose
    function gets them as two arguments, `named` and `answer`."""

    @wraps(function)
    def with_answer(*args: Any, named: Named, **options: Any) -> Any:
        return function(*args, named=named, answer=Answer(**options))

    declared = naming_without_ids(with_answer)
    for option in reversed(_OPTIONS):
        declared = option(declared)
    return declared


def send_answer(session: Session, named: Named, answer: Answer, *, is_yes: bool) -> int:
    """Send yes or no to the runs that are named; returns the exit code."""
    run_id, signal = shifted(named, answer.run_id, answer.signal)
    if run_id is None and named.choice.is_open:
        raise click.UsageError("say which run is meant: ID, or options that choose runs")
    wanted = named._replace(run_ids=() if run_id is None else (run_id,))
    payload = {"approved": is_yes, "by": answer.by or session.user, "comment": answer.comment}
    return run_async(lambda: send(session, wanted, signal, payload, strict=True, resume=answer.resume))
