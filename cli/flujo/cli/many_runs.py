"""Do one short thing to each of many runs: one after the other, or with calls that are about a page of them.

What fails for one keeps none of the others from it, and is told at the end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from uuid import uuid4

from flujo.kernel.errors import FlujoError

from . import failures
from .counting import Counter
from .session import Session, say

if TYPE_CHECKING:
    from flujo.kernel.api import BulkResult, RunActedOn
    from flujo.kernel.backend import RunQuery

Answer = TypeVar("Answer")

_PAGE = 1000
"""How many runs one call asks; servers take no more."""

_TOLD = 5
"""How many refusals are told one by one."""


class Done(NamedTuple, Generic[Answer]):
    """What became of one run: the answer of the command for it, or why there is none."""

    run_id: str
    answer: Answer | None
    error: FlujoError | None


async def act_on_each(
    session: Session, run_ids: Sequence[str], act: Callable[[str], Awaitable[Answer]]
) -> Sequence[Done[Answer]]:
    """Do `act` to each run, one after the other, and return what became of each."""
    done: list[Done[Answer]] = []
    with Counter(session, len(run_ids)) as counter:
        for run_id in run_ids:
            try:
                done.append(Done(run_id, await act(run_id), None))
            except FlujoError as error:
                done.append(Done(run_id, None, error))
            counter.show(len(done))
    return done


async def ask_all(
    ask: Callable[..., Awaitable[BulkResult]],
    wanted: RunQuery,
    *given: Any,
    read: Callable[[RunActedOn], Answer],
    **asked: Any,
) -> Sequence[Done[Answer]]:
    """Ask the same of all runs that a filter chooses, with one call a page, and return what became of each: `read`
    gives the answer for one that was not refused. A call that is repeated because its connection was cut asks no run
    twice."""
    done: list[Done[Answer]] = []
    options = {"request_id": uuid4().hex, "limit": _PAGE, **asked, **wanted}
    page: str | None = None
    while True:
        result = await ask(*given, page=page, **options)
        for run in result.runs:
            refused = None if run.reason is None else failures.of_reason(run.reason, run.message)
            done.append(Done(run.run_id, None if refused else read(run), refused))
        if (page := result.next) is None:
            return done


def conclude(session: Session, done: Sequence[Done[Any]], word: str) -> int:
    """Tell what did not work, and of how many; returns the exit code, that of the worst error. `word` is what was done,
    as in `3 runs skipped, 1 refused`."""
    refused = [each.error for each in done if each.error is not None]
    code = 0
    for number, error in enumerate(refused):
        code = max(code, failures.report(error, session) if number < _TOLD else failures.exit_code(error))
    if len(refused) > _TOLD:
        say(f"and {len(refused) - _TOLD} more")
    count = len(done) - len(refused)
    if done:
        session.note(
            f"{count} run{'' if count == 1 else 's'} {word}" + (f", {len(refused)} refused" if refused else "")
        )
    return code
