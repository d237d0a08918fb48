"""`flujoctl signal`: send a signal to a run that waits for it, or will."""

from __future__ import annotations

import json
from typing import Any

import click

from flujo.cli.connect import reading
from flujo.cli.failures import UnexpectedSignalError
from flujo.cli.find_run import find_run
from flujo.cli.inputs import parse_json
from flujo.cli.nearest import nearest
from flujo.cli.output import emit
from flujo.cli.resume_run import resume_run
from flujo.cli.session import Session, declare, run_async
from flujo.kernel import Delivery, RunStatus, WorkflowState


@declare("signal", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID")
@click.argument("name", metavar="NAME")
@click.argument("payload", metavar="[JSON|TEXT]", required=False)
@click.option(
    "--json", "only_json", is_flag=True, help="refuse a payload that is not JSON instead of taking it as text"
)
@click.option("--strict", is_flag=True, help="refuse a signal that the run does not wait for now")
@click.option("--resume", is_flag=True, help="resume the run in this process if no process runs it")
def command(
    session: Session, run_id: str, name: str, payload: str | None, only_json: bool, strict: bool, resume: bool
) -> int:
    """Send the signal NAME to a run, with a payload: JSON if it can be read as such, or else text. Default: null.

    The signal is stored when this command returns. A run that does not wait for it yet takes it later; if it waits for
    another signal, that one is named.
    """
    value = _read(payload, only_json)

    async def send() -> int:
        async with reading(session.target) as runs:
            found = await find_run(runs, run_id)
            expected = _expected(await runs.inspect(found))
            if strict and name not in expected:
                raise UnexpectedSignalError(found, name, expected)
            delivery = await runs.signal(found, name, value, by=session.user)
            is_paused = (await runs.summary(found)).status == RunStatus.PAUSED
        is_idle = is_paused or delivery is Delivery.STORED
        if is_idle and resume:
            return await resume_run(session, found)
        _report(session, found, name, Delivery.STORED if is_idle else delivery)
        if expected and name not in expected:
            session.note(f"run {found} does not wait for the signal {name!r} now, but for {', '.join(expected)}")
            session.suggest(f"flujoctl signal {found} {nearest(name, expected) or expected[0]}")
        return 0

    return run_async(send)


def _expected(state: WorkflowState) -> list[str]:
    """Return the names of the signals that a run waits for now."""
    return sorted({step.signal for step in state.open_steps() if step.signal is not None})


def _read(payload: str | None, only_json: bool) -> Any:
    if payload is None:
        return None
    if only_json:
        return parse_json(payload, "the payload")
    try:
        return json.loads(payload)
    except ValueError:
        return payload


def _report(session: Session, run_id: str, name: str, delivery: Delivery) -> None:
    if session.output != "table":
        emit({"run_id": run_id, "signal": name, "delivery": delivery.value}, session.output)
    elif not session.quiet:
        print(f"signal {name} sent to run {run_id}")
    if delivery is Delivery.STORED:
        session.note("the signal is stored, and no process runs this run")
        session.suggest(f"flujoctl resume {run_id}")
