"""The expressions of a template: where each stands in it, and as text, for messages about one of them.

    tree = Placed().parse(source)      a tree whose nodes know their places
    start_of(node)                     where the first character of an expression stands in the template
    written(node)                      an expression as it can be typed

Jinja2 knows the lines of a template and no columns, so a line's number here is one that carries its place. Nothing of
this is needed for a template that is right: it is read anew once something is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from jinja2 import TemplateSyntaxError, nodes
from jinja2.lexer import TokenStream

from .sandbox import ROUNDS, SPREAD, Sandbox, parts_of
from .wording import shortened

MAX_WRITTEN = 80
"""Characters of an expression that a message repeats."""


class _Line(int):
    """The number of a line, with the place of one token in its template."""

    offset: int


class Placed(Sandbox):
    """A sandbox whose trees know where their nodes stand."""

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        tokens = _placed(source, self.lexer.tokeniter(source, name, filename, state))
        return TokenStream(self.lexer.wrap(tokens, name, filename), name, filename)


def _placed(source: str, tokens: Iterator[tuple[int, str, str]]) -> Iterator[tuple[int, str, str]]:
    place = 0
    try:
        for number, kind, text in tokens:
            while not source.startswith(text, place) and source[place : place + 1].isspace():
                place += 1  # what `-%}` takes away
            line = _Line(number)
            line.offset = place
            yield line, kind, text
            place += len(text) if source.startswith(text, place) else 0
    except TemplateSyntaxError as error:  # the lexer's own, behind the last token that it could read
        line = _Line(error.lineno)
        line.offset = place
        error.lineno = line
        raise


def place_of_line(line: int, source: str) -> int:
    """Return the place that a line's number carries, or else where that line begins."""
    if isinstance(line, _Line):
        return line.offset
    return sum(len(each) for each in source.splitlines(keepends=True)[: max(0, line - 1)])


def start_of(node: nodes.Node, source: str) -> int:
    """Return where the first character of a node stands: that of its first part, since `a.b` begins with `a`."""
    parts = [part for part in (node, *_below(node)) if getattr(part, "lineno", None) is not None]
    return min((place_of_line(part.lineno, source) for part in parts), default=0)


def _below(node: nodes.Node) -> Iterator[nodes.Node]:
    for child in node.iter_child_nodes():
        yield child
        yield from _below(child)


def place_of_name(source: str, name: str) -> int:
    """Return where a template uses a name; 0 if that cannot be told."""
    return _place_of(source, lambda node: isinstance(node, nodes.Name) and node.name == name)


def place_of_member(source: str, *way: str) -> int:
    """Return where a template uses `a.b.c`, given as its parts; 0 if that cannot be told."""
    *owner, name = way
    if not owner:
        return place_of_name(source, name)
    found = _place_of(source, lambda node: _is_way(node, way))
    return found or place_of_member(source, *owner)


def _is_way(node: nodes.Node, way: tuple[str, ...]) -> bool:
    *owner, name = way
    match node:
        case nodes.Name(name=found):
            return not owner and found == name
        case nodes.Getattr(node=value, attr=found) | nodes.Getitem(node=value, arg=nodes.Const(value=found)):
            return bool(owner) and found == name and _is_way(value, tuple(owner))
    return False


def _place_of(source: str, is_meant: Callable[[nodes.Node], bool]) -> int:
    try:
        found = next((node for node in parts_of(_tree_of(source)) if is_meant(node)), None)
    except (TemplateSyntaxError, RecursionError, ValueError):
        return 0
    return 0 if found is None else start_of(found, source)


@lru_cache(maxsize=4)
def _tree_of(source: str) -> nodes.Template:
    return placed_sandbox().parse(source)


@lru_cache(maxsize=1)
def placed_sandbox() -> Placed:
    """Return the one whose trees are only looked at."""
    return Placed()


# -- as text ----------------------------------------------------------------------------------------------------------


def written(node: nodes.Node) -> str:
    """Return an expression as it can be typed, cut if it is long."""
    return shortened(_text(node), MAX_WRITTEN)


def operand(node: nodes.Node) -> str:
    """Return an expression as it can be typed beside an operator: in parentheses where it needs them."""
    return shortened(_operand(node), MAX_WRITTEN)


def _text(node: nodes.Node) -> str:
    match node:
        case nodes.Name(name=name):
            return name
        case nodes.Const(value=value):
            return _constant(value)
        case nodes.Getattr(node=owner, attr=attribute):
            return f"{_operand(owner)}.{attribute}"
        case nodes.Getitem(node=owner, arg=argument):
            return f"{_operand(owner)}[{_text(argument)}]"
        case nodes.Slice(start=start, stop=stop, step=step):
            return ":".join("" if part is None else _text(part) for part in (start, stop, *([step] if step else [])))
        case nodes.Filter() | nodes.Test() | nodes.Call():
            return _call(node)
        case nodes.List(items=items):
            return f"[{_listed(items)}]"
        case nodes.Tuple(items=items):
            return f"({_listed(items)})"
        case nodes.Dict(items=items):
            return "{" + ", ".join(f"{_text(pair.key)}: {_text(pair.value)}" for pair in items) + "}"
        case nodes.Concat(nodes=parts):
            return " ~ ".join(map(_operand, parts))
        case nodes.Compare(expr=first, ops=others):
            return " ".join([_operand(first), *(f"{SIGNS[each.op]} {_operand(each.expr)}" for each in others)])
        case nodes.Not(node=value):
            return f"not {_operand(value)}"
        case nodes.BinExpr(left=left, right=right, operator=operator):
            return f"{_operand(left)} {operator} {_operand(right)}"
        case nodes.UnaryExpr(node=value, operator=operator):
            return f"{operator}{_operand(value)}"
        case nodes.CondExpr(test=test, expr1=yes, expr2=no):
            otherwise = "" if no is None else f" else {_operand(no)}"
            return f"{_operand(yes)} if {_operand(test)}{otherwise}"
    return "…"


SIGNS = {
    "eq": "==",
    "ne": "!=",
    "gt": ">",
    "gteq": ">=",
    "lt": "<",
    "lteq": "<=",
    "in": "in",
    "notin": "not in",
}

_BINDING_LOOSELY = (nodes.BinExpr, nodes.UnaryExpr, nodes.Compare, nodes.Concat, nodes.CondExpr, nodes.Test)


def _operand(node: nodes.Node) -> str:
    return f"({_text(node)})" if isinstance(node, _BINDING_LOOSELY) else _text(node)


def _call(node: nodes.Filter | nodes.Test | nodes.Call) -> str:
    given = [_text(each) for each in node.args]
    given += [f"{each.key}={_text(each.value)}" for each in node.kwargs if isinstance(each, nodes.Keyword)]
    given += [f"{mark}{_text(each)}" for mark, each in (("*", node.dyn_args), ("**", node.dyn_kwargs)) if each]
    listed = f"({', '.join(given)})"
    if isinstance(node, nodes.Call):
        return f"{_operand(node.node)}{listed}"
    value = "" if node.node is None else _operand(node.node)
    if node.name in (SPREAD, ROUNDS):
        return f"*{value}" if node.name == SPREAD else value
    return f"{value} {'is' if isinstance(node, nodes.Test) else '|'} {node.name}{listed if given else ''}"


def _listed(items: list[Any]) -> str:
    return ", ".join(map(_text, items))


def _constant(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return repr(value)
