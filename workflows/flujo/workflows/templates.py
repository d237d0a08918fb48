"""Templates in definitions: what they mention, and what they become.

    references("{{ steps.fetch.result.url }}")     what a template mentions, for checks when a definition is loaded
    await render(value, names)                     every text in a value rendered; `{{ expr }}` alone keeps its type
    await holds(condition, names)                  a condition's verdict

Conditions are templates or bare expressions. `names` are plain JSON values, apart from steps that have no result. What
is light is evaluated at once; anything else in a worker process, so that no template holds up the event loop, takes
more than 0.7 s of processor time or more memory than its limit (docs/adr/0011).

Jinja2, and the modules that need it, are imported where the first template is met: `marks.py` says why.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from flujo.kernel.errors import FlujoError

from .marks import EvaluationError, References, TooHeavy, excerpt, in_braces, is_template, map_texts
from .seen import Names
from .wording import shown

if TYPE_CHECKING:
    from .workers import Request

STEP_FIELDS = ("result", "status", "attempt", "error")

ROOT_NAMES = (
    *("args", "env", "secrets", "steps", "workflow", "run", "error", "settings"),
    *("workspace", "run_number", "timestamp", "workflow_name", "workflow_file", "workflow_dir", "start_dir"),
)
"""What every template sees besides the parameters, which never hide one of these."""

LOOP_NAMES = ("item", "index", "batch")
"""What the templates of a loop's items see besides; they hide parameters of these names."""

MAX_SECONDS_HERE = 0.02
"""Processor time for the templates of one value after which the rest is left to a worker."""


class TemplateError(FlujoError, ValueError):
    """A template could not be read or rendered. `source` is the template, if it is known which one, and `place` where
    in it what is meant begins, in characters."""

    reason = "INVALID_FIELD"
    type = "TemplateError"

    def __init__(self, message: str, source: str = "", place: int = 0) -> None:
        super().__init__(message)
        self.source, self.place = source, place


class ConditionError(TemplateError):
    """A condition gave neither true nor false."""

    type = "ConditionError"


def references(source: str) -> References:
    """Return what a template mentions; raises TemplateError when it is malformed."""
    try:
        return _mentions_of(source)
    except EvaluationError as error:
        raise TemplateError(error.message, error.source, error.place) from error


def condition_references(source: str) -> References:
    """Return what a condition mentions; raises TemplateError when it is malformed."""
    try:
        return references(source if is_template(source) else in_braces(source))
    except TemplateError as error:
        raise _as_written(source, error) from error


def _as_written(condition: str, error: TemplateError) -> TemplateError:
    """Return an error of a condition as one of its text, be that with braces or without."""
    if is_template(condition):
        return error
    added = len("{{ ") - (len(condition) - len(condition.lstrip()))
    return TemplateError(error.message, condition, max(0, error.place - added))


async def render(value: Any, names: Names) -> Any:
    """Return `value` with every text in it rendered, at any depth; raises TemplateError."""
    try:
        return _rendered_here(value, names)
    except TooHeavy:
        pass
    except EvaluationError as error:
        raise TemplateError(error.message, error.source, error.place) from error
    return await _rendered_apart(value, names)


async def holds(condition: bool | str, names: Names) -> bool:
    """Return whether a condition is true; raises ConditionError for a value that is neither true nor false."""
    if isinstance(condition, bool):
        return condition
    if (word := condition.strip().lower()) in ("true", "false"):
        return word == "true"
    try:
        value = await render(condition if is_template(condition) else in_braces(condition), names)
    except TemplateError as error:
        raise _as_written(condition, error) from error
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    told = f"the condition {condition!r} gave {shown(value)}, which is neither true nor false"
    raise ConditionError(told, condition)


def gives_text(source: str) -> bool:
    """True if a template is more than one expression alone, and so gives text; False for one that is malformed."""
    from .evaluation import only_expression, parsed

    try:
        return only_expression(parsed(source)) is None
    except EvaluationError:
        return False


def _mentions_of(source: str) -> References:
    from .evaluation import parsed
    from .mentions import mentions_of

    return mentions_of(parsed(source))


# -- here, or elsewhere -----------------------------------------------------------------------------------------------


def _rendered_here(value: Any, names: Names) -> Any:
    end: float | None = None
    seen: Names | None = None

    def evaluate(source: str) -> Any:
        nonlocal end, seen
        from .evaluation import evaluate_light, with_steps

        if seen is None:  # one takes little by itself
            seen = with_steps(names)
        elif end is None:
            end = time.thread_time() + MAX_SECONDS_HERE
        elif time.thread_time() > end:
            raise TooHeavy
        return evaluate_light(source, seen)

    return map_texts(value, evaluate)


async def _rendered_apart(value: Any, names: Names) -> Any:
    from .workers import Request

    asked = Request()
    work = partial(_rendered_elsewhere, value, names, asked)
    try:
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=_limiter())
    except BaseException:
        asked.give_up()  # or the thread, which waits for the worker, would keep this process from ending
        raise


def _rendered_elsewhere(value: Any, names: Names, asked: Request) -> Any:
    """Return what a worker makes of it; blocks until it has answered, or is not asked any more."""
    from .workers import workers

    sources = list(_templates_in(value))
    try:
        return workers.render(value, _mentioned(sources, names), asked)
    except EvaluationError as error:
        # An error of the worker as a whole knows no template: the first one is told, so its place is.
        source = error.source or (sources[0] if error.message.startswith("it ") else "")
        raise TemplateError(_with_excerpt(error.message, sources), source, error.place) from error


def _with_excerpt(message: str, sources: list[str]) -> str:
    """Say which template is meant, where the message is one about the worker as a whole."""
    if not message.startswith("it "):
        return message
    others = f" (or one of {len(sources) - 1} others here)" if len(sources) > 1 else ""
    return f"{excerpt(sources[0])}{others}: {message}"


def _limiter() -> anyio.CapacityLimiter:
    """Return the limiter of this event loop: as many threads as there are workers to wait for."""
    from .workers import MAX_WORKERS

    try:
        return _LIMITER.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(MAX_WORKERS)
        _LIMITER.set(limiter)
        return limiter


_LIMITER: RunVar[anyio.CapacityLimiter] = RunVar("flujo_template_workers")


def _templates_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if is_template(value):
            yield value
    elif isinstance(value, (Mapping, list)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _templates_in(item)


def _mentioned(sources: list[str], names: Names) -> Names:
    """Return the part of the names that these templates mention."""
    mentioned = [_mentions_of(source) for source in sources]
    roots = frozenset[str]().union(*(each.roots for each in mentioned))
    chosen = {root: names[root] for root in roots if root in names}
    if "steps" in chosen and not any(each.computed_step for each in mentioned):
        wanted = frozenset[str]().union(*(each.steps for each in mentioned))
        chosen["steps"] = {name: step for name, step in chosen["steps"].items() if name in wanted}
    return chosen
