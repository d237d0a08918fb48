"""Send signals to runs, one by one or all that options choose, and say how that went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from flujo.kernel import Delivery, Reason, RunStatus, StoredRuns, Why, WorkflowState
from flujo.kernel.api import SIGNALLABLE, RunActedOn

from .connect import acting, reading
from .failures import UnclearSignalError, UnexpectedSignalError
from .going_on import that_work
from .many_runs import Done, act_on_each, ask_all, conclude
from .nearest import nearest
from .output import emit, emit_all
from .resume_many import resume_many
from .resume_run import resume_run
from .selecting import Named, Verb, filter_named, runs_named
from .session import Session
from .target import ServerTarget
from .text import awaited_signals

SIGNAL = Verb("Signal", *SIGNALLABLE)


class Sent(NamedTuple):
    """A signal that is stored: its name, how it went to the run, which signals the run had waited for, and what keeps
    it from going on with one."""

    name: str
    delivery: Delivery
    expected: Sequence[str]
    held: Reason | None = None


async def send(
    session: Session, named: Named, name: str | None, value: Any, *, strict: bool = False, resume: bool = False
) -> int:
    """Send a signal to the runs that are named, without a name the one that each of them waits for; returns the exit
    code. `strict` refuses it for a run that does not wait for it, `resume` goes on with runs that no process runs."""
    if name is None or named.run_ids or strict or not isinstance(session.target, ServerTarget):
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
        _report(session, done[0].run_id, sent[done[0].run_id])
        return 0
    if resume and idle:
        return max(conclude(session, done, "have the signal"), await resume_many(session, idle))
    _report_many(session, sent, is_dry=named.is_dry)
    if idle:
        session.note(f"no process runs {len(idle)} of them")
        session.suggest(f"flujoctl resume {' '.join(named.choice.options())}")
    return conclude(session, done, "have the signal")


async def _send_each(
    session: Session, named: Named, name: str | None, value: Any, *, strict: bool
) -> Sequence[Done[Sent]]:
    """Send the signal to one run after the other."""
    run_ids = await runs_named(session, named, SIGNAL)
    async with reading(session.target) as runs:

        async def send(run_id: str) -> Sent:
            expected = _expected(await runs.inspect(run_id))
            if strict and name is not None and name not in expected:
                raise UnexpectedSignalError(run_id, name, expected)
            signal = name or _only(run_id, await _unanswered(runs, run_id))
            delivery = await runs.signal(run_id, signal, value, by=session.user)
            is_paused = (await runs.summary(run_id)).status == RunStatus.PAUSED
            if delivery is not Delivery.STORED and not is_paused:
                return Sent(signal, delivery, expected)
            held = (await runs.explain(run_id)).reasons[0]
            ways = that_work(session, await runs.inspect(run_id), held.commands)
            return Sent(signal, Delivery.STORED, expected, held._replace(commands=ways))

        return await act_on_each(session, run_ids, send)


async def _send_all(session: Session, named: Named, name: str, value: Any) -> Sequence[Done[Sent]]:
    """Have a server send the signal to all runs that options choose."""
    if (wanted := await filter_named(session, named, SIGNAL)) is None:
        return []
    async with acting(session.target) as runs:
        return await ask_all(runs.signal_runs, wanted, name, value, by=session.user, read=partial(_sent, name))


def _sent(name: str, run: RunActedOn) -> Sent:
    if run.status == RunStatus.PAUSED:
        return Sent(name, Delivery.STORED, ())
    return Sent(name, Delivery(run.outcome) if run.outcome in set(Delivery) else Delivery.UNKNOWN, ())


def _report_many(session: Session, sent: Mapping[str, Sent], *, is_dry: bool) -> None:
    if session.output != "table":
        answers = [_answer(run_id, each) for run_id, each in sent.items()]
        if not is_dry:
            emit_all(answers, session.output)
    elif not session.quiet:
        for run_id, each in sent.items():
            print(f"signal {each.name} sent to run {run_id}")


def _answer(run_id: str, sent: Sent) -> Mapping[str, str]:
    return {"run_id": run_id, "signal": sent.name, "delivery": sent.delivery.value}


def _only(run_id: str, expected: Sequence[str]) -> str:
    """Return the signal that a run waits for. Raises UnclearSignalError if that is none, or more than one."""
    if len(expected) != 1:
        raise UnclearSignalError(run_id, expected)
    return expected[0]


async def _unanswered(runs: StoredRuns, run_id: str) -> list[str]:
    """Return the signals that a run waits for and that nobody has sent: a second answer would be for a later wait."""
    reasons = (await runs.explain(run_id)).reasons
    steps = {reason.step for reason in reasons if reason.why is Why.SIGNAL}
    state = await runs.inspect(run_id)
    return sorted({step.signal for step in state.open_steps() if step.signal is not None and step.name in steps})


def _expected(state: WorkflowState) -> list[str]:
    """Return the names of the signals that a run waits for now."""
    return sorted(awaited_signals(state))


def _report(session: Session, run_id: str, sent: Sent) -> None:
    name, delivery, expected, held = sent
    if session.output != "table":
        emit(_answer(run_id, sent), session.output)
    elif not session.quiet:
        print(f"signal {name} sent to run {run_id}")
    if delivery is Delivery.STORED:
        is_plain = held is None or held.why is not Why.UNREGISTERED
        told = ", and no process runs this run" if is_plain or held is None else f"; of run {run_id}: {held.text}"
        session.note(f"the signal is stored{told}")
        for command in [f"flujoctl resume {run_id}"] if held is None else held.commands:
            session.suggest(command)
    if expected and name not in expected:
        session.note(f"run {run_id} does not wait for the signal {name!r} now, but for {', '.join(expected)}")
        session.suggest(f"flujoctl signal {run_id} {nearest(name, expected) or expected[0]}")
