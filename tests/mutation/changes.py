"""Small changes to Python source, of the kinds that people make by mistake.

`changes_of` lists every change that it can make to one file. A change replaces one stretch of the source, so the diff
of a mutant is a line or two. Left alone is what no test is asked to notice: annotations, prose, what `if TYPE_CHECKING`
guards, what only helps a type checker, and what a `@dataclass` says of itself."""

from __future__ import annotations

import ast
import io
import tokenize
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

OPERATORS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "is": "is not",
    "is not": "is",
    "in": "not in",
    "not in": "in",
    "and": "or",
    "or": "and",
    "+": "-",
    "-": "+",
    "*": "//",
    "/": "*",
    "//": "*",
    "%": "//",
    "|": "&",
    "&": "|",
    "+=": "-=",
    "-=": "+=",
    "|=": "&=",
}
"""What stands in the source, and what a mutant has instead."""

FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}
"""Functions of Python that are taken for each other."""

FOR_TYPE_CHECKERS = {"assert_never", "cast", "NewType", "TypeVar", "ParamSpec", "reveal_type"}
"""Functions whose calls change nothing when a program runs."""


class Change(NamedTuple):
    """One small change: the bytes from `start` to `end` of a file become `replacement`."""

    start: int
    end: int
    replacement: str
    line: int
    """The line of `start`, from 1."""

    statement: int
    """The line in which the statement around it begins."""

    kind: str

    def apply(self, source: bytes) -> bytes:
        """Return the source with this change."""
        return source[: self.start] + self.replacement.encode() + source[self.end :]

    def compiles(self, source: bytes) -> bool:
        """True if the source is still Python with this change."""
        try:
            compile(self.apply(source), "mutant", "exec", dont_inherit=True)
        except SyntaxError:
            return False
        return True


def changes_of(source: bytes) -> list[Change]:
    """Return every change that can be made to a file, in the order of the source.

    A few of them are no longer Python (see `Change.compiles`): it takes a hundred times as long to compile them all.
    """
    return sorted(set(_Finder(source).changes()))


class _Finder:
    """Walks one file. A node is handed on only from the places that a test may be asked about."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._tokens = list(self._read_tokens())

    def _read_tokens(self) -> Iterator[tuple[int, str]]:
        """Yield the operators and words of the source, each with the byte where it begins."""
        lines = self._source.decode().splitlines(keepends=True)
        for token in tokenize.generate_tokens(io.StringIO(self._source.decode()).readline):
            if token.type in (tokenize.OP, tokenize.NAME):
                row, column = token.start
                yield self._starts[row - 1] + len(lines[row - 1][:column].encode()), token.string

    def changes(self) -> Iterator[Change]:
        """Yield the changes of the whole file, some of them perhaps twice."""
        for node, statement in self._judged(ast.parse(self._source), 1):
            for start, end, replacement, kind in self._of(node):
                yield Change(start, end, replacement, bisect_right(self._starts, start), statement, kind)

    def _judged(self, node: ast.AST, statement: int) -> Iterator[tuple[ast.AST, int]]:
        """Yield the node and all below it, without what is left alone, each with the first line of its statement."""
        if isinstance(node, ast.stmt):
            statement = node.lineno
        yield node, statement
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "type_params") or (name == "decorator_list" and _is_dataclass(node)):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _is_left_alone(child):
                    yield from self._judged(child, statement)

    def _of(self, node: ast.AST) -> Iterator[tuple[int, int, str, str]]:
        """Yield the changes that begin at this very node, as start, end, replacement and kind."""
        match node:
            case ast.Compare():
                terms = [node.left, *node.comparators]
                for before, after in pairwise(terms):
                    yield from self._swap_operator(before, after, "comparison")
            case ast.BoolOp():
                for before, after in pairwise(node.values):
                    yield from self._swap_operator(before, after, "condition")
            case ast.BinOp():
                yield from self._swap_operator(node.left, node.right, "operator")
            case ast.AugAssign():
                yield from self._swap_operator(node.target, node.value, "operator")
            case ast.UnaryOp(op=ast.Not()):
                yield *self._span(node), f"({self._text(node.operand)})", "condition"
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) | ast.comprehension(ifs=[test, *_]):
                if not _is_negated_elsewhere(test):
                    yield *self._span(test), f"(not ({self._text(test)}))", "branch"
            case ast.Constant():
                yield from self._other_constant(node)
            case ast.Call():
                yield from self._other_call(node)
        if isinstance(node, ast.stmt):
            yield from self._without(node)

    def _swap_operator(self, before: ast.expr, after: ast.expr, kind: str) -> Iterator[tuple[int, int, str, str]]:
        first, last = self._span(before)[1], self._span(after)[0]
        found = [(at, text) for at, text in self._tokens if first <= at < last and text not in "()"]
        if not found:
            return
        operator = " ".join(text for _, text in found)
        start, end = found[0][0], found[-1][0] + len(found[-1][1])
        if operator in OPERATORS:
            yield start, end, OPERATORS[operator], kind

    def _other_constant(self, node: ast.Constant) -> Iterator[tuple[int, int, str, str]]:
        if isinstance(node.value, bool):
            yield *self._span(node), str(not node.value), "constant"
        elif isinstance(node.value, int):
            yield *self._span(node), str(node.value + 1), "constant"
        elif isinstance(node.value, float):
            yield *self._span(node), repr(node.value * 2 + 1), "constant"

    def _other_call(self, node: ast.Call) -> Iterator[tuple[int, int, str, str]]:
        if isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            yield *self._span(node.func), FUNCTIONS[node.func.id], "function"
        given = node.args
        if len(given) >= 2 and not any(isinstance(each, ast.Starred) for each in given[:2]):
            between = self._source[self._span(given[0])[1] : self._span(given[1])[0]].decode()
            swapped = f"{self._text(given[1])}{between}{self._text(given[0])}"
            yield self._span(given[0])[0], self._span(given[1])[1], swapped, "arguments"
        for keyword in node.keywords:
            if keyword.arg is not None:
                start, end = self._span(keyword)
                comma = self._source[end:].lstrip()[:1] == b","
                yield start, self._source.index(b",", end) + 1 if comma else end, "", "argument"

    def _without(self, node: ast.stmt) -> Iterator[tuple[int, int, str, str]]:
        """Yield the change that leaves the statement out, where the rest may still run without it."""
        span = self._span(node)
        match node:
            case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Assert():
                yield *span, "pass", "statement"
            case ast.Break() | ast.Continue():
                yield *span, "pass", "statement"
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield *span, "pass", "statement"
            case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
                yield *span, "return None", "return"

    def _span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self._source[start:end].decode()


def _is_negated_elsewhere(test: ast.expr) -> bool:
    """True if a change of the condition itself already swaps the branches."""
    match test:
        case ast.UnaryOp(op=ast.Not()) | ast.Constant():
            return True
        case ast.Compare(ops=[ast.Eq() | ast.NotEq() | ast.Is() | ast.IsNot() | ast.In() | ast.NotIn()]):
            return True
    return False


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr():  # Python 3.11 does not say where the parts of an f-string stand
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in FOR_TYPE_CHECKERS
        case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
            return name in FOR_TYPE_CHECKERS
    return False


def _is_dataclass(node: ast.AST) -> bool:
    decorators: Sequence[ast.expr] = getattr(node, "decorator_list", ())
    return any("dataclass" in ast.unparse(each) for each in decorators)
