"""Show a run on stderr while it is advanced.

On a terminal the open steps are redrawn in place and finished ones scroll up; otherwise every event is a line. -q shows
nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from flujo.kernel import Event, StepState, WorkflowState, events
from flujo.kernel.api import LogLine

from .event_text import event_line, event_time, is_routine
from .session import Session, has_colour, say
from .text import is_usage_only

if TYPE_CHECKING:
    from rich.console import Console


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
    if not session.draws_on(sys.stderr):
        return LineDisplay(session.time)
    from .live_display import LiveDisplay

    return LiveDisplay(console_of(session))


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
        if is_routine(event, state):
            return
        if not (isinstance(event.fact, events.ProgressReported) and is_usage_only(event.fact)):
            say(f"{event_time(event.at, self._time)} {event_line(event, state)}")

    def note(self, text: str) -> None:
        say(text)

    def announce(self, step: StepState, command: str) -> None:
        say(f"waiting for the signal {step.signal!r}; send it with: {command}")
