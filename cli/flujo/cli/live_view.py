"""What a terminal shows of a run that goes on: one step after the other, in lines that fit its width.

Everything here is a plain function of what is known of the run, the time and the terminal; `display.py` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flujo.kernel import Event, Progress, StepState, StepStatus, WorkflowState
from flujo.kernel.durations import MICROSECONDS, format_duration
from flujo.kernel.state import PER_SECOND, Failure

from .text import failure, loop_progress, printable, progress

LINES = 10
"""How many open steps are shown at most."""

SAID = 3
"""How many of the last lines of a step are shown at most."""

_BAR = 20
"""The width of a bar, where the terminal has room for it."""

_NARROW = 80
"""A terminal with fewer columns has bars of half the width."""


class Marks(NamedTuple):
    """The characters that are drawn with."""

    spinner: str
    done: str
    left: str
    said: str
    cut: str


UNICODE = Marks("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "━", "─", "│", "…")
ASCII = Marks("|/-\\", "#", ".", "|", "...")
"""For terminals whose encoding has no others."""


class Line(NamedTuple):
    """A line and the name of its style in rich, "" for none."""

    text: str
    style: str = ""


class OpenStep(NamedTuple):
    """A copy of a step that has begun, for the thread that draws: the state itself changes meanwhile."""

    name: str
    status: StepStatus
    since: int
    until: int | None
    attempt: int
    max_attempts: int
    signal: str | None
    child: str | None
    progress: Progress | None
    error: Failure | None = None
    is_loop: bool = False

    @classmethod
    def of(cls, step: StepState, event: Event, progress: Progress | None) -> OpenStep:
        """Return a copy of a step as it is after an event."""
        return cls(
            step.name,
            step.status,
            (step.started_at if step.is_open_loop else step.attempt_started_at) or event.at,
            step.wake_at,
            step.attempt,
            step.max_attempts,
            step.signal,
            step.child,
            progress,
            step.error,
            step.is_open_loop,
        )


class View(NamedTuple):
    """What is known of a run: its open steps, what each of them has said last, and the commands that answer waits."""

    steps: Sequence[OpenStep] = ()
    said: Mapping[str, Sequence[str]] = {}
    answers: Mapping[str, str] = {}
    footer: str = ""
    started_at: int | None = None


CTRL_C = "^C"
"""What a terminal writes when that is pressed."""


def drawn(view: View, now: int, columns: int, marks: Marks) -> list[Line]:
    """Return the lines of a run at the instant `now`, each at most `columns` wide, and the last one less: a terminal
    writes `^C` behind it, which would begin a line of its own, and leave one of these behind."""
    spinner = marks.spinner[now // 125_000 % len(marks.spinner)]
    lines = []
    for step in view.steps[:LINES]:
        lines.append(Line(f"{spinner} {_described(step, now, columns, marks)}"))
        if (command := view.answers.get(step.name)) is not None:
            lines += [Line(each, "cyan") for each in _whole(command, columns)]
        lines += [Line(f"  {marks.said} {printable(each)}", "dim") for each in view.said.get(step.name, ())[-SAID:]]
    if (more := len(view.steps) - LINES) > 0:
        lines.append(Line(f"  and {more} more"))
    took = "" if view.started_at is None else f", {_since(view.started_at, now)} so far"
    lines = [line._replace(text=_cut(line.text, columns, marks)) for line in lines]
    return [*lines, Line(_cut(view.footer + took, max(0, columns - len(CTRL_C)), marks))]


def footer_of(state: WorkflowState) -> str:
    """Return how far a run is, on one line."""
    total = state.steps_total
    failed = state.steps_failed
    done = state.done - failed
    text = f"{done} of {total} steps done" if total else f"{done} steps done"
    if failed:
        text += f", {failed} failed"
    if (eta := state.eta_seconds) is not None and total:
        text += f", about {format_duration(round(eta))} left"
    return text if state.report is None else f"{text}; {progress(state.report)}"


def _since(instant: int, now: int) -> str:
    return format_duration(max(0, now - instant) // MICROSECONDS)


def _whole(command: str, columns: int) -> list[str]:
    """Return the lines of a command that answers: it is there to be typed, so it is broken and never cut."""
    from rich.cells import cell_len, chop_cells

    line = f"    answer with: {command}"
    return [line] if cell_len(line) <= columns else ["    answer with:", *chop_cells(command, columns)]


def _cut(text: str, columns: int, marks: Marks) -> str:
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= columns:
        return text
    return set_cell_size(text, max(0, columns - len(marks.cut))) + marks.cut[:columns]


def _described(step: OpenStep, now: int, columns: int, marks: Marks) -> str:
    name = printable(step.name)
    left = None if step.until is None else format_duration(max(0, step.until - now) // MICROSECONDS)
    if step.status is StepStatus.RETRYING:
        why = "" if step.error is None else f"  {failure(step.error)}"
        return f"{name}  retrying  attempt {step.attempt + 1} of {step.max_attempts} in {left}{why}"
    if step.is_loop:
        took = _since(step.since, now)
        if step.progress is None:
            return f"{name}  running  {took}"
        rated = _with_rate(step.progress, now - step.since)
        return f"{name}  {_bar(rated, columns, marks)}  {loop_progress(rated)}"
    if step.status is StepStatus.WAITING and step.signal is not None:
        return f"{name}  waiting  for the signal {step.signal}" + (f", {left} at most" if left else "")
    if step.status is StepStatus.WAITING and step.child is not None:
        return f"{name}  waiting  for run {step.child}"
    if step.status is StepStatus.WAITING:
        return f"{name}  waiting  {left} left"
    said = "" if step.progress is None else f"  {progress(step.progress)}"
    if step.progress is not None and step.progress.share is not None:
        said = f"  {_bar(step.progress, columns, marks)}{said}"
    attempt = f"  attempt {step.attempt}" if step.attempt > 1 else ""
    return f"{name}  running  {_since(step.since, now)}{attempt}{said}"


def _with_rate(said: Progress, took: int) -> Progress:
    """Return how far a loop is with its rate so far, where no report has told one yet; `took` is in microseconds."""
    if PER_SECOND in said.metrics or said.done < 2 or took < MICROSECONDS:
        return said
    return said._replace(metrics={**said.metrics, PER_SECOND: round(said.done * MICROSECONDS / took, 2)})


def _bar(said: Progress, columns: int, marks: Marks) -> str:
    width = _BAR if columns >= _NARROW else _BAR // 2
    done = round(width * min(1.0, max(0.0, said.share or 0.0)))
    return marks.done * done + marks.left * (width - done)
