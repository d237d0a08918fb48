"""Templates in definitions: what they mention, and what they become.

    references("{{ steps.fetch.result.url }}")     what a template mentions, for checks when a definition is loaded
    render(value, names)                           every text in a value rendered; `{{ expr }}` alone keeps its type
    holds(condition, names)                        a condition's verdict

Conditions are templates or bare expressions. `names` are plain JSON values, apart from steps that have no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import TemplateError as JinjaError
from jinja2 import TemplateSyntaxError, meta, nodes

from flujo.kernel.errors import FlujoError

from .parameters import shown
from .sandbox import ROUNDS, Sandbox, bounded_value

MAX_SOURCE = 64 * 1024

STEP_FIELDS = ("result", "status", "attempt", "error")

ROOT_NAMES = (
    *("args", "env", "steps", "workflow", "run", "error", "settings"),
    *("workspace", "run_number", "timestamp", "workflow_name", "workflow_file", "workflow_dir", "start_dir"),
)
"""What every template sees besides the parameters, which never hide one of these."""

Names = Mapping[str, Any]


class TemplateError(FlujoError, ValueError):
    """A template could not be read or rendered."""

    reason = "INVALID_FIELD"
    type = "TemplateError"


class ConditionError(FlujoError, ValueError):
    """A condition gave neither true nor false."""

    reason = "INVALID_FIELD"
    type = "ConditionError"


class References(NamedTuple):
    """What a template mentions by name; `fields` pairs a step with one of its fields."""

    roots: frozenset[str] = frozenset()
    steps: frozenset[str] = frozenset()
    fields: frozenset[tuple[str, str]] = frozenset()
    parameters: frozenset[str] = frozenset()
    env: frozenset[str] = frozenset()
    computed_env: bool = False


def is_template(text: str) -> bool:
    """Whether rendering `text` could change it."""
    return "{{" in text or "{%" in text or "{#" in text


def references(source: str) -> References:
    """What a template mentions; raises TemplateError when it is malformed."""
    return _references(_parsed(source))


def condition_references(source: str) -> References:
    """The same for a condition."""
    return _references(_parsed(source if is_template(source) else _in_braces(source)))


def render(value: Any, names: Names) -> Any:
    """`value` with every text in it rendered, at any depth; raises TemplateError."""
    if isinstance(value, str):
        return _rendered(value, names) if is_template(value) else value
    if isinstance(value, Mapping):
        return {key: render(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [render(item, names) for item in value]
    return value


def holds(condition: bool | str, names: Names) -> bool:
    """Whether a condition is true; raises ConditionError for a value that is neither true nor false."""
    if isinstance(condition, bool):
        return condition
    if (word := condition.strip().lower()) in ("true", "false"):
        return word == "true"
    value = _rendered(condition if is_template(condition) else _in_braces(condition), names)
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ConditionError(f"the condition {condition!r} gave {shown(value)}, which is neither true nor false")


def _in_braces(expression: str) -> str:
    return "{{ " + expression.strip() + " }}"


@lru_cache(maxsize=1)
def _sandbox() -> Sandbox:
    return Sandbox()


def _parsed(source: str) -> nodes.Template:
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"a template has at most {MAX_SOURCE // 1024} KiB, this one has {len(source) // 1024}")
    try:
        return _sandbox().parse(source)
    except TemplateSyntaxError as error:
        where = f" in its line {error.lineno}" if source.count("\n") > 0 else ""
        raise TemplateError(f"the template is malformed{where}: {error.message}") from error
    except RecursionError:
        raise TemplateError("the template nests too deeply") from None


@lru_cache(maxsize=2048)
def _compiled(source: str) -> Callable[[dict[str, Any]], Any]:
    """A function from names to the rendered value."""
    tree = _parsed(source)
    try:
        if _is_one_expression(tree):
            inner = source[2:-2].strip()
            return _sandbox().compile_expression(inner.strip("+-").strip(), undefined_to_none=False)
        return _sandbox().from_string(source).render
    except TemplateSyntaxError as error:
        raise TemplateError(f"the template is malformed: {error.message}") from error
    except (RecursionError, MemoryError, SyntaxError):  # the generated Python nests too deeply for its compiler
        raise TemplateError("the template nests too deeply") from None


def _is_one_expression(tree: nodes.Template) -> bool:
    if len(tree.body) != 1 or not isinstance(output := tree.body[0], nodes.Output):
        return False
    return len(output.nodes) == 1 and not isinstance(output.nodes[0], nodes.TemplateData)


def _rendered(source: str, names: Names) -> Any:
    try:
        return bounded_value(_compiled(source)({**names, ROUNDS: [0]}))
    except TemplateError:
        raise
    except JinjaError as error:
        raise TemplateError(f"{_excerpt(source)}: {error.message}") from error
    except RecursionError:
        raise TemplateError(f"{_excerpt(source)}: it nests too deeply") from None
    except Exception as error:  # an expression can raise whatever its operators and filters raise
        raise TemplateError(f"{_excerpt(source)}: {type(error).__name__}: {error}") from error


def _excerpt(source: str) -> str:
    line = source.strip().partition("\n")[0]
    return line if len(line) <= 80 else line[:79] + "…"


# -- what a template mentions -----------------------------------------------------------------------------------------


def _references(tree: nodes.Template) -> References:
    roots = meta.find_undeclared_variables(tree)
    steps: set[str] = set()
    fields: set[tuple[str, str]] = set()
    parameters: set[str] = set()
    env: set[str] = set()
    computed_env = False
    for owner, name in _members(tree):
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
        elif root == "args" and name is not None:
            parameters.add(name)
    return References(
        frozenset(roots), frozenset(steps), frozenset(fields), frozenset(parameters), frozenset(env), computed_env
    )


def _members(tree: nodes.Template) -> Iterator[tuple[nodes.Expr, str | None]]:
    """Every `a.b`, `a['b']` and `a.get('b')` as (a, "b"); ["b" computed] as (a, None)."""
    methods = {id(call.node) for call in tree.find_all(nodes.Call)}
    for call in tree.find_all(nodes.Call):
        method = call.node
        if isinstance(method, nodes.Getattr) and method.attr == "get" and call.args:
            yield method.node, _constant(call.args[0])
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if isinstance(node, nodes.Getattr):
            if id(node) not in methods:
                yield node.node, node.attr
        elif isinstance(node, nodes.Getitem):
            yield node.node, _constant(node.arg)


def _step_of(node: nodes.Expr) -> str | None:
    """The name in `steps.NAME` or `steps['NAME']`."""
    if not isinstance(node, (nodes.Getattr, nodes.Getitem)):
        return None
    if not isinstance(node.node, nodes.Name) or node.node.name != "steps":
        return None
    return node.attr if isinstance(node, nodes.Getattr) else _constant(node.arg)


def _constant(node: nodes.Expr) -> str | None:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else None
