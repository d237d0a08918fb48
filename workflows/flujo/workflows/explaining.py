"""Why a template has failed: which of its expressions it was, where that stands, what its values are, what to type.

A template is evaluated without any notes. One that fails is evaluated once more, by code that notes the value of each
expression and the first that has none. What is told of values is of which kind they are, never what they are: a part of
a secret would not be known as one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from jinja2.exceptions import FilterArgumentError
from jinja2.runtime import Undefined

from .bounds import bounded_value, kind_of_value
from .expressions import SIGNS, Placed, operand, start_of, written
from .sandbox import ROUNDS, SPREAD, BoundedCode


class Explanation(NamedTuple):
    """What is wrong with which expression, and where in the template it stands."""

    expression: str
    problem: str
    place: int


def explained(
    source: str,
    names: Mapping[str, Any],
    error: Exception,
    code: Callable[[nodes.Template, Placed], Callable[..., Any]],
) -> Explanation | None:
    """Return why a template has failed with `error`; None if that does not happen once more. `code` makes of a tree
    what is called with the names."""
    traced = _Traced()
    tree = traced.parse(source)
    try:
        bounded_value(code(tree, traced)({**names, ROUNDS: [0]}))
    except Exception as again:
        if type(again) is not type(error):
            return None
        node = traced.failed if not isinstance(again, JinjaError) or traced.missing is None else traced.missing
        node = node or _only_expression(tree)
        if node is None:
            return None
        told = node.node if isinstance(node, nodes.Filter) and node.name == ROUNDS and node.node else node
        return Explanation(written(told), _problem(node, traced, again), start_of(told, source))
    return None


def _only_expression(tree: nodes.Template) -> nodes.Node | None:
    outputs = [part for output in tree.body if isinstance(output, nodes.Output) for part in output.nodes]
    return outputs[0] if len(outputs) == 1 else None


# -- which expression -------------------------------------------------------------------------------------------------


class _TracingCode(BoundedCode):
    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        is_traced = isinstance(node, nodes.Expr) and getattr(node, "ctx", "load") == "load"
        if not is_traced or isinstance(node, (nodes.TemplateData, nodes.Slice)):
            return super().visit(node, *args, **kwargs)
        assert isinstance(self.environment, _Traced)
        self.write(f"environment.traced({self.environment.number(node)}, lambda: ")
        super().visit(node, *args, **kwargs)
        self.write(")")
        return None


class _Traced(Placed):
    """A sandbox for one evaluation: it notes what each expression gives, and the first that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.code_generator_class = _TracingCode
        self.failed: nodes.Node | None = None
        self.missing: nodes.Node | None = None
        self._nodes: list[nodes.Node] = []
        self._values: dict[int, Any] = {}

    def number(self, node: nodes.Node) -> int:
        """Return the number by which the code names a node."""
        self._nodes.append(node)
        return len(self._nodes) - 1

    def traced(self, number: int, evaluate: Callable[[], Any]) -> Any:
        """Return what an expression gives."""
        node = self._nodes[number]
        try:
            value = evaluate()
        except Exception:
            self.failed = self.failed or node
            raise
        self._values[id(node)] = value
        if isinstance(value, Undefined) and isinstance(node, (nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Call)):
            self.missing = node
        return value

    def has(self, node: nodes.Node | None) -> bool:
        """True if an expression has given a value."""
        return id(node) in self._values

    def value(self, node: nodes.Node | None) -> Any:
        """Return what an expression has given at last."""
        return self._values.get(id(node))


# -- what is wrong with it --------------------------------------------------------------------------------------------


def _problem(node: nodes.Node, traced: _Traced, error: Exception) -> str:
    told: str | None = None
    if isinstance(error, FilterArgumentError | AttributeError):  # by these some filters refuse what others do not
        told = _told_of_filter(node, traced) if isinstance(node, nodes.Filter) else None
    elif isinstance(error, JinjaError):
        told = error.message or type(error).__name__
    elif isinstance(error, ZeroDivisionError) and isinstance(node, nodes.Div | nodes.FloorDiv | nodes.Mod):
        told = f"nothing can be divided by `{written(node.right)}`"
        told += "" if isinstance(node.right, nodes.Const) else ", which is 0"
    elif isinstance(error, json.JSONDecodeError):
        told = f"the text is not JSON: {error.msg}, in its line {error.lineno} at character {error.colno}"
    elif isinstance(error, TypeError):
        told = _clash(node, traced, error)
        if told is None and (found := _UNHASHABLE.search(str(error))) is not None:
            told = f"{_KINDS.get(found[1], found[1])} cannot be a key of a mapping"
    return told or in_plain_words(error)


def _clash(node: nodes.Node, traced: _Traced, error: TypeError) -> str | None:
    """Return how values do not go together; None if it is something else."""
    match node:
        case nodes.Neg(node=value, operator=sign) | nodes.Pos(node=value, operator=sign):
            return f"`{sign}` stands before a number, and {_is(value, traced)}{_advice(_as_number(traced, value))}"
        case nodes.Mod(left=left) if isinstance(traced.value(left), str):
            return None
        case nodes.BinExpr(left=left, right=right, operator=sign):
            return _told_of_operator(sign, left, right, traced)
        case nodes.Compare():
            return _told_of_comparison(node, traced)
        case nodes.Filter():
            is_lazy = isinstance(traced.value(node.node), Iterator) and _OF_OPERANDS.search(str(error)) is None
            return None if is_lazy else _told_of_filter(node, traced)
        case nodes.Test(node=nodes.Expr() as value):
            return f"test `{node.name}` cannot judge this, since {_is(value, traced)}"
        case nodes.Call(node=called) if not callable(traced.value(called)):
            return f"{_is(called, traced)}, and cannot be called; leave out the parentheses"
        case nodes.Call(node=nodes.Name(name="range"), args=args):
            wrong = next((each for each in args if not isinstance(traced.value(each), int)), None)
            return None if wrong is None else f"`range` counts with whole numbers, and {_is(wrong, traced)}"
    return None


def _told_of_operator(sign: str, left: nodes.Expr, right: nodes.Expr, traced: _Traced) -> str | None:
    one, other = traced.value(left), traced.value(right)
    both = f"{_is(left, traced)} and {_is(right, traced)}"
    as_number = _as_number(traced, left, right)
    if kind_of_value(one) == kind_of_value(other) == "a number":
        return None
    if sign != "+":
        return f"`{sign}` takes two numbers; here {both}{_advice(as_number)}"
    ways: list[str] = []
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        ways.append(f"`dict({written(left)}, **{written(right)})` for one mapping of both")
    elif isinstance(one, list):
        ways.append(f"`{operand(left)} + [{written(right)}]` for a list with one more item")
    elif isinstance(other, list):
        ways.append(f"`[{written(left)}] + {operand(right)}` for a list with one more item")
    elif isinstance(one, str) or isinstance(other, str):
        ways += [f"`{operand(left)} ~ {operand(right)}` for one text of both", *as_number]
    else:
        ways += as_number
    return f"`+` takes two numbers, two texts or two lists; here {both}{_advice(ways)}"


def _told_of_comparison(node: nodes.Compare, traced: _Traced) -> str | None:
    left: nodes.Expr = node.expr
    sign, right = "", left
    for each in node.ops:
        if not traced.has(each.expr):
            break
        left, sign, right = right, each.op, each.expr
    other = traced.value(right)
    if sign in ("in", "notin"):
        if isinstance(other, str):
            return f"texts are looked for in a text, and {_is(left, traced)}; write `{operand(left)} | string`"
        if isinstance(other, Mapping):
            return f"the keys of a mapping are texts, and {_is(left, traced)}"
        if kind_of_value(other) == "a list":  # an item of it could not be made
            return None
        return f"`{SIGNS[sign]}` looks into a text, a list or a mapping, and {_is(right, traced)}"
    both = f"{_is(left, traced)} and {_is(right, traced)}"
    advice = _advice(_as_number(traced, left, right))
    if kind_of_value(traced.value(left)) == kind_of_value(other) == "a list":
        advice = ", whose items are of different kinds"
    return f"`{SIGNS.get(sign)}` compares two numbers, texts or lists; here {both}{advice}"


_OF_NUMBERS = frozenset({"abs", "round", "filesizeformat", "int", "float"})


_COUNTING = {
    "batch": "linecount",
    "center": "width",
    "indent": "width",
    "round": "precision",
    "slice": "slices",
    "truncate": "length",
    "wordwrap": "width",
}
"""Filters whose first argument is a number, and what Jinja2 calls it."""


def _told_of_filter(filter: nodes.Filter, traced: _Traced) -> str | None:
    name, node = filter.name, filter.node
    if node is None:
        return None
    if (count := _count(filter)) is not None and kind_of_value(traced.value(count)) != "a number":
        return f"filter `{name}` takes a number in its parentheses, and {_is(count, traced)}"
    value = traced.value(node)
    if name == ROUNDS:
        return f"`for` goes through a list, and {_is(node, traced)}"
    if name == SPREAD:
        return f"`*` puts in the items of a list, and {_is(node, traced)}"
    if name in _OF_NUMBERS:
        if kind_of_value(value) == "a number":  # another argument is wrong
            return None
        return f"filter `{name}` takes a number, and {_is(node, traced)}{_advice(_as_number(traced, node))}"
    if name in ("length", "count"):
        return f"filter `{name}` counts the characters of a text or the items of a list, and {_is(node, traced)}"
    if name in ("dictsort", "items") and not isinstance(value, Mapping):
        return f"filter `{name}` goes through a mapping, and {_is(node, traced)}"
    if value is None or isinstance(value, (bool, int, float)) or (name == "sum" and isinstance(value, str)):
        return f"filter `{name}` goes through a list, and {_is(node, traced)}"
    if name in ("sum", "sort", "max", "min"):
        kinds = " and ".join(dict.fromkeys(map(kind_of_value, value))) if isinstance(value, list) else "others"
        told = f"filter `{name}` takes items that go together, and `{written(node)}` holds {kinds}"
        return f"{told}; `map('int')` before it makes numbers of texts"
    return None


def _count(filter: nodes.Filter) -> nodes.Expr | None:
    if filter.name not in _COUNTING:
        return None
    named = [each.value for each in filter.kwargs if each.key == _COUNTING[filter.name]]
    return next(iter([*filter.args, *named]), None)


def _is(node: nodes.Expr, traced: _Traced) -> str:
    return f"`{written(node)}` is {kind_of_value(traced.value(node))}"


def _as_number(traced: _Traced, *operands: nodes.Expr) -> list[str]:
    """Return how the first of these that is no number becomes one."""
    for node in operands:
        value = traced.value(node)
        if isinstance(value, str):
            return [f"`{operand(node)} | int` for the number in the text"]
        if value is None:
            return [f"`{operand(node)} | default(0, true)` for 0 instead of null"]
    return []


def _advice(ways: list[str]) -> str:
    return f"; write {', or '.join(ways)}" if ways else ""


# -- in whose words ---------------------------------------------------------------------------------------------------


def in_plain_words(error: Exception) -> str:
    """Return what Python says of an error, without its names of types."""
    told = str(error) or type(error).__name__
    if isinstance(error, OverflowError):
        return "the number becomes larger than can be recorded"
    if isinstance(error, IndexError):
        return "there are fewer values than are asked for"
    told = _NO_NUMBER.sub("it takes a number, and this is", told)
    told = _TYPE.sub(lambda found: _KINDS[found[1] or found[2]], told)
    return told.replace("argument of type ", "").replace("is not iterable", "is no list to go through")


_NO_NUMBER = re.compile(r"^(?:int|float)\(\) argument must be .*, not")
_KINDS = {
    "str": "a text",
    "int": "a number",
    "float": "a number",
    "bool": "a boolean",
    "NoneType": "null",
    "list": "a list",
    "tuple": "a list",
    "range": "a list",
    "generator": "a list",
    "dict": "a mapping",
}
_TYPE = re.compile(
    rf"'({'|'.join(_KINDS)})'(?: objects?\b)?|(?<![-\w])(NoneType|str|int|float|dict|tuple)\b(?: objects?\b)?"
)
_OF_OPERANDS = re.compile("supported|operand|concatenate")
"""Of a TypeError that is about two values of a list; any other one is about the making of an item."""

_UNHASHABLE = re.compile(r"unhashable type: '(\w+)'")
