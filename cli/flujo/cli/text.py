"""Format runs and steps as text: words, columns, colours. Events are in event_text.py.

A status is always a word; colour only repeats it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flujo.kernel.durations import MICROSECONDS, format_duration, format_instant
from flujo.kernel.state import ITEMS, PER_SECOND, Failure, RunStatus, StepStatus, Usage, loop_of

from .session import harmless

if TYPE_CHECKING:
    from flujo.kernel import Progress, RunSummary, StepState, WorkflowState
    from flujo.kernel.events import ProgressReported

COLOURS = {
    "completed": "32",
    "running": "36",
    "waiting": "36",
    "pending": "2",
    "retrying": "33",
    "paused": "33",
    "interrupted": "33",
    "failed": "31",
    "cancelled": "35",
    "skipped": "2",
}


def status_word(status: str, *, interrupted: bool) -> str:
    """Return the status as it is shown; an unfinished run that no process runs is marked as interrupted."""
    return f"{status} (interrupted)" if interrupted else status


def coloured(status: str, *, colour: bool, width: int = 0) -> str:
    """Return a status word in its colour, padded first, so that the escape characters do not count."""
    padded = f"{status:<{width}}"
    kind = "interrupted" if status.endswith("(interrupted)") else status
    return f"\x1b[{COLOURS[kind]}m{padded}\x1b[0m" if colour and kind in COLOURS else padded


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, status: int, colour: bool) -> str:
    """Return rows as columns under their names; `status` is the number of the column to colour."""
    cells = [head, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for number, row in enumerate(cells):
        padded = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        if number and colour:
            padded[status] = coloured(row[status], colour=True, width=widths[status])
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def printable(text: str) -> str:
    """Return a text as one line without control characters: a task or a server may have written it."""
    return harmless(text).replace("\n", " ")


def first_line(text: str, limit: int = 200) -> str:
    """Return the first line of a text, cut to `limit` characters."""
    line = printable(text.strip().partition("\n")[0])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def without_lines(message: str, lines: Collection[str]) -> list[str]:
    """Return the lines of the message of an error but for those that are shown already as last lines of its step."""
    first, *rest = message.splitlines() or [""]
    return [first, *(line for line in rest if printable(re.sub(_END, "", line)) not in lines)]


_END = r"^the end of its std(out|err): "


# ---------------------------------------------------------------------------------------------------------------
# Runs and steps
# ---------------------------------------------------------------------------------------------------------------


def instant(at: int, now: int, style: str) -> str:
    """Return an instant as --time has it: `3m ago` or `in 3m`, seconds since 1970, or ISO 8601 in UTC."""
    if style == "epoch":
        return f"{at / MICROSECONDS:.6f}".rstrip("0").rstrip(".")
    if style == "iso":
        return format_instant(at) or ""
    distance = format_duration(abs(now - at) // MICROSECONDS)
    return f"in {distance}" if at > now + MICROSECONDS else f"{distance} ago"


def elapsed(started_at: int | None, finished_at: int | None, now: int) -> str:
    """Return the time from start to end, or until now."""
    if started_at is None:
        return "-"
    return format_duration(round(max(0, (finished_at or now) - started_at) / MICROSECONDS, 1))


def current_step(run: RunSummary) -> str | None:
    """Return the step that a run is at: the one that it began last, or the loop that this is an item of."""
    return None if run.current_step is None else loop_of(run.current_step) or run.current_step


def awaited_signals(state: WorkflowState) -> list[str]:
    """Return the signals that a run waits for, each once: all items of a loop may wait for the same one."""
    return list(dict.fromkeys(step.signal for step in state.open_steps() if step.signal is not None))


def steps_done(settled: int, total: int | None, failed: int) -> str:
    """Return `3/7`, or `3` when the total is not known. A step that has failed has an outcome, and is not done."""
    done = settled - failed
    return str(done) if total is None else f"{done}/{total}"


def progress_of(run: RunSummary) -> str:
    """Return how far a run of `list` is. A summary names one step that has ended the run, and counts none."""
    return steps_done(run.steps_done, run.steps_total, int(run.status == RunStatus.FAILED and bool(run.failed_step)))


def progress_of_state(state: WorkflowState) -> str:
    """Return how far a run is, with the steps that failed: `3/5 steps, 1 failed`."""
    failed = state.steps_failed
    counted = f"{steps_done(state.done, state.steps_total, failed)} steps"
    return f"{counted}, {failed} failed" if failed else counted


def failure(error: Failure) -> str:
    """Return an error on one line."""
    return f"{printable(error.type)}: {first_line(error.message)}"


def value(output: Any, limit: int | None = 200) -> str:
    """Return a JSON value on one line, a text without quotes; of more lines the first, and how many there are."""
    text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    if limit is None:
        return printable(text)
    lines = len(text.strip().split("\n"))
    return first_line(text, limit) + (f" … ({lines} lines)" if lines > 1 else "")


def outcome(state: WorkflowState, *, colour: bool, interrupted: bool = False) -> str:
    """Return one line on the status of a run."""
    word = coloured(status_word(state.status, interrupted=interrupted), colour=colour)
    took = elapsed(state.started_at, state.finished_at, state.updated_at)
    return f"{word}  {state.run_id}  ({state.workflow}, {progress_of_state(state)}, {took})"


def went_on(state: WorkflowState) -> list[str]:
    """Return which failures a completed run went on after: steps, and items of loops."""
    failed = [step for step in state.steps.values() if step.status is StepStatus.FAILED]
    of_loops: dict[str, int] = {}
    for step in failed:
        if (loop := loop_of(step.name)) is not None and loop in state.steps:
            of_loops[loop] = of_loops.get(loop, 0) + 1
    lines = [
        f"step {step.name} failed, and the run went on: {failure(step.error)}"
        for step in failed
        if step.error is not None and loop_of(step.name) not in of_loops
    ]
    lines += [
        f"{count} item{'s' * (count > 1)} of step {loop} failed, and it went on" for loop, count in of_loops.items()
    ]
    return [printable(line) for line in lines]


def cut_outputs(recorded: str | None) -> str:
    """Return which outputs of a command were cut, as in `stdout was cut`; nothing for any other result. Given as the
    JSON text that is recorded, since hardly any has to be read for that."""
    if recorded is None or '"truncated":true' not in recorded:
        return ""
    result = json.loads(recorded)
    names = [name for name in ("stdout", "stderr") if isinstance(result, dict) and f"{name}_cut" in result]
    return f"{' and '.join(names)} {'were' if len(names) > 1 else 'was'} cut" if names else ""


def cut_steps(steps: Iterable[StepState]) -> list[str]:
    """Return what there is to do about steps whose outputs were cut, as lines; those of a loop by its name, once."""
    found = {loop_of(step.name) or step.name: cut for step in steps if (cut := _cut_of(step))}
    return [
        f"of what step {printable(name)} printed, {cut}; `max_output: BYTES` keeps more, `{cut.split()[0]}: FILE` all"
        for name, cut in list(found.items())[:_OTHERS]
    ]


def _cut_of(step: StepState) -> str:
    return cut_outputs(step.output_json) if step.status is StepStatus.COMPLETED else ""


def failed_as_well(others: Sequence[StepState]) -> list[str]:
    """Return what failed beside the step whose failure a run is told with, as lines."""
    lines = [f"step {step.name} failed as well: {failure(step.error)}" for step in others[:_OTHERS] if step.error]
    if len(others) > _OTHERS:
        lines.append(f"{len(others) - _OTHERS} more steps failed")
    return [printable(line) for line in lines]


_OTHERS = 10
"""How many further failures are told at most."""


def outputs(state: WorkflowState) -> list[str]:
    """Return the output of a run, one line per member."""
    output = state.output
    if output is None:
        return []
    if isinstance(output, dict):
        return [f"  {name}: {value(item)}" for name, item in output.items()]
    return [f"  {value(output)}"]


def step_row(step: StepState, now: int) -> list[str]:
    """Return a row of `inspect`: name, status, attempt, duration, what happened."""
    attempt = f"{step.attempt}/{step.max_attempts}" if step.max_attempts > 1 else str(step.attempt or "-")
    active = step.active_micros
    if step.attempt_started_at is not None and not step.interrupted:
        active += max(0, now - step.attempt_started_at)
    duration = format_duration(round(active / MICROSECONDS, 1)) if step.kind == "task" and step.attempt else "-"
    if step.kind == ITEMS and step.started_at is not None:
        duration = elapsed(step.started_at, step.finished_at, now)
    status = "interrupted" if step.interrupted else "running" if step.is_open_loop else step.status.value
    return [step.name, status, attempt, duration, _remark(step, now)]


def _remark(step: StepState, now: int) -> str:
    if step.status is StepStatus.RETRYING and step.error is not None and step.next_attempt_at is not None:
        left = format_duration(max(0, step.next_attempt_at - now) // MICROSECONDS)
        return f"{failure(step.error)}; next attempt in {left}"
    if step.is_open_loop:
        return "" if step.progress is None else loop_progress(step.progress)
    if step.status is StepStatus.WAITING:
        return _wait(step, now)
    if step.error is not None:
        return failure(step.error)
    if step.kind == ITEMS and step.progress is not None:
        return items_done(step.progress)
    if told := _cut_of(step):
        return told
    return "" if step.progress is None or step.status is not StepStatus.RUNNING else progress(step.progress)


def _wait(step: StepState, now: int) -> str:
    until = "" if step.until is None else f" for {format_duration(max(0, step.until - now) // MICROSECONDS)} at most"
    if step.signal is not None:
        aside = "" if step.error is None else f"; set aside: {first_line(step.error.message)}"
        return f"waits for the signal {step.signal!r}{until}{aside}"
    if step.child is not None:
        return f"waits for run {step.child}"
    return f"sleeps until {format_instant(step.until)}"


def summary_row(run: RunSummary, now: int, *, interrupted: bool, style: str, wide: bool) -> list[str]:
    """Return a row of `list`; instants as `style`, one of --time, has them."""
    row = [
        run.run_id,
        run.workflow,
        status_word(run.status, interrupted=interrupted),
        progress_of(run),
        instant(run.created_at, now, style),
        elapsed(run.started_at, run.finished_at or (run.updated_at if interrupted else None), now),
        str(run.retries),
    ]
    if not wide:
        return row
    labels = ",".join(f"{name}={text}" for name, text in json.loads(run.labels).items())
    error = f"{run.error_type}: {first_line(run.error_message or '', 60)}" if run.error_type else "-"
    extra = [run.version, run.failed_step or current_step(run), run.owner, run.parent_run_id, labels]
    return [*row, instant(run.updated_at, now, style), *(each or "-" for each in extra), error]


def summary_object(run: RunSummary, *, interrupted: bool) -> dict[str, Any]:
    """Return a run of `list` as a JSON object."""
    error = None if run.error_type is None else {"type": run.error_type, "message": run.error_message}
    return {
        "run_id": run.run_id,
        "uid": run.uid,
        "workflow": run.workflow,
        "version": run.version,
        "status": run.status,
        "interrupted": interrupted,
        "labels": json.loads(run.labels),
        "progress": {"done": run.steps_done, "total": run.steps_total, "retries": run.retries},
        "current_step": run.current_step,
        "failed_step": run.failed_step,
        "error": error,
        "owner": run.owner,
        "parent_run_id": run.parent_run_id,
        "resume_count": run.resume_count,
        "seq": run.seq,
        "created_at": format_instant(run.created_at),
        "started_at": format_instant(run.started_at),
        "updated_at": format_instant(run.updated_at),
        "finished_at": format_instant(run.finished_at),
        "wake_at": format_instant(run.wake_at),
    }


# ---------------------------------------------------------------------------------------------------------------
# Progress
# ---------------------------------------------------------------------------------------------------------------


def progress(said: Progress) -> str:
    """Return reported progress on one line: `40 % (4 of 10), item 4`."""
    done, total = f"{said.done:g}", "" if said.total is None else f" of {said.total:g}"
    share = said.share
    counted = f"{done}{total}" if share is None else f"{100 * share:.0f} % ({done}{total})"
    metrics = [f"{name}={number:g}" for name, number in said.metrics.items() if name not in Usage._fields]
    used = [] if said.used is None else [_used(said.used)]
    if is_usage_only(said):
        return used[0]
    return ", ".join([counted, *([printable(said.message)] if said.message else []), *metrics, *used])


def loop_progress(said: Progress) -> str:
    """Return how far a loop is, on one line: `40 % (4000 of 10000), 3 failed, 120/s, about 50s left`."""
    share, failed, rate = said.share, said.metrics.get("failed"), said.metrics.get(PER_SECOND)
    parts = [f"{100 * (share or 0):.0f} % ({said.done:g} of {said.total or 0:g})"]
    if failed:
        parts.append(f"{failed:g} failed")
    if rate:
        parts.append(f"{rate:g}/s")
    if (left := said.seconds_left) and said.done > 1:
        parts.append(f"about {format_duration(round(left))} left")
    return ", ".join(parts)


def items_done(said: Progress) -> str:
    """Return what a loop has come to: `97 of 100 items, 3 failed`."""
    failed = round(said.metrics.get("failed", 0))
    done = f"{said.done - failed:g} of {said.total or 0:g} items"
    return f"{done}, {failed} failed" if failed else done


def is_usage_only(said: Progress | ProgressReported) -> bool:
    """True if a report holds only what commands have used, and nothing that a step has reported itself."""
    nothing = not said.done and said.total is None and said.message is None
    return nothing and bool(said.metrics) and all(name in Usage._fields for name in said.metrics)


def _used(used: Usage) -> str:
    cpu = f"used {used.cpu_seconds:.3g}s of CPU"
    return cpu if used.peak_bytes is None else f"{cpu} and {used.peak_bytes / 1024**2:.0f} MiB at most"


def size_text(size: float) -> str:
    """Return a size such as `812 bytes` or `12.3 MiB`."""
    if size < 1024:
        return f"{size:.0f} bytes"
    power = next((power for power in (1, 2) if size < 1024 ** (power + 1)), 3)
    return f"{size / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"
