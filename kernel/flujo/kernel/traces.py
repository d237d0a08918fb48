"""Where a run stands in the trace of whoever started it, in the words of W3C Trace Context.

A run records the `traceparent` of the call that started it. The spans of a run, of its steps and of their attempts have
numbers that follow from what they are of: so each process that goes on with a run means the same spans, and a command
of a step is told the span of its attempt (`TRACEPARENT`) by a kernel that exports nothing itself. What exports them is
flujo.server.tracing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any, NamedTuple

RECORDED = "traceparent"
"""Where the environment of a run has it."""

_FORM = r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"


class TraceContext(NamedTuple):
    """A span of a trace: 32 and 16 hexadecimal digits, and whether it is to be exported."""

    trace_id: str
    span_id: str
    is_sampled: bool = True

    @property
    def header(self) -> str:
        """Return it as a `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"

    def span(self, *of: object) -> TraceContext:
        """Return the span of something within the same trace: of the same, always the same."""
        return self._replace(span_id=_digits(8, of))


def parse(header: object) -> TraceContext | None:
    """Return the span that a `traceparent` names; None for what is none, which a receiver passes over."""
    found = re.fullmatch(_FORM, header) if isinstance(header, str) and len(header) < 512 else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    if not found[2].strip("0") or not found[3].strip("0"):
        return None
    return TraceContext(found[2], found[3], bool(int(found[4], 16) & 1))


def parent_of(environment: Mapping[str, Any]) -> TraceContext | None:
    """Return the span that started a run, if one did."""
    return parse(environment.get(RECORDED))


def of_run(uid: str, parent: TraceContext | None) -> TraceContext:
    """Return the span of a run: in the trace of its parent, else in one of its own."""
    return (parent or TraceContext(_digits(16, ("trace", uid)), "")).span("run", uid)


def of_step(run: TraceContext, uid: str, step: str, generation: int) -> TraceContext:
    """Return the span of a step in one generation."""
    return run.span("step", uid, step, generation)


def of_attempt(run: TraceContext, uid: str, step: str, generation: int, attempt: int) -> TraceContext:
    """Return the span of an attempt."""
    return run.span("attempt", uid, step, generation, attempt)


def _digits(size: int, of: tuple[object, ...]) -> str:
    return blake2b("\x1f".join(map(str, of)).encode(), digest_size=size).hexdigest()


_starter: ContextVar[TraceContext | None] = ContextVar("flujo_trace", default=None)


def starter() -> TraceContext | None:
    """Return the span in which a run is started just now; None where nobody traces."""
    return _starter.get()


@contextmanager
def started_in(span: TraceContext | None) -> Iterator[None]:
    """Have runs that are started inside the block belong to a span."""
    token = _starter.set(span)
    try:
        yield
    finally:
        _starter.reset(token)
