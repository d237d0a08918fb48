"""One template, read and evaluated: here when that is light, elsewhere when it may be heavy.

    evaluate_light(source, names)      where nothing may block: raises TooHeavy for all but small, plain templates
    evaluate(source, names)            for the worker (`worker.py`), whose memory and processor time are limited

A template is *light* when its text and the values it names are small, and it has neither loops nor macros nor more than
a few operators, each of which goes through its operands once. Anything else is heavy. The two give the same result.
This module is imported by the worker: it needs Jinja2 and nothing of the kernel.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import chain
from math import isfinite
from typing import Any, NamedTuple, cast

from jinja2 import TemplateError as JinjaError
from jinja2 import TemplateSyntaxError, nodes
from jinja2.environment import TemplateExpression

from .bounds import bounded_text, bounded_value
from .call_checks import problem_with_call
from .filters import text_of
from .foreign_braces import WAY_OUT, Told, go_mark, told_of_blocks, told_of_braces
from .marks import EvaluationError, TooHeavy, excerpt, in_braces
from .sandbox import ROUNDS, SPREAD, NoResult, Sandbox, Unsupported, parts_of
from .seen import Names, NotRun
from .text_filters import NEEDING_A_PATTERN, check_pattern
from .wording import unknown

MAX_SOURCE = 64 * 1024
MAX_PROBLEM = 500
"""Characters of what is wrong with a template that are told."""

MAX_PLACED = 16 * 1024
"""Characters of a template in which the place of what is wrong is looked for, which takes another reading."""

MAX_TOKENS = 5_000
"""What one template may hold outside of its plain text: reading takes about 30 µs for each."""

MAX_LIGHT_TOKENS = 300
MAX_LIGHT_OPERATORS = 12
MAX_LIGHT_SIZE = 128 * 1024
"""Characters of all values that a light template works on, an item counted as `_ITEM` of them."""
MAX_LIGHT_RESULT = 64 * 1024
"""Characters and items of what a light template gives; texts that are only handed on are not counted."""

_ITEM = 8

Run = Callable[[Any], Any]


class Path(NamedTuple):
    """A value that a template names: `steps.a.result['x']` is ("steps", ("a", "result", "x"))."""

    root: str
    keys: tuple[str | int, ...]


class _Light(NamedTuple):
    run: Run
    paths: tuple[Path, ...]  # the values it works on; none of a template that only hands one on
    is_plain: bool  # no operators: texts are only put together


def evaluate(source: str, names: Names) -> Any:
    """Return what a template gives, as plain JSON types; raises EvaluationError, and MemoryError or SystemError where
    there is no more memory."""
    start = time.thread_time()
    try:
        return bounded_value(_compiled(source)({**names, ROUNDS: [0]}))
    except (EvaluationError, TooHeavy, MemoryError, SystemError):
        raise
    except Exception as error:  # an expression can raise whatever its operators and filters raise
        raise _explained(source, names, error, time.thread_time() - start) from error


def evaluate_light(source: str, names: Names) -> Any:
    """Return what a light template gives; raises EvaluationError, and TooHeavy for any other template."""
    light = _light(source)
    if light is None or (light.paths and not _are_small(light, names)):
        raise TooHeavy
    try:
        value = light.run(names)
        if type(value) is str and len(value) <= MAX_LIGHT_RESULT:
            return value
        return bounded_value(value, MAX_LIGHT_RESULT, TooHeavy)
    except (EvaluationError, TooHeavy, MemoryError):
        raise
    except Exception as error:  # an expression can raise whatever its operators and filters raise
        raise _explained(source, names, error) from error


def with_steps(names: Names) -> Names:
    """Return the names with the steps that have no result as templates see them."""
    if NotRun not in map(type, (steps := names.get("steps", {})).values()):
        return names
    return {**names, "steps": {name: NoResult(*each) if type(each) is NotRun else each for name, each in steps.items()}}


def parsed(source: str) -> nodes.Template:
    """Return a template's tree; raises EvaluationError for one that is malformed, too long, or uses unknown filters."""
    if len(source) > MAX_SOURCE:
        told = f"a template has at most {MAX_SOURCE // 1024} KiB, this one has {len(source) // 1024}"
        raise EvaluationError(told, source)
    try:
        return _parsed(source, _sandbox())
    except EvaluationError:
        from .expressions import placed_sandbox  # only when something is wrong

        if len(source) <= MAX_PLACED:
            _parsed(source, placed_sandbox())  # its error knows the place
        raise


def _parsed(source: str, sandbox: Sandbox) -> nodes.Template:
    try:
        if _has_more_tokens(source, MAX_TOKENS):
            told = f"a template has at most {MAX_TOKENS} names, signs and texts, this one has more"
            raise EvaluationError(told, source)
        tree = sandbox.parse(source)
    except TemplateSyntaxError as error:
        raise _malformed(source, error) from error
    except RecursionError:
        raise EvaluationError("the template nests too deeply", source) from None
    except EvaluationError:
        raise
    except ValueError:  # by Python, as the text becomes a number
        told = "the template holds a number of more digits than can be read"
        raise EvaluationError(told, source) from None
    _check_names(source, tree)
    return tree


# -- reading ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _sandbox() -> Sandbox:
    return Sandbox()


def _has_more_tokens(source: str, limit: int) -> bool:
    if len(source) <= limit:  # a token has a character
        return False
    return any(count >= limit for count, _ in enumerate(_sandbox().lexer.tokeniter(source, None)))


def _malformed(source: str, error: TemplateSyntaxError) -> EvaluationError:
    from .expressions import place_of_line  # only when something is wrong

    told = go_mark(source) or _told_of_ends(source, error.message or "")
    if told is not None:
        return EvaluationError(told.problem, source, told.place)
    hint = "" if isinstance(error, Unsupported) or _is_meant_as_template(source) else _WAY_OUT
    hint = next((way for sign, way in _SIGNS.items() if sign in (error.message or "")), hint)
    problem = f"the template is malformed: {error.message}{hint}"
    return EvaluationError(problem, source, place_of_line(error.lineno, source))


def _told_of_ends(source: str, problem: str) -> Told | None:
    if problem.startswith(("Unexpected end of template", "Encountered unknown tag 'end", "Missing end of raw")):
        return told_of_blocks(source)
    return told_of_braces(source) if "'end of print statement'" in problem else None


def _is_meant_as_template(source: str) -> bool:
    """True for `{{ … }}` alone."""
    text = source.strip()
    return text.startswith("{{") and text.endswith("}}") and text.count("{{") == 1


_SIGNS = {
    "unexpected char '&'": "; write `and` for &&",
    "expected token 'name', got '|'": "; write `or` for ||",
    "unexpected char '!'": "; write `not` for !",
    "unexpected '='": "; write `==` to compare",
    "unexpected char '?'": "; write `A if CONDITION else B` for ?:",
}
"""What is said beside Jinja2's own words of signs that other languages have."""

_WAY_OUT = f"; {WAY_OUT}"


def _check_names(source: str, tree: nodes.Template) -> None:
    """Raise EvaluationError for a filter or test that does not exist, for a call with the wrong arguments, and for a
    number that is none; Jinja2 only finds out when it compiles, or gets there. One walk, since definitions have
    thousands of templates."""
    sandbox = _sandbox()
    for node in parts_of(tree):
        if (problem := _problem_with(sandbox, node)) is not None:
            from .expressions import place_of_line

            raise EvaluationError(problem, source, place_of_line(node.lineno, source))


def _problem_with(sandbox: Sandbox, node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Name):
        if node.name == "self" and node.ctx == "load":  # which Jinja2 takes for the blocks of a template
            return "there is no name `self` (in a template)"
    elif isinstance(node, nodes.Call):
        if isinstance(node.node, nodes.Name) and (function := sandbox.globals.get(node.node.name)) is not None:
            return problem_with_call("function", node.node.name, cast(Callable[..., Any], function), node, 0)
    elif isinstance(node, nodes.Const):
        if isinstance(node.value, float) and not isfinite(node.value):  # as Python reads 1e400
            return "the template holds a number that is larger than can be recorded"
    elif isinstance(node, nodes.Filter | nodes.Test):
        return _problem_with_filter_or_test(sandbox, node)
    return None


def _problem_with_filter_or_test(sandbox: Sandbox, node: nodes.Filter | nodes.Test) -> str | None:
    kind = "filter" if isinstance(node, nodes.Filter) else "test"
    known: Mapping[str, Any] = getattr(sandbox, f"{kind}s")
    problem = _problem_with_name(kind, node.name, known)
    problem = problem or problem_with_call(kind, node.name, known[node.name], node, 1)
    if problem is not None:
        return problem
    if node.name in NEEDING_A_PATTERN and node.args and isinstance(pattern := node.args[0], nodes.Const):
        return _problem_with_pattern(pattern)
    if kind == "filter" and node.args and node.name in _NAMING_ONE:
        kind, at = _NAMING_ONE[node.name]
        named = node.args[at] if at < len(node.args) else None
        if isinstance(named, nodes.Const) and isinstance(named.value, str):
            return _problem_with_name(kind, named.value, getattr(sandbox, f"{kind}s"))
    return None


def _problem_with_pattern(node: nodes.Const) -> str | None:
    try:
        check_pattern(str(node.value))
    except ValueError as error:
        return str(error)
    return None


_NAMING_ONE = {
    "map": ("filter", 0),
    "select": ("test", 0),
    "reject": ("test", 0),
    "selectattr": ("test", 1),
    "rejectattr": ("test", 1),
}
"""Filters that are given the name of a filter or test, and at which place."""


def _problem_with_name(kind: str, name: str, known: Mapping[str, Any]) -> str | None:
    if name in known:
        return None
    meant = (ours for ours, theirs in _MEANT.items() if name in theirs and ours in known)
    like = next(meant, None)
    if like is not None:
        return f"there is no {kind} `{name}`; did you mean `{like}`?"
    return unknown(kind, name, [each for each in known if each not in (ROUNDS, SPREAD)])


_MEANT = {
    "b64encode": ("b64enc", "base64", "base64encode", "base64_encode"),
    "b64decode": ("b64dec", "base64decode", "base64_decode"),
    "bool": ("to_bool", "boolean"),
    "datetime": ("date", "dateformat", "date_format", "format_datetime", "to_datetime"),
    "defined": ("exists", "present"),
    "fromjson": ("parse_json", "json_decode", "json_parse", "loads"),
    "in": ("contains", "match", "matches"),
    "int": ("integer", "to_int", "toint"),
    "length": ("len", "size"),
    "lower": ("lowercase", "downcase"),
    "none": ("null", "nil", "empty"),
    "regex_findall": ("findall", "regex_find_all"),
    "regex_replace": ("replace_regex", "re_sub", "gsub"),
    "regex_search": ("regex_match", "search_regex", "re_search"),
    "quote": ("q", "shell_quote", "shellquote", "shlex_quote", "squote", "shell_escape"),
    "string": ("str", "to_string", "tostring"),
    "tojson": ("json", "json_encode", "to_nice_json", "dumps", "pprint"),
    "trim": ("strip",),
    "upper": ("uppercase", "upcase"),
}
"""The words of other languages for the filters and tests that exist here."""


# -- compiling --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2048)
def _compiled(source: str) -> Run:
    """Return a function from names to the template's value."""
    return _code_of(source, parsed(source))


def _code_of(source: str, tree: nodes.Template) -> Run:
    try:
        return _code_by(tree, _sandbox())
    except TemplateSyntaxError as error:
        raise _malformed(source, error) from error
    except (RecursionError, MemoryError, SyntaxError):  # the generated Python nests too deeply for its compiler
        raise EvaluationError("the template nests too deeply", source) from None


def _code_by(tree: nodes.Template, sandbox: Sandbox) -> Run:
    if (expression := only_expression(tree)) is not None:
        result = nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)
        assigning = nodes.Template([result], lineno=1)
        assigning.set_environment(sandbox)
        return TemplateExpression(sandbox.from_string(assigning), undefined_to_none=False)
    return sandbox.from_string(tree).render


def only_expression(tree: nodes.Template) -> nodes.Expr | None:
    """Return the expression that a template is, and nothing else."""
    if len(tree.body) != 1 or not isinstance(output := tree.body[0], nodes.Output):
        return None
    return None if len(output.nodes) != 1 or isinstance(output.nodes[0], nodes.TemplateData) else output.nodes[0]


MAX_SECONDS_TO_EXPLAIN = 0.05
"""Processor time a template may have taken that is evaluated once more, to tell which part of it has failed."""


def _explained(source: str, names: Names, error: Exception, seconds: float = 0) -> EvaluationError:
    """Return the error as one that says which expression it is about."""
    from .explaining import explained, in_plain_words  # only when something is wrong

    found = None
    if seconds <= MAX_SECONDS_TO_EXPLAIN and not isinstance(error, RecursionError):
        try:
            found = explained(source, names, error, _code_by)
        except (
            MemoryError,
            RecursionError,
            SyntaxError,
            SystemError,
        ):  # of code that is larger than the template's own
            pass
    match error:
        case _ if found is not None:
            problem = found.problem
        case JinjaError():
            problem = error.message or type(error).__name__
        case RecursionError():
            problem = f"it nests deeper than {sys.getrecursionlimit()} calls"
        case _:
            problem = in_plain_words(error)
    if len(problem) > MAX_PROBLEM:  # such as `could not convert string to float: '…'`
        problem = f"{problem[:MAX_PROBLEM]}…"
    if found is None:
        return EvaluationError(f"{excerpt(source)}: {problem}", source)
    return EvaluationError(f"{in_braces(found.expression)}: {problem}", source, found.place)


# -- what is light ----------------------------------------------------------------------------------------------------

_PLAIN = (*(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem),)
_LIGHT = (
    *(nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.If, nodes.Concat),
    *(nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Slice, nodes.Filter, nodes.Test, nodes.Call),
    *(nodes.Add, nodes.Sub, nodes.Neg, nodes.Pos),
)
_LIGHT_FILTERS = frozenset({
    *("b64", "b64decode", "b64encode", "basename", "bool", "count", "d", "datetime", "default", "dirname", "first"),
    *("float", "from_json", "fromjson", "int", "join", "last", "length", "lines", "lower", "quote", "split"),
    *("splitlines", "strftime", "string", "to_json", "tojson", "trim", "upper", SPREAD),
})  # fmt: skip
_LIGHT_TESTS = frozenset({
    *("boolean", "defined", "even", "false", "float", "integer", "mapping", "none", "number", "odd", "sequence"),
    *("string", "true", "undefined"),
})  # fmt: skip
_LIGHT_METHODS = frozenset({"endswith", "get", "lower", "split", "splitlines", "startswith", "strip", "upper"})


@lru_cache(maxsize=2048)
def _light(source: str) -> _Light | None:
    """Return a template ready to run, if it is light."""
    if len(source) > MAX_SOURCE or _too_many_for_here(source):
        return None
    tree = parsed(source)
    kinds = list(parts_of(tree))
    if not all(isinstance(node, _PLAIN + _LIGHT) and _is_light(node) for node in kinds):
        return None
    if sum(not isinstance(node, _PLAIN) for node in kinds) > MAX_LIGHT_OPERATORS:
        return None
    if not all(isinstance(node, _PLAIN) for node in kinds):
        return _Light(_code_of(source, tree), tuple(_paths(tree)), is_plain=False)
    parts = [_way(part) for output in tree.body for part in output.nodes]  # type: ignore[attr-defined]
    if only_expression(tree) is not None:
        return _Light(parts[0], (), is_plain=True)
    return _Light(
        lambda names: bounded_text(text_of(part(names)) for part in parts), tuple(_paths(tree)), is_plain=True
    )


def _way(node: nodes.Node) -> Run:
    """Return what takes a value out of the names. Most templates need no more, and no code is compiled for them."""
    sandbox = _sandbox()
    match node:
        case nodes.Name(name=name):
            start = sandbox.globals.get(name, sandbox.undefined(name=name))
            return lambda names: names.get(name, start)
        case nodes.Getattr(node=owner, attr=attribute):
            get, owner_of = sandbox.getattr, _way(owner)
            return lambda names: get(owner_of(names), attribute)
        case nodes.Getitem(node=owner, arg=argument):
            item, owner_of, key_of = sandbox.getitem, _way(owner), _way(argument)
            return lambda names: item(owner_of(names), key_of(names))
        case nodes.TemplateData(data=value) | nodes.Const(value=value):
            return lambda names: value
    raise AssertionError(node)


def _too_many_for_here(source: str) -> bool:
    try:
        return _has_more_tokens(source, MAX_LIGHT_TOKENS)
    except TemplateSyntaxError as error:
        raise _malformed(source, error) from error


def _is_light(node: nodes.Node) -> bool:
    match node:
        case nodes.Filter():
            return node.name in _LIGHT_FILTERS
        case nodes.Test():
            return node.name in _LIGHT_TESTS
        case nodes.Call():
            return isinstance(node.node, nodes.Getattr) and node.node.attr in _LIGHT_METHODS
    return True


def _paths(tree: nodes.Template) -> set[Path]:
    """Return the longest written-out ways into the names: of `a.b[0] ~ a.c[:2]` those of `a.b[0]` and `a.c`."""
    inner: set[int] = set()
    found: set[Path] = set()
    for node in _from_outside(tree):
        if id(node) in inner or not isinstance(node, (nodes.Name, nodes.Getattr, nodes.Getitem)):
            continue
        keys: list[str | int] = []
        while isinstance(node, (nodes.Getattr, nodes.Getitem)):
            key = _key(node)
            keys = [] if key is None else [*keys, key]
            node = node.node
            inner.add(id(node))
        if isinstance(node, nodes.Name):
            found.add(Path(node.name, tuple(reversed(keys))))
    return found


def _from_outside(tree: nodes.Node) -> Iterable[nodes.Node]:
    yield tree
    for child in tree.iter_child_nodes():
        yield from _from_outside(child)


def _key(node: nodes.Getattr | nodes.Getitem) -> str | int | None:
    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, (str, int)) else None


def _are_small(light: _Light, names: Names) -> bool:
    """True if the values that its operators work on are small in all."""
    room = MAX_LIGHT_SIZE
    todo = [_value_at(path, names) for path in light.paths]
    if light.is_plain:
        todo = [value for value in todo if not isinstance(value, str)]
    while todo and room >= 0:
        value = todo.pop()
        if isinstance(value, str):
            room -= len(value)
        elif isinstance(value, (Mapping, list)):
            room -= _ITEM * (1 + len(value))
            if room >= 0:
                todo += value if isinstance(value, list) else chain(value, value.values())
        elif isinstance(value, int):
            room -= value.bit_length() >> 5
    return room >= 0


def _value_at(path: Path, names: Names) -> Any:
    """Return the value, or the last one there is on the way: it is what a method is called on."""
    value: Any = names.get(path.root)
    for key in path.keys:
        try:
            value = value[key]
        except (TypeError, LookupError, JinjaError):  # the last one: a step that has not run
            break
    return value
