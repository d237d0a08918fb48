"""When each attempt of each step ran, and when it waited: read off the events of a run, drawn for a terminal or written
in the Trace Event Format that the trace viewers of browsers read."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from flujo.kernel import Event, events
from flujo.kernel.durations import MICROSECONDS, format_duration, format_instant
from flujo.kernel.state import ITEMS

from .text import printable

MOST_ROWS = 200
"""How many steps a drawing shows; a file for a viewer has all."""


class Kind(StrEnum):
    """What a step does meanwhile."""

    ATTEMPT = "attempt"
    BACKOFF = "backoff"
    SLEEP = "sleep"
    SIGNAL = "signal"
    CHILD = "child"
    ITEMS = "items"


class Span(NamedTuple):
    """A time in a step's life, in microseconds UTC. It ends with an outcome, or goes on while `ended` is None."""

    step: str
    kind: Kind
    attempt: int
    began: int
    ended: int | None
    outcome: str

    def to_dict(self) -> dict[str, Any]:
        """Return the span as users see it in JSON."""
        return {
            "step": self.step,
            "kind": self.kind.value,
            "attempt": self.attempt,
            "started_at": format_instant(self.began),
            "finished_at": format_instant(self.ended),
            "outcome": self.outcome,
        }


_OUTCOMES: dict[type[Any], str] = {
    events.StepCompleted: "completed",
    events.StepFailed: "failed",
    events.AttemptFailed: "failed",
    events.StepCancelled: "cancelled",
    events.StepSkipped: "skipped",
    events.StepOutputSet: "set",
    events.StepInterrupted: "interrupted",
}
_WAITS = {"sleep": Kind.SLEEP, "signal": Kind.SIGNAL, "child": Kind.CHILD, ITEMS: Kind.ITEMS}


def spans_of(recorded: Iterable[Event]) -> list[Span]:
    """Return the spans of a run, in the order in which they began."""
    found: list[Span] = []
    open_spans: dict[str, int] = {}

    def close(step: str, at: int, outcome: str) -> None:
        if (place := open_spans.pop(step, None)) is not None:
            found[place] = found[place]._replace(ended=max(at, found[place].began), outcome=outcome)

    def begin(step: str, kind: Kind, attempt: int, at: int) -> None:
        close(step, at, "went on")
        open_spans[step] = len(found)
        found.append(Span(step, kind, attempt, at, None, "open"))

    for event in recorded:
        fact, at = event.fact, event.at
        match fact:
            case events.StepStarted():
                begin(fact.step, Kind.ATTEMPT, fact.attempt, at)
            case events.StepWaiting():
                begin(fact.step, _WAITS.get(fact.kind, Kind.SIGNAL), 1, at)
            case events.StepInterrupted():
                close(fact.step, fact.last_alive_at or at, "interrupted")
            case events.AttemptFailed():
                close(fact.step, at, "failed")
                begin(fact.step, Kind.BACKOFF, fact.attempt, at)
            case _ if (outcome := _OUTCOMES.get(type(fact))) is not None and event.step is not None:
                close(event.step, at, outcome)
    return found


def lanes_of(spans: Sequence[Span], now: int) -> list[int]:
    """Return a lane for each span, as few as possible, so that no two on one lane overlap."""
    lanes = [0] * len(spans)
    busy: list[tuple[int, int]] = []  # (free from, lane)
    free: list[int] = []
    for place in sorted(range(len(spans)), key=lambda each: (spans[each].began, each)):
        span = spans[place]
        while busy and busy[0][0] <= span.began:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        lanes[place] = lane
        heapq.heappush(busy, (max(_end(span, now), span.began + 1), lane))
    return lanes


def as_trace(run_id: str, workflow: str, spans: Sequence[Span], now: int) -> dict[str, Any]:
    """Return a trace for chrome://tracing, Perfetto and the like; times count from the first span."""
    start = min((span.began for span in spans), default=now)
    lanes = lanes_of(spans, now)
    slices = [
        {
            "name": span.step if span.kind is Kind.ATTEMPT else f"{span.step} ({span.kind})",
            "cat": span.kind.value,
            "ph": "X",
            "ts": span.began - start,
            "dur": _end(span, now) - span.began,
            "pid": 1,
            "tid": lane + 1,
            "args": {"step": span.step, "attempt": span.attempt, "outcome": span.outcome},
        }
        for span, lane in zip(spans, lanes, strict=True)
    ]
    names = [
        {"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": f"{workflow} {run_id}"}},
        *(
            {"name": "thread_name", "ph": "M", "pid": 1, "tid": lane + 1, "args": {"name": f"lane {lane + 1}"}}
            for lane in sorted(set(lanes))
        ),
    ]
    return {"traceEvents": [*names, *slices], "displayTimeUnit": "ms", "otherData": {"run_id": run_id, "start": start}}


def as_text(spans: Sequence[Span], now: int, width: int, *, unicode: bool) -> Iterator[str]:
    """Yield a line for each step: its name, a bar on the time of the run, and how long it worked and waited."""
    if not spans:
        return
    start = min(span.began for span in spans)
    length = max(1, max(_end(span, now) for span in spans) - start)
    rows: dict[str, list[Span]] = {}
    for span in spans:
        rows.setdefault(span.step, []).append(span)
    shown = list(rows.items())[:MOST_ROWS]
    names = min(30, max(len(printable(step)) for step, _ in shown))
    room = max(10, width - names - 24)
    yield f"{'':<{names}}  0{format_duration(length / MICROSECONDS):>{room - 1}}"
    for step, own in shown:
        bar = [" "] * room
        for span in own:
            _fill(bar, span, start, length, now, unicode=unicode)
        yield f"{_cut(printable(step), names):<{names}}  {''.join(bar)}  {_told(own, now)}".rstrip()


def _fill(bar: list[str], span: Span, start: int, length: int, now: int, *, unicode: bool) -> None:
    marks: Mapping[bool, str] = {True: "█" if unicode else "#", False: "░" if unicode else "."}
    first = (span.began - start) * len(bar) // length
    last = max(first + 1, -((start - _end(span, now)) * len(bar) // length))
    for place in range(min(first, len(bar) - 1), min(last, len(bar))):
        bar[place] = marks[span.kind is Kind.ATTEMPT]


def _told(own: Sequence[Span], now: int) -> str:
    seconds = {True: 0, False: 0}
    for span in own:
        seconds[span.kind is Kind.ATTEMPT] += _end(span, now) - span.began
    attempts = sum(span.kind is Kind.ATTEMPT for span in own)
    told = [format_duration(round(seconds[True] / MICROSECONDS, 3))] if attempts else []
    if seconds[False]:
        told.append(f"waited {format_duration(round(seconds[False] / MICROSECONDS, 1))}")
    if attempts > 1:
        told.append(f"{attempts} attempts")
    return ", ".join(told)


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _end(span: Span, now: int) -> int:
    return max(now, span.began) if span.ended is None else span.ended
