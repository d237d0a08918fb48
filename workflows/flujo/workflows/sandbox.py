"""The Jinja2 environment templates run in: sandboxed, strict about what does not exist, and bounded.

A template cannot reach Python's internals, change a value it was given, or name something that is not there without an
error that lists what is. Its operators and filters make no more than `bounds.py` allows, and one rendering goes through
at most `MAX_ITERATIONS` rounds of its loops. Whatever becomes text becomes JSON's text, and a text stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from string import Formatter
from types import BuiltinMethodType
from typing import Any

from jinja2 import Environment, StrictUndefined, nodes, pass_context, pass_environment, pass_eval_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import TemplateSyntaxError
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

from .bounds import (
    MAX_ITERATIONS,
    OPERATORS,
    LimitError,
    bounded_range,
    bounded_text,
    check_format,
    check_text_method,
    kind_of_value,
)
from .filters import filters, printf_arguments, text_of
from .seen import Variables, why_not_whole

ROUNDS = "__rounds"
"""The name under which a rendering counts the rounds of its loops."""

SPREAD = "__spread"
"""The filter that `*b` in a list is."""

_NO_COMMENTS = {"comment_start_string": "\0{#", "comment_end_string": "#}\0"}
"""`{#` is shell (`${#list[@]}`) and no comment, since YAML has its own: these marks cannot stand in a definition."""


class Unsupported(TemplateSyntaxError):
    """A template uses a statement of Jinja2 that templates here do not have."""


_NOT_SUPPORTED = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)


def parts_of(tree: nodes.Template) -> Iterator[nodes.Node]:
    """Yield each node below a template in the order of its text: `find_all(Node)` in a third of its time, since a
    definition has thousands of templates."""
    rest: list[nodes.Node] = [tree]
    while rest:
        children: list[nodes.Node] = []
        node = rest.pop()
        for field in node.fields:
            value = getattr(node, field)
            if isinstance(value, nodes.Node):
                children.append(value)
            elif isinstance(value, list):
                children += [each for each in value if isinstance(each, nodes.Node)]
        rest += reversed(children)
        if node is not tree:
            yield node


class _Parser(Parser):
    """Reads `[a, *b]` as Python does, which people write for a command with a list of arguments: as `[a] + b`.

    Powers that Jinja2 reads in another order than people do are refused: to it `2**3**2` is 64, and `-2**2` is 4."""

    def parse_pow(self) -> nodes.Expr:
        """Return a power of at most one `**`, which nobody reads in two ways."""
        has_sign = self.stream.current.type in ("sub", "add")
        line, base = self.stream.current.lineno, self.parse_unary()
        if not self.stream.skip_if("pow"):
            return base
        if has_sign:
            raise Unsupported("write (-a) ** b or -(a ** b), since -a ** b is read as either", line)
        power = nodes.Pow(base, self.parse_unary(), lineno=line)
        if self.stream.current.type == "pow":
            raise Unsupported("write (a ** b) ** c or a ** (b ** c), since a ** b ** c is read as either", line)
        return power

    def parse_list(self) -> nodes.Expr:  # type: ignore[override]  # it is called for any expression that begins with [
        line = self.stream.expect("lbracket").lineno
        parts: list[nodes.Expr] = [nodes.List([], lineno=line)]
        is_first = True
        while self.stream.current.type != "rbracket":
            if not is_first:
                self.stream.expect("comma")
                if self.stream.current.type == "rbracket":
                    break
            is_first = False
            if self.stream.skip_if("mul"):
                spread = nodes.Filter(self.parse_expression(), SPREAD, [], [], None, None, lineno=line)
                parts += [spread, nodes.List([], lineno=line)]
            else:
                assert isinstance(parts[-1], nodes.List)
                parts[-1].items.append(self.parse_expression())
        self.stream.expect("rbracket")
        found, *others = parts
        for part in others:
            if not isinstance(part, nodes.List) or part.items:
                found = nodes.Add(found, part, lineno=line)
        return found


class Missing(StrictUndefined):
    """A name or attribute that is not there. Using it raises an error which lists what is; asking it for an attribute,
    an item or a call gives the same again, so that one `default` covers the whole chain."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return str(self._undefined_hint)
        name, owner = self._undefined_name, self._undefined_obj
        if isinstance(name, slice):
            return f"a slice counts with whole numbers, in a text or a list, and this is of {kind_of_value(owner)}"
        if not isinstance(name, (str, int)):
            return f"an item has a name or a number, and this is {kind_of_value(name)}"
        if isinstance(owner, Variables):
            told = "was not set when this run was started, and stays so: start it anew, or write"
            return f"the environment variable `{name}` {told} `env.{name} | default('')`"
        if isinstance(owner, Mapping):
            known = ", ".join(map(str, list(owner)[:30])) or "nothing"
            return f"there is no `{name}`; there is: {known}"
        if isinstance(owner, (list, tuple)) and isinstance(name, int):
            return f"there is no item {name}; the list has {len(owner)}"
        if isinstance(owner, (list, tuple)):
            return f"a list has no `{name}`; its items are counted, as in [0]"
        if owner is None or isinstance(owner, (str, int, float)):
            return f"{kind_of_value(owner)} has no `{name}`"
        return f"`{name}` is not defined"


class NoResult(Missing):
    """`NotRun` as a template sees it: not `defined`, yet its `status` answers."""

    __slots__ = ("status", "step")

    def __init__(self, step: str, status: str) -> None:
        why = "has not run yet, so it has only a status"
        if status == "skipped":
            why = "was skipped, so it has only a status; `| default(…)` says what stands for the rest"
        super().__init__(hint=f"step `{step}` {why}", name=step)
        self.step, self.status = step, status


class Sandbox(ImmutableSandboxedEnvironment):
    """One environment for all templates; it holds no state of theirs."""

    intercepted_binops = frozenset(OPERATORS)

    def __init__(self) -> None:
        # Without the optimizer nothing is computed while a template is only loaded.
        super().__init__(
            undefined=Missing,
            autoescape=False,
            optimized=False,
            keep_trailing_newline=True,
            finalize=_finalized,
            **_NO_COMMENTS,
        )
        self.code_generator_class = BoundedCode
        for name in ("lipsum", "cycler", "joiner", "namespace"):
            del self.globals[name]
        self.globals["range"] = bounded_range
        self.filters = {**filters(), "attr": _attribute, ROUNDS: _counted, SPREAD: _spread}

    concat = staticmethod(lambda parts: bounded_text(parts))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return `a.b`: the data first, so that `result.items` is the item and not a method of dictionaries."""
        if isinstance(obj, Mapping):
            try:
                return obj[attribute]
            except (TypeError, LookupError):
                _require_whole(obj, attribute)
        if isinstance(obj, Undefined):
            return obj.status if isinstance(obj, NoResult) and attribute == "status" else obj
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return `a[b]`, `a[1:2]` included."""
        if isinstance(obj, Undefined):
            return self.getattr(obj, argument) if isinstance(argument, str) else obj
        if isinstance(obj, Mapping) and isinstance(argument, str) and argument not in obj:
            _require_whole(obj, argument)
        return super().getitem(obj, argument)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = _Parser(self, source, name, filename).parse()
        for node in list(parts_of(tree)):
            if isinstance(node, _NOT_SUPPORTED):
                raise Unsupported(f"`{type(node).__name__.lower()}` is not supported", node.lineno)
            if isinstance(node, nodes.For):
                if node.recursive:
                    raise Unsupported("a recursive loop is not supported", node.lineno)
                node.iter = nodes.Filter(node.iter, ROUNDS, [], [], None, None, lineno=node.lineno)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return `left operator right`, unless the result would be too large."""
        OPERATORS[operator](left, right)
        if operator == "%" and isinstance(left, str):
            right = printf_arguments(right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a value, unless it would make a text that is too large."""
        if isinstance(__obj, Undefined):
            return __obj
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            check_text_method(owner, __obj.__name__, args)
        if isinstance(owner, Mapping) and args and isinstance(args[0], str) and args[0] not in owner:
            _require_whole(owner, args[0])  # `result.get('stdout', '')`
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return `'{}'.format`, bounded, with every value as the text it is everywhere; None for another value."""
        if not isinstance(value, BuiltinMethodType) or value.__name__ not in ("format", "format_map"):
            return super().wrap_str_format(value)
        text = value.__self__
        if not isinstance(text, str):
            return None
        check_format(text)
        formatter: Formatter = _Formatter(self)

        def format(*args: Any, **kwargs: Any) -> str:
            return formatter.vformat(text, args, kwargs)

        def format_map(names: Mapping[str, Any]) -> str:
            return formatter.vformat(text, (), names)

        return format if value.__name__ == "format" else format_map

    def bounded_concat(self, parts: Iterable[Any]) -> str:
        """Return what the operator `~` makes."""
        return bounded_text(map(text_of, parts))


@pass_environment
def _attribute(environment: Environment, value: Any, name: Any) -> Any:
    """Return `a.b` for `a | attr('b')`, which is the same here."""
    return environment.getattr(value, str(name))


def _require_whole(result: Mapping[str, Any], name: str) -> None:
    """Raise LimitError for an output of a command that was cut, or went to a file: no `default` may stand for it."""
    if (why := why_not_whole(result, name)) is not None:
        raise LimitError(why)


class _Formatter(SandboxedFormatter):
    def format_field(self, value: Any, format_spec: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            value = text_of(value)
        return super().format_field(value, format_spec)

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(value, conversion) if conversion is None else text_of(value)


class BoundedCode(CodeGenerator):
    """The Python that templates become: `~` and slices go through the environment."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.bounded_concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Slice(self, node: nodes.Slice, frame: Frame) -> None:
        self.write("slice(")
        for part in (node.start, node.stop, node.step):
            if part is None:
                self.write("None")
            else:
                self.visit(part, frame)
            self.write(", ")
        self.write(")")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        self.write("environment.getitem(")
        self.visit(node.node, frame)
        self.write(", ")
        self.visit(node.arg, frame)
        self.write(")")


@pass_eval_context  # a finalizer that takes one is not called for constants when a template is only loaded
def _finalized(_: nodes.EvalContext, value: Any) -> str:
    return text_of(value)


def _spread(value: Any) -> list[Any]:
    """Return the items that `*value` puts into a list. Text is never split, and nobody means the keys of a mapping."""
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    if isinstance(value, (str, Mapping)):
        raise TypeError(f"`*` puts in the items of a list, and this is {kind_of_value(value)}")
    return list(value)


@pass_context
def _counted(context: Context, iterable: Iterable[Any]) -> Iterator[Any]:
    """Go through what a loop goes through, counted for the whole rendering."""
    if isinstance(iterable, Undefined):
        iterable._fail_with_undefined_error()
    return _rounds(context[ROUNDS], iter(iterable))


def _rounds(rounds: list[int], items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        rounds[0] += 1
        if rounds[0] > MAX_ITERATIONS:
            raise LimitError(f"the loops of this template go through more than {MAX_ITERATIONS} rounds")
        yield item
