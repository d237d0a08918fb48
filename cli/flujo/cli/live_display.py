"""Show a run on a terminal: the open steps are redrawn in place, and finished ones scroll up.

Imported where something is drawn: with rich it takes as long to import as a fifth of a command.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from flujo.kernel import Event, Progress, StepState, StepStatus, WorkflowState, events
from flujo.kernel.api import LogLine
from flujo.kernel.programs import loop_of
from flujo.kernel.state import SETTLED

from .event_text import event_line, is_routine
from .live_view import ASCII, SAID, UNICODE, OpenStep, View, drawn, footer_of
from .text import COLOURS

_QUIET_FACTS = (
    events.StepStarted,
    events.StepWaiting,
    events.ProgressReported,
)  # on a terminal these show as open steps

_STEPS_HEARD = 100
"""Of how many steps the last lines are kept: those that have printed something last."""


class LiveDisplay:
    """Redraws the open steps several times a second, in a thread of rich."""

    shows_output = True

    def __init__(self, console: Console) -> None:
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
        if not isinstance(event.fact, _QUIET_FACTS) and not is_routine(event, state):
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
        try:
            self._console.print(Text(text, style=_style(word)), soft_wrap=True)
        except OSError:  # the terminal has gone away; the run has not
            pass

    def _render(self) -> RenderableType:
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
