"""Templates in definitions: what they mention, and what they become.

    references("{{ steps.fetch.result.url }}")     what a template mentions, for checks when a definition is loaded
    await render(value, names)                     every text in a value rendered; `{{ expr }}` alone keeps its type
    await holds(condition, names)                  a condition's verdict

Conditions are templates or bare expressions. `names` are plain JSON values, apart from steps that have no result. What
is light is evaluated at once; anything else in a worker process, so that no template holds up the event loop, takes
more than 0.7 s of processor time or more memory than its limit (docs/adr/0011).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from jinja2 import Environment, meta, nodes

from flujo.kernel.errors import FlujoError

from .evaluation import EvaluationError, Names, TooHeavy, evaluate_light, excerpt, in_braces, is_template, parsed
from .sandbox import parts_of
from .wording import shown
from .worker import map_texts

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


class References(NamedTuple):
    """What a template mentions by name.

    `fields` pairs a step with one of its fields. `bare_env` and `bare_results` are the variables, and the steps whose
    result, it uses without a `default`, a test or an alternative; `bare_inputs` the names that it uses so, alone or out
    of `args`; `bare_fields` pairs such a step with a field of its result. `members` pairs `args`, `settings` and
    `workflow` with what it takes out of each, None where that cannot be told. `size` counts the parts of the template.
    """

    roots: frozenset[str] = frozenset()
    steps: frozenset[str] = frozenset()
    fields: frozenset[tuple[str, str]] = frozenset()
    parameters: frozenset[str] = frozenset()
    env: frozenset[str] = frozenset()
    computed_env: bool = False
    computed_step: bool = False
    bare_env: frozenset[str] = frozenset()
    bare_inputs: frozenset[str] = frozenset()
    bare_results: frozenset[str] = frozenset()
    bare_fields: frozenset[tuple[str, str]] = frozenset()
    members: frozenset[tuple[str, str | None]] = frozenset()
    size: int = 0


def references(source: str) -> References:
    """Return what a template mentions; raises TemplateError when it is malformed."""
    try:
        return _references(parsed(source))
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


# -- here, or elsewhere -----------------------------------------------------------------------------------------------


def _rendered_here(value: Any, names: Names) -> Any:
    end: float | None = None
    is_first = True

    def evaluate(source: str) -> Any:
        nonlocal end, is_first
        if is_first:  # one takes little by itself
            is_first = False
        elif end is None:
            end = time.thread_time() + MAX_SECONDS_HERE
        elif time.thread_time() > end:
            raise TooHeavy
        return evaluate_light(source, names)

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
    mentioned = [_references(parsed(source)) for source in sources]
    roots = frozenset[str]().union(*(each.roots for each in mentioned))
    chosen = {root: names[root] for root in roots if root in names}
    if "steps" in chosen and not any(each.computed_step for each in mentioned):
        wanted = frozenset[str]().union(*(each.steps for each in mentioned))
        chosen["steps"] = {name: step for name, step in chosen["steps"].items() if name in wanted}
    return chosen


# -- what a template mentions -----------------------------------------------------------------------------------------

_CHANGING = ("args", "secrets", "settings", "workflow")
"""Names whose values a resume may change."""


def _references(tree: nodes.Template) -> References:
    parts = list(parts_of(tree))
    roots = _free_names(tree, parts)
    steps: set[str] = set()
    fields: set[tuple[str, str]] = set()
    parameters: set[str] = set()
    env: set[str] = set()
    computed_env = False
    named_steps = 0
    taken: list[tuple[str, str | None]] = []
    for owner, name in _members(parts):
        root = owner.name if isinstance(owner, nodes.Name) else None
        if root is None and name is not None and (step := _step_of(owner)) is not None:
            fields.add((step, name))
        elif root not in roots:
            continue
        elif root == "env":
            computed_env |= name is None
            if name is not None:
                env.add(name)
        elif root == "steps" and name is not None:
            steps.add(name)
            named_steps += 1
        elif root in _CHANGING:
            taken.append((root, name))
            if root == "args" and name is not None:
                parameters.add(name)
    uses = Counter(node.name for node in parts if isinstance(node, nodes.Name))
    bare = list(_bare(tree, False))
    named = Counter(root for root, _ in taken)
    as_a_whole = {(root, None) for root in _CHANGING if root in roots and uses[root] != named[root]}
    return References(
        roots=frozenset(roots),
        steps=frozenset(steps),
        fields=frozenset(fields),
        parameters=frozenset(parameters),
        env=frozenset(env),
        computed_env=computed_env,
        computed_step=uses["steps"] != named_steps,
        bare_env=frozenset(name for owner, name in bare if owner == "env"),
        bare_inputs=frozenset(name for owner, name in bare if owner == "args" or (owner == "" and name in roots)),
        bare_results=frozenset(name for owner, name in bare if owner == "steps"),
        bare_fields=frozenset(_bare_fields(tree, False) if "steps" in roots else ()),
        members=frozenset({*taken, *as_a_whole}),
        size=len(parts),
    )


def _free_names(tree: nodes.Template, parts: Iterable[nodes.Node]) -> set[str]:
    """Return the names that a template uses and does not make itself, apart from functions that are always there."""
    found: set[str] = set()
    for node in parts:
        if isinstance(node, _MAKING_NAMES):
            scopes = meta.TrackingCodeGenerator(cast(Environment, tree.environment))
            scopes.optimizer = None  # or it would evaluate what is constant, with whatever that raises and takes
            scopes.visit(tree)
            return scopes.undeclared_identifiers
        if isinstance(node, nodes.Name):
            found.add(node.name)
    return {name for name in found if name not in tree.environment.globals} if tree.environment else found


_MAKING_NAMES = (*(nodes.For, nodes.Macro, nodes.CallBlock, nodes.With, nodes.Assign, nodes.AssignBlock),)
"""The statements that make names, of those that `Sandbox` supports: Jinja2 itself has to tell the scopes of these."""


def _members(parts: Sequence[nodes.Node]) -> Iterator[tuple[nodes.Expr, str | None]]:
    """Yield each `a.b`, `a['b']` and `a.get('b')` as (a, "b"); a computed "b" as (a, None)."""
    calls = [node for node in parts if isinstance(node, nodes.Call)]
    methods = {id(call.node) for call in calls}
    for call in calls:
        method = call.node
        if isinstance(method, nodes.Getattr) and method.attr == "get" and call.args:
            yield method.node, _constant(call.args[0])
    for node in parts:
        if isinstance(node, nodes.Getattr):
            if id(node) not in methods:
                yield node.node, node.attr
        elif isinstance(node, nodes.Getitem):
            yield node.node, _constant(node.arg)


def _bare(node: nodes.Node, is_covered: bool) -> Iterator[tuple[str, str]]:
    """Yield ("env", variable), ("args", parameter), ("steps", step) and ("", name) for each that has to be there, or
    the template fails.

    What is covered may be missing; what stands behind a condition is not asked for.
    """
    if isinstance(node, (nodes.Getattr, nodes.Getitem)) and not is_covered:
        name = node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg)
        if name is not None and isinstance(node.node, nodes.Name) and node.node.name in ("env", "args"):
            yield node.node.name, name
        if name == "result" and (step := _step_of(node.node)) is not None:
            yield "steps", step
    elif isinstance(node, nodes.Name) and not is_covered:
        yield "", node.name
    for child in _surely_evaluated(node):
        yield from _bare(child, is_covered=_covers(node, child, is_covered))


def _bare_fields(node: nodes.Node, is_covered: bool) -> Iterator[tuple[str, str]]:
    """Yield (step, field) for each `steps.STEP.result.FIELD` that has to be there, wherever in a template it stands."""
    if isinstance(node, (nodes.Getattr, nodes.Getitem)) and not is_covered:
        name, owner = node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg), node.node
        if name is not None and isinstance(owner, (nodes.Getattr, nodes.Getitem)):
            result = owner.attr if isinstance(owner, nodes.Getattr) else _constant(owner.arg)
            if result == "result" and (step := _step_of(owner.node)) is not None:
                yield step, name
    for child in node.iter_child_nodes():
        yield from _bare_fields(child, is_covered=_covers(node, child, is_covered))


def _surely_evaluated(node: nodes.Node) -> Iterable[nodes.Node]:
    match node:
        case nodes.CondExpr(test=test) | nodes.If(test=test):
            return [test]
        case nodes.And(left=left) | nodes.Or(left=left):
            return [left]
        case nodes.For(iter=items):
            return [items]
        case nodes.Macro() | nodes.CallBlock():
            return []
    return node.iter_child_nodes()


def _covers(node: nodes.Node, child: nodes.Node, is_covered: bool) -> bool:
    """True if `child`, a part of `node`, may be missing: what stands before a `default`, a test or in a `get`."""
    match node:
        case nodes.Filter(name="default" | "d") | nodes.Test(name="defined" | "undefined"):
            return True
        case nodes.Call(node=nodes.Getattr(attr="get")):
            return True
        case nodes.Filter(node=value) | nodes.Getattr(node=value) | nodes.Getitem(node=value) | nodes.Call(node=value):
            return is_covered and child is value
    return False


def _step_of(node: nodes.Expr) -> str | None:
    """Return the name in `steps.NAME` or `steps['NAME']`."""
    if not isinstance(node, (nodes.Getattr, nodes.Getitem)):
        return None
    if not isinstance(node.node, nodes.Name) or node.node.name != "steps":
        return None
    return node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg)


def _constant(node: nodes.Expr) -> str | None:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else None
