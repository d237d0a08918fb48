"""Steps that are performed once per item of a list: `for_each` of any step, and the task `batch`.

    loop_for     a step as the loop that the kernel performs
    result_of    what a loop comes to: `{results, processed, failed, stats}`

The list is rendered when the loop is reached, and again in each later life of its run, from what is recorded. Items see
`item`, `index` and `batch` besides the names that the step sees, and the item under its `arg_name` as well.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import anyio

from flujo.kernel.durations import format_instant
from flujo.kernel.errors import FlujoError, StepFailed
from flujo.kernel.programs import Agenda, ChildCall, ItemOutcome, Loop, LoopEnd, RetryPolicy, plain_options

from .definitions import LoopDefinition, StepDefinition
from .registry import LoopScope, Task
from .templates import holds, render
from .wording import shown

AT_ONCE = 4
"""How many items of a loop are at work at once, unless it or `settings.max_workers` says otherwise."""

NAMED = 3
"""How many failed items the failure of a loop tells of."""

Names = Mapping[str, Any]
CallItem = Callable[[Names], Awaitable[Any]]
"""Calls the task of an item with the names that it sees."""

StartChild = Callable[[Names], Awaitable[ChildCall]]
"""Says which run an item starts, by the names that it sees."""


class ItemsError(FlujoError, TypeError):
    """What a loop is given is not what it needs: its list is none, or a number is none."""

    reason = "INVALID_FIELD"
    type = "ItemsError"


class ItemsFailed(FlujoError):
    """Items of a loop have failed that does not go on."""

    reason = "STEP_FAILED"
    type = "ItemsFailed"


def loop_for(
    step: StepDefinition, loop: LoopDefinition, seen: Names, retry: RetryPolicy, call: CallItem, start: StartChild
) -> Loop:
    """Return the loop that a step stands for; `seen` are the names that the step sees."""

    async def child(agenda: Agenda, index: int) -> ChildCall:
        return await start(_seen_by_item(step.name, loop, seen, agenda, index))

    def body(agenda: Agenda, index: int) -> Callable[[], Awaitable[Any]]:
        return lambda: call(_seen_by_item(step.name, loop, seen, agenda, index))

    def conclude(end: LoopEnd) -> dict[str, Any]:
        if not loop.goes_on and any(outcome.failure is not None for outcome in end.outcomes):
            raise ItemsFailed(_told(end))
        return result_of(end)

    options = plain_options(f"task:{loop.task.name}")._replace(retry=retry, timeout_seconds=step.timeout_seconds)
    return Loop(
        read=lambda: _agenda(step, loop, seen),
        body=body,
        options=options,
        conclude=conclude,
        goes_on=loop.goes_on,
        report_seconds=loop.report_seconds,
        child=child if loop.task.starts_run else None,
    )


async def sharing(task: Task, perform: Callable[[LoopScope | None], Awaitable[Any]]) -> Any:
    """Perform a loop with what its items share, if their task wants that; it ends with the loop."""
    if not task.shares_loop:
        return await perform(None)
    outcome: Any = None
    async with anyio.create_task_group() as tasks:
        try:
            outcome = await perform(LoopScope(tasks))
        except StepFailed as failure:  # which a task group would make a group of one
            outcome = failure
        tasks.cancel_scope.cancel()
    if isinstance(outcome, StepFailed):
        raise outcome
    return outcome


async def _agenda(step: StepDefinition, loop: LoopDefinition, seen: Names) -> Agenda:
    """Return what a loop is to do; raises ItemsError."""
    if step.condition is not None:
        await holds(step.condition, seen)  # true, or that of a loop that had begun; only its error matters here
    items, at_once, chunk_size = await render([loop.items, loop.max_workers, loop.chunk_size], seen)
    if not isinstance(items, list):
        raise ItemsError(f"{loop.told_items} must give a list, {not_a_list(items)}")
    if at_once is None:
        at_once = _number("`settings.max_workers`", seen["settings"].get("max_workers")) or AT_ONCE
    chunk = None if chunk_size is None else _number("`chunk_size`", chunk_size)
    return Agenda(items, _number("`max_workers`", at_once) or AT_ONCE, chunk)


def _number(what: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ItemsError(f"{what} must be a whole number from 1 on, not {shown(value)}")
    return value


def not_a_list(value: Any) -> str:
    """Return what was given for a list, and what to write, as the end of a sentence."""
    if isinstance(value, str):
        return f"not the text {shown(value)}; text is never split: {_for_text(value)}"
    if isinstance(value, dict):
        return (
            f"not the mapping {shown(value)}; write [ ] around it for a list of one item, `| list` for its keys or "
            "`| dictsort` for its pairs"
        )
    return f"not {shown(value)}; write [ ] around it for a list of one item"


def _for_text(text: str) -> str:
    try:
        if isinstance(json.loads(text), list):
            return "it is JSON, so write `| fromjson`, or the list without quotes"
    except ValueError:
        pass
    if "\n" in text.strip():
        return "write `| splitlines` for one item per line"
    return "write `| split` for its words, or [ ] around it for a list of one item"


def _seen_by_item(name: str, loop: LoopDefinition, seen: Names, agenda: Agenda, index: int) -> dict[str, Any]:
    item, total = agenda.items[index], len(agenda.items)
    size = agenda.chunk_size or total
    batch = {
        "item": item,
        "index": index,
        "total": total,
        "name": name,
        "arg_name": loop.arg_name,
        "chunk_index": index // size,
        "chunk_size": size,
    }
    args = {**seen["args"], loop.arg_name: item}
    return {**seen, loop.arg_name: item, "item": item, "index": index, "batch": batch, "args": args}


# -- what a loop comes to ---------------------------------------------------------------------------------------------


def result_of(end: LoopEnd) -> dict[str, Any]:
    """Return the result of a loop. In `results` each item has its place, null if it has failed or was skipped without
    an output; `processed` are the items that have not failed, `failed` tells of the others."""
    total = len(end.outcomes)
    failed = list(_failures(end))
    skipped = sum(outcome.status == "skipped" for outcome in end.outcomes)
    completed = total - len(failed) - skipped
    items = zip(end.agenda.items, end.outcomes, strict=True)
    return {
        "results": [outcome.output for outcome in end.outcomes],
        "processed": [item for item, outcome in items if outcome.status == "completed"],
        "failed": failed,
        "stats": {
            "total": total,
            "completed": completed,
            "processed": completed,
            "failed": len(failed),
            "skipped": skipped,
            "success_rate": round(100 * completed / total, 2) if total else 100.0,
            "start_time": format_instant(end.started_at),
            "end_time": format_instant(end.ended_at),
        },
    }


def failure_at_the_end(name: str, result: Any) -> StepFailed | None:
    """Return the failure with which a run ends that has gone on after failed items of a loop; None if none failed."""
    failed = result["failed"] if isinstance(result, dict) else None
    if not failed:
        return None
    told = [_one(each["step"], each["type"], each["error"]) for each in failed]
    message = f"{len(failed)} of {result['stats']['total']} items failed: {_together(told)}"
    return StepFailed(name, ItemsFailed.type, message, 0)


def _failures(end: LoopEnd) -> Iterator[dict[str, Any]]:
    for index, (item, outcome) in enumerate(zip(end.agenda.items, end.outcomes, strict=True)):
        if (failure := outcome.failure) is not None:
            told = {"error": failure.error, "type": failure.type, "attempt": failure.attempt}
            yield {"index": index, "item": item, "step": failure.step, **told}


def _told(end: LoopEnd) -> str:
    """Tell how a loop has failed."""
    failures = [outcome.failure for outcome in end.outcomes if outcome.failure is not None]
    left = sum(_has_not_begun(outcome) for outcome in end.outcomes)
    unbegun = f", {left} {'was' if left == 1 else 'were'} not begun" if left else ""
    told = [_one(each.step, each.type, each.error) for each in failures]
    return f"{len(failures)} of {len(end.outcomes)} items failed{unbegun}: {_together(told)}"


def _one(step: str, type_: str, error: str) -> str:
    return f"{step}: {type_}: {error}"


def _together(told: Sequence[str]) -> str:
    """Tell of failures in one line, or each in its own if one has several. What the last lines of all say alike, about
    where it was and what was printed, is told once."""
    texts = list(told[:NAMED])
    parting = "\n" if any("\n" in text for text in texts) else "; "
    ends = {text.rpartition("\n")[2] if "\n" in text else "" for text in texts}
    shared = ends if len(texts) > 1 and len(ends) == 1 and ends != {""} else ()
    if shared:
        texts = [text.rpartition("\n")[0] for text in texts]
    if len(told) > NAMED:
        texts.append(f"and {len(told) - NAMED} more")
    return parting.join([*texts, *shared])


def _has_not_begun(outcome: ItemOutcome) -> bool:
    return outcome.status == "pending"
