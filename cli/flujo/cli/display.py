"""Show a run on stderr while it is advanced.

On a terminal the open steps are redrawn in place and finished ones scroll up; otherwise every event is a line. -q shows
nothing.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flujo.kernel import Event, Progress, StepState, StepStatus, WorkflowState, events
from flujo.kernel.durations import MICROSECONDS, format_duration
from flujo.kernel.programs import loop_of
from flujo.kernel.state import ITEMS, SETTLED

from .session import Session, is_terminal, say
from .text import COLOURS, event_line, event_time, is_usage_only, loop_progress, printable, progress

if TYPE_CHECKING:
    from rich.console import RenderableType

LINES = 10
"""How many open steps are shown at most."""

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_QUIET_FACTS = (
    events.StepStarted,
    events.StepWaiting,
    events.ProgressReported,
)  # on a terminal these show as open steps


class Display(Protocol):
    """Shows a run. `close` may be called twice."""

    def show(self, event: Event, state: WorkflowState) -> None: ...
    def note(self, text: str) -> None: ...
    def close(self) -> None: ...


def display_for(session: Session) -> Display:
    """Return the display that fits where stderr goes."""
    if session.quiet:
        return NoDisplay()
    return LiveDisplay() if is_terminal(sys.stderr) else LineDisplay(session.time)


class NoDisplay:
    """Shows nothing."""

    def show(self, event: Event, state: WorkflowState) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class LineDisplay:
    """Prints a line per event; `time` is the style of --time."""

    def __init__(self, time: str | None = None) -> None:
        self._time = time

    def show(self, event: Event, state: WorkflowState) -> None:
        if _is_routine(event, state):
            return
        if not (isinstance(event.fact, events.ProgressReported) and is_usage_only(event.fact)):
            say(f"{event_time(event.at, self._time)} {event_line(event, state)}")

    def note(self, text: str) -> None:
        say(text)

    def close(self) -> None:
        pass


def _is_routine(event: Event, state: WorkflowState) -> bool:
    """True for the start, a mere wait and the success of an item of a loop, which reports its progress."""
    fact = event.fact
    if not isinstance(fact, events.StepStarted | events.StepCompleted | events.StepWaiting):
        return False
    if isinstance(fact, events.StepWaiting) and fact.signal is not None:
        return False
    loop = state.steps.get(loop_of(fact.step) or "")
    return loop is not None and loop.kind == ITEMS


class OpenStep(NamedTuple):
    """A copy of a step that has begun, for the redrawing thread: the state itself changes meanwhile."""

    name: str
    status: StepStatus
    since: int
    until: int | None
    attempt: int
    max_attempts: int
    signal: str | None
    child: str | None
    progress: Progress | None
    is_loop: bool = False


class LiveDisplay:
    """Redraws the open steps several times a second, in a thread of rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._open_steps: tuple[OpenStep, ...] = ()
        self._footer = ""
        self._since_report: dict[str, tuple[int, int]] = {}  # by loop, its items that have settled, and failed
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def show(self, event: Event, state: WorkflowState) -> None:
        self._count(event, state)
        self._open_steps = tuple(
            OpenStep(
                step.name,
                step.status,
                (step.started_at if step.is_open_loop else step.attempt_started_at) or event.at,
                step.wake_at,
                step.attempt,
                step.max_attempts,
                step.signal,
                step.child,
                self._counted(step) if step.is_open_loop else step.progress,
                step.is_open_loop,
            )
            for step in state.open_steps()
        )
        total = state.steps_total
        self._footer = f"{state.done} of {total} steps done" if total else f"{state.done} steps done"
        if (eta := state.eta_seconds) is not None and total:
            self._footer += f", about {format_duration(round(eta))} left"
        if state.report is not None:
            self._footer += f"; {progress(state.report)}"
        if not isinstance(event.fact, _QUIET_FACTS) and not _is_routine(event, state):
            self._print(event_line(event, state), _word(event, state))

    def _count(self, event: Event, state: WorkflowState) -> None:
        """Count the items of loops that have come to an outcome since their last report."""
        if isinstance(fact := event.fact, events.ProgressReported):
            self._since_report.pop(fact.step or "", None)
        elif isinstance(fact, events.StepCompleted | events.StepFailed) and (loop := loop_of(fact.step)) is not None:
            done, failed = self._since_report.get(loop, (0, 0))
            self._since_report[loop] = done + 1, failed + isinstance(fact, events.StepFailed)

    def _counted(self, loop: StepState) -> Progress | None:
        if (said := loop.progress) is None:
            return None
        done, failed = self._since_report.get(loop.name, (0, 0))
        failed += round(said.metrics.get("failed", 0))
        return said._replace(done=said.done + done, metrics={**said.metrics, "failed": failed})

    def note(self, text: str) -> None:
        self._print(text, "")

    def close(self) -> None:
        self._live.stop()

    def _print(self, text: str, word: str) -> None:
        from rich.text import Text

        try:
            self._console.print(Text(text, style=_style(word)), soft_wrap=True)
        except OSError:  # the terminal has gone away; the run has not
            pass

    def _render(self) -> RenderableType:
        from rich.text import Text

        now = time.time_ns() // 1000
        shown = self._open_steps[:LINES]
        spinner = _SPINNER[now // 125_000 % len(_SPINNER)]
        lines = [f"{spinner} {_describe(step, now)}" for step in shown]
        if (more := len(self._open_steps) - len(shown)) > 0:
            lines.append(f"  and {more} more")
        return Text("\n".join([*lines, self._footer]), no_wrap=True, overflow="ellipsis")


def _describe(step: OpenStep, now: int) -> str:
    name = printable(step.name)
    left = None if step.until is None else format_duration(max(0, step.until - now) // MICROSECONDS)
    if step.status is StepStatus.RETRYING:
        return f"{name}  retrying  attempt {step.attempt + 1} of {step.max_attempts} in {left}"
    if step.is_loop:
        said = "" if step.progress is None else f"  {loop_progress(step.progress)}"
        return f"{name}  running  {format_duration(max(0, now - step.since) // MICROSECONDS)}{said}"
    if step.status is StepStatus.WAITING and step.signal is not None:
        return f"{name}  waiting  for the signal {step.signal}" + (f", {left} at most" if left else "")
    if step.status is StepStatus.WAITING and step.child is not None:
        return f"{name}  waiting  for run {step.child}"
    if step.status is StepStatus.WAITING:
        return f"{name}  waiting  {left} left"
    said = "" if step.progress is None else f"  {progress(step.progress)}"
    attempt = f"  attempt {step.attempt}" if step.attempt > 1 else ""
    return f"{name}  running  {format_duration(max(0, now - step.since) // MICROSECONDS)}{attempt}{said}"


def _word(event: Event, state: WorkflowState) -> str:
    """Return the status whose colour fits the line of an event."""
    step = state.steps.get(event.step) if event.step is not None else None
    if isinstance(event.fact, events.StepInterrupted):
        return "interrupted"
    if step is not None and (step.status in SETTLED or step.status is StepStatus.RETRYING):
        return step.status.value
    return state.status.value if event.type in ("run_completed", "run_failed", "run_cancelled", "run_paused") else ""


def _style(word: str) -> str:
    names = {"31": "red", "32": "green", "33": "yellow", "35": "magenta", "36": "cyan", "2": "dim"}
    return names.get(COLOURS.get(word, ""), "")
