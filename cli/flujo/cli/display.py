"""Show a run on stderr while it is advanced.

On a terminal the open steps are redrawn in place and finished ones scroll up; otherwise every event is a line. -q shows
nothing.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from flujo.kernel import Event, Progress, StepState, StepStatus, WorkflowState, events
from flujo.kernel.api import LogLine
from flujo.kernel.programs import loop_of
from flujo.kernel.state import ITEMS, SETTLED

from .event_text import event_line, event_time
from .live_view import ASCII, SAID, UNICODE, OpenStep, View, drawn, footer_of
from .session import Session, has_colour, say
from .text import COLOURS, is_usage_only

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_QUIET_FACTS = (
    events.StepStarted,
    events.StepWaiting,
    events.ProgressReported,
)  # on a terminal these show as open steps

_STEPS_HEARD = 100
"""Of how many steps the last lines are kept: those that have printed something last."""


class Display(Protocol):
    """Shows a run. `close` may be called twice; `shows_output` says whether `hear` is of use."""

    shows_output: bool

    def show(self, event: Event, state: WorkflowState) -> None: ...
    def note(self, text: str) -> None: ...
    def announce(self, step: StepState, command: str) -> None: ...
    def hear(self, lines: Iterable[LogLine]) -> None: ...
    def close(self) -> None: ...


def display_for(session: Session) -> Display:
    """Return the display that fits where stderr goes."""
    if session.quiet:
        return NoDisplay()
    return LiveDisplay(console_of(session)) if session.draws_on(sys.stderr) else LineDisplay(session.time)


def console_of(session: Session) -> Console:
    """Return what draws on stderr, with colours if they are wanted there."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, no_color=not has_colour(sys.stderr, session.color))


class NoDisplay:
    """Shows nothing."""

    shows_output = False

    def show(self, event: Event, state: WorkflowState) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def announce(self, step: StepState, command: str) -> None:
        pass

    def hear(self, lines: Iterable[LogLine]) -> None:
        pass

    def close(self) -> None:
        pass


class LineDisplay(NoDisplay):
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

    def announce(self, step: StepState, command: str) -> None:
        say(f"waiting for the signal {step.signal!r}; send it with: {command}")


def _is_routine(event: Event, state: WorkflowState) -> bool:
    """True for the start, a mere wait and the success of an item of a loop, which reports its progress."""
    fact = event.fact
    if not isinstance(fact, events.StepStarted | events.StepCompleted | events.StepWaiting):
        return False
    if isinstance(fact, events.StepWaiting) and fact.signal is not None:
        return False
    loop = state.steps.get(loop_of(fact.step) or "")
    return loop is not None and loop.kind == ITEMS


class LiveDisplay:
    """Redraws the open steps several times a second, in a thread of rich."""

    shows_output = True

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._marks = UNICODE if self._console.encoding.lower().startswith("utf") else ASCII
        self._view = View()
        self._heard: dict[str, deque[str]] = {}
        self._answers: dict[str, str] = {}
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
        steps = tuple(
            OpenStep.of(step, event, self._counted(step) if step.is_open_loop else step.progress)
            for step in state.open_steps()
        )
        waiting = {step.name for step in steps if step.status is StepStatus.WAITING}
        self._answers = {name: command for name, command in self._answers.items() if name in waiting}
        self._view = View(steps, self._heard_of(steps), self._answers, footer_of(state), state.started_at)
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

    def announce(self, step: StepState, command: str) -> None:
        self._answers = {**self._answers, step.name: command}
        self._view = self._view._replace(answers=self._answers)

    def hear(self, lines: Iterable[LogLine]) -> None:
        for line in lines:
            if line.step is not None:
                heard = self._heard.pop(line.step, None) or deque(maxlen=SAID)
                heard.append(line.text.rstrip("\r").rpartition("\r")[2])  # a bar that was drawn over and over: its end
                self._heard[line.step] = heard
        for step in list(self._heard)[:-_STEPS_HEARD]:
            del self._heard[step]
        self._view = self._view._replace(said=self._heard_of(self._view.steps))

    def _heard_of(self, steps: Iterable[OpenStep]) -> dict[str, tuple[str, ...]]:
        return {step.name: tuple(self._heard[step.name]) for step in steps if step.name in self._heard}

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

        lines = drawn(self._view, time.time_ns() // 1000, self._console.width, self._marks)
        text = Text(no_wrap=True, overflow="crop")
        for number, line in enumerate(lines):
            text.append(f"\n{line.text}" if number else line.text, style=line.style)
        return text


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
