"""`flujoctl signal`: send a signal to a run that waits for it, or will."""

from __future__ import annotations

import json
from typing import Any

import click

from flujo.cli.inputs import parse_json
from flujo.cli.selecting import Named, naming_without_ids, shifted
from flujo.cli.session import Session, declare, run_async
from flujo.cli.signalling import send


@declare("signal", formats=("table", "json", "jsonl", "yaml"))
@click.argument("run_id", metavar="ID", required=False)
@click.argument("name", metavar="NAME", required=False)
@click.argument("payload", metavar="[JSON|TEXT]", required=False)
@click.option(
    "--json", "only_json", is_flag=True, help="refuse a payload that is not JSON instead of taking it as text"
)
@click.option("--strict", is_flag=True, help="refuse a signal that the run does not wait for now")
@click.option("--resume", is_flag=True, help="resume the run in this process if no process runs it")
@naming_without_ids
def command(
    session: Session,
    run_id: str | None,
    name: str | None,
    payload: str | None,
    only_json: bool,
    strict: bool,
    resume: bool,
    named: Named,
) -> int:
    """Send the signal NAME to a run, with a payload: JSON if it can be read as such, or else text. Default: null.

    Without ID, to all runs that options choose, by default those that wait. The signal is stored when this command
    returns. A run that does not wait for it yet takes it later; if it waits for another signal, that one is named.
    """
    run_id, name, payload = shifted(named, run_id, name, payload)
    if name is None:
        raise click.UsageError("say which signal is for which run: ID NAME, or NAME and options that choose runs")
    value = _read(payload, only_json)
    wanted = named._replace(run_ids=() if run_id is None else (run_id,))
    return run_async(lambda: send(session, wanted, name, value, strict=strict, resume=resume))


def _read(payload: str | None, only_json: bool) -> Any:
    if payload is None:
        return None
    try:
        json.loads(payload)
    except json.JSONDecodeError:
        if not only_json:
            return payload
    except (ValueError, RecursionError):
        pass  # it is JSON that nobody can read
    return parse_json(payload, "the payload")
