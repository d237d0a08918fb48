"""`flujoctl signal`: send a signal to a run that waits for it, or will."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click

from flujo.cli.connect import acting, reading
from flujo.cli.failures import UnexpectedSignalError
from flujo.cli.inputs import parse_json
from flujo.cli.many_runs import Done, act_on_each, ask_all, conclude
from flujo.cli.nearest import nearest
from flujo.cli.output import emit, emit_all
from flujo.cli.resume_many import resume_many
from flujo.cli.resume_run import resume_run
from flujo.cli.selecting import Named, Verb, filter_named, naming_without_ids, runs_named, shifted
from flujo.cli.session import Session, declare, run_async
from flujo.cli.target import ServerTarget
from flujo.kernel import Delivery, RunStatus, WorkflowState
from flujo.kernel.api import SIGNALLABLE, RunActedOn

SIGNAL = Verb("Signal", *SIGNALLABLE)


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
    return run_async(lambda: _send(session, wanted, name, value, strict=strict, resume=resume))


class Sent(NamedTuple):
    """A signal that is stored: how it went to the run, and which signals the run had waited for."""

    delivery: Delivery
    expected: Sequence[str]


async def _send(session: Session, named: Named, name: str, value: Any, *, strict: bool, resume: bool) -> int:
    if named.run_ids or strict or not isinstance(session.target, ServerTarget):
        done = await _send_each(session, named, name, value, strict=strict)
    else:
        done = await _send_all(session, named, name, value)
    sent = {each.run_id: each.answer for each in done if each.answer is not None}
    idle = [run_id for run_id, answer in sent.items() if answer.delivery is Delivery.STORED]
    if named.is_one:
        if done[0].error is not None:
            raise done[0].error
        if idle and resume:
            return await resume_run(session, idle[0])
        _report(session, done[0].run_id, name, sent[done[0].run_id])
        return 0
    if resume and idle:
        return max(conclude(session, done, "have the signal"), await resume_many(session, idle))
    _report_many(session, name, sent, is_dry=named.is_dry)
    if idle:
        session.note(f"no process runs {len(idle)} of them")
        session.suggest(f"flujoctl resume {' '.join(named.choice.options())}")
    return conclude(session, done, "have the signal")


async def _send_each(session: Session, named: Named, name: str, value: Any, *, strict: bool) -> Sequence[Done[Sent]]:
    """Send the signal to one run after the other."""
    run_ids = await runs_named(session, named, SIGNAL)
    async with reading(session.target) as runs:

        async def send(run_id: str) -> Sent:
            expected = _expected(await runs.inspect(run_id))
            if strict and name not in expected:
                raise UnexpectedSignalError(run_id, name, expected)
            delivery = await runs.signal(run_id, name, value, by=session.user)
            is_paused = (await runs.summary(run_id)).status == RunStatus.PAUSED
            return Sent(Delivery.STORED if is_paused else delivery, expected)

        return await act_on_each(session, run_ids, send)


async def _send_all(session: Session, named: Named, name: str, value: Any) -> Sequence[Done[Sent]]:
    """Have a server send the signal to all runs that options choose."""
    if (wanted := await filter_named(session, named, SIGNAL)) is None:
        return []
    async with acting(session.target) as runs:
        return await ask_all(runs.signal_runs, wanted, name, value, by=session.user, read=_sent)


def _sent(run: RunActedOn) -> Sent:
    if run.status == RunStatus.PAUSED:
        return Sent(Delivery.STORED, ())
    return Sent(Delivery(run.outcome) if run.outcome in set(Delivery) else Delivery.UNKNOWN, ())


def _report_many(session: Session, name: str, sent: Mapping[str, Sent], *, is_dry: bool) -> None:
    if session.output != "table":
        answers = [{"run_id": run_id, "signal": name, "delivery": each.delivery.value} for run_id, each in sent.items()]
        if not is_dry:
            emit_all(answers, session.output)
    elif not session.quiet:
        for run_id in sent:
            print(f"signal {name} sent to run {run_id}")


def _expected(state: WorkflowState) -> list[str]:
    """Return the names of the signals that a run waits for now."""
    return sorted({step.signal for step in state.open_steps() if step.signal is not None})


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


def _report(session: Session, run_id: str, name: str, sent: Sent) -> None:
    delivery, expected = sent
    if session.output != "table":
        emit({"run_id": run_id, "signal": name, "delivery": delivery.value}, session.output)
    elif not session.quiet:
        print(f"signal {name} sent to run {run_id}")
    if delivery is Delivery.STORED:
        session.note("the signal is stored, and no process runs this run")
        session.suggest(f"flujoctl resume {run_id}")
    if expected and name not in expected:
        session.note(f"run {run_id} does not wait for the signal {name!r} now, but for {', '.join(expected)}")
        session.suggest(f"flujoctl signal {run_id} {nearest(name, expected) or expected[0]}")
