"""Calls that a program has made in another way than it means to.

Those of `ctx` that it has made and not awaited are told when it has come to its end, with their names. Nothing of a
call has run before it is awaited. Python says of one that was dropped no more than "coroutine 'Context.step' was never
awaited", and a run that has left out a step without knowing is recorded as completed.

Those of a step that it calls as the function it is, without `ctx`, are told at once: the function runs, nothing of it
is recorded, and every replay calls it again. A step's body may do so, and whoever is no program.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from functools import wraps
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, TypeVar

from .current_attempt import in_attempt

F = TypeVar("F", bound=Callable[..., Any])

_MANY = 64
"""So many are kept at least until those that have ended are sorted out."""


on_plain_call: ContextVar[Callable[[str], None] | None] = ContextVar("flujo_on_plain_call", default=None)
"""In the tasks of a program: what is told the name of a step that is called without `ctx`."""


def called_plainly(step: str) -> None:
    """Tell the program that runs here, if one does, that it calls a step as a plain function."""
    if (tell := on_plain_call.get()) is not None and not in_attempt():
        tell(step)


class Calls:
    """The calls of one program. What it has dropped lives here until its end.

    Every step takes note of itself here, so it costs little: of a program that does one thing after the other only the
    last call is kept, which has ended when the next one is made."""

    __slots__ = ("_made", "_most")

    def __init__(self) -> None:
        self._made: list[Any] = []
        self._most = _MANY

    def note(self, call: Coroutine[Any, Any, Any]) -> None:
        """Take note of a call."""
        made = self._made
        if made and not (last := made[-1]).cr_suspended and last.cr_frame is None:
            made[-1] = call
            return
        made.append(call)
        if len(made) > self._most:
            self._made = [each for each in made if each.cr_suspended or each.cr_frame is not None]
            self._most = max(_MANY, 2 * len(self._made))

    def end(self) -> Sequence[str]:
        """Forget all calls; return those that nobody has awaited, as `ctx.step(pay)`."""
        dropped = []
        for call in self._made:
            if getcoroutinestate(call) == CORO_CREATED:
                dropped.append(_described(call))
                call.close()  # or Python would say it in its own words besides
        self._made = []
        return dropped


def noted(method: F) -> F:
    """Have `calls` of a Context take note of each call of this async method."""

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        made: Coroutine[Any, Any, Any] = method(self, *args, **kwargs)
        self.calls.note(made)
        return made

    return call  # type: ignore[return-value]  # it is called as the method is


_ABOUT = ("function", "workflow", "signal", "duration")
"""Arguments that say what a call is about, unless it has a name of its own."""


def _described(call: Any) -> str:
    given = call.cr_frame.f_locals
    name = given.get("name")
    about = next((given[each] for each in _ABOUT if each in given), None) if name in (None, call.__name__) else name
    return f"ctx.{call.__name__}({_name(about)})"


def _name(about: object) -> str:
    if about is None or isinstance(about, str | int | float):
        return "" if about is None else repr(about)
    name = getattr(about, "name", None) or getattr(about, "__name__", None)
    return name if isinstance(name, str) else f"<{type(about).__name__}>"
