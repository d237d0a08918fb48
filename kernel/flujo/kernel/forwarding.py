"""Leaving calls of an object to a part of it, with the part's own signatures.

    class Observed:
        _observer: Observer
        inspect = forwarded("_observer", Observer.inspect)

Whoever has an `_observer` has the call `inspect`; its parameters stand in `Observer` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

Part = TypeVar("Part")
P = ParamSpec("P")
Answer = TypeVar("Answer")


def forwarded(part: str, call: Callable[Concatenate[Part, P], Answer]) -> Callable[Concatenate[Any, P], Answer]:
    """Return a call of a part as one of whoever has the part as its attribute `part`, with the same parameters."""

    @wraps(call)
    def forward(owner: Any, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return call(getattr(owner, part), *args, **kwargs)

    return forward
