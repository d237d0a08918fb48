"""The Jinja2 environment templates run in: sandboxed, strict about what does not exist, and bounded.

A template cannot reach Python's internals, change a value it was given, or name something that is not there without an
error that lists what is. No operation makes a text or list beyond `MAX_SIZE`, no number beyond `MAX_BITS`, and one
rendering goes through at most `MAX_ITERATIONS` rounds of its loops. The limits guard against accidents and hostile
data: a workflow that may run `shell` is trusted anyway.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from jinja2 import StrictUndefined, nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_SIZE = 1024 * 1024
MAX_VALUE = 16 * MAX_SIZE  # what one `{{ expr }}` may hand on: characters and items of something that exists already
MAX_BITS = 4096
MAX_RANGE = 100_000
MAX_ITERATIONS = 500_000
MAX_WIDTH = 10_000

ROUNDS = "__rounds"
"""The name under which a rendering counts the rounds of its loops."""

_BIG_PRINTF = re.compile(r"%[^a-zA-Z%]*(\d{5}|\*)")
_BIG_FORMAT = re.compile(r"\d{5}|\{[^{}]*:[^{}]*\{")


class LimitError(SecurityError):
    """A template asked for more than a template may."""


class Missing(StrictUndefined):
    """A name or attribute that is not there; touching it raises an error which lists what is."""

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return str(self._undefined_hint)
        name, owner = self._undefined_name, self._undefined_obj
        if not isinstance(name, (str, int)):
            return f"{name!r} does not exist"
        if isinstance(owner, Mapping):
            known = ", ".join(map(str, list(owner)[:30])) or "nothing"
            return f"there is no `{name}`; there is: {known}"
        if isinstance(owner, (list, tuple)):
            return f"there is no item {name}; the list has {len(owner)}"
        if owner is None or isinstance(owner, (str, int, float)):
            return f"{_kind(owner)} has no `{name}`"
        return f"`{name}` is not defined"


class NotRun(Missing):
    """A step without a result: not `defined`, yet its `status` answers."""

    __slots__ = ("status",)

    def __init__(self, name: str, status: str) -> None:
        why = "was skipped" if status == "skipped" else "has not run yet"
        super().__init__(hint=f"step `{name}` {why}, so it has only a status", name=name)
        self.status = status


class Sandbox(ImmutableSandboxedEnvironment):
    """One environment for all templates; it holds no state of theirs."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        # Without the optimizer nothing is computed while a template is only loaded.
        super().__init__(undefined=Missing, autoescape=False, optimized=False, keep_trailing_newline=True)
        self.code_generator_class = _BoundedCode
        for name in ("lipsum", "cycler", "joiner", "namespace"):
            del self.globals[name]
        self.globals["range"] = _bounded_range
        for name in ("center", "indent", "batch", "slice", "wordwrap", "tojson"):
            self.filters[name] = _with_small_numbers(name, self.filters[name])
        for name in ("random", "pprint", "xmlattr", "urlize"):
            del self.filters[name]
        self.filters["format"] = _checked_format
        self.filters["replace"] = _checked_replace
        self.filters["join"] = _checked_join(self.filters["join"])
        self.filters["quote"] = lambda value: shlex.quote(str(value))
        self.filters["tojson"] = _with_small_numbers("tojson", _to_json)
        self.filters[ROUNDS] = _counted

    concat = staticmethod(lambda parts: bounded_text(parts))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`a.b`: the data first, so that `result.items` is the item and not a method of dictionaries."""
        if isinstance(obj, Mapping):
            try:
                return obj[attribute]
            except (TypeError, LookupError):
                pass
        if isinstance(obj, NotRun) and attribute in ("result", "attempt", "error"):
            return obj  # as undefined as the step, so that `steps.x.result | default(0)` works
        return super().getattr(obj, attribute)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for kind in (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block):
            for node in tree.find_all(kind):
                raise TemplateSyntaxError(f"`{kind.__name__.lower()}` is not supported", node.lineno)
        for loop in tree.find_all(nodes.For):
            if loop.recursive:
                raise TemplateSyntaxError("a recursive loop is not supported", loop.lineno)
            loop.iter = nodes.Filter(loop.iter, ROUNDS, [], [], None, None, lineno=loop.lineno)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`left operator right`, unless the result would be too large."""
        _CHECKS[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a value, unless it would make a text that is too large."""
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            _check_text_method(owner, __obj.__name__, args)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`'{}'.format`, unless it would make a text that is too large."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None and _BIG_FORMAT.search(value.__self__):
            raise LimitError(f"a width in a format may have at most four digits: {value.__self__[:40]!r}")
        return wrapped

    def bounded_concat(self, parts: Iterable[Any]) -> str:
        """The operator `~`."""
        return bounded_text(map(str, parts))


class _BoundedCode(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.bounded_concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


def bounded_text(parts: Iterable[str]) -> str:
    """The parts as one text; raises LimitError as soon as they are more than a template may make."""
    kept: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_SIZE:
            raise LimitError(f"the text becomes larger than {MAX_SIZE // 1024} KiB")
        kept.append(part)
    return "".join(kept)


def bounded_value(value: Any) -> Any:
    """What an expression gave as plain JSON types; raises for what is undefined, no data, or too large."""
    room = [MAX_VALUE]

    def copy(value: Any) -> Any:
        room[0] -= len(value) if isinstance(value, str) else 1
        if room[0] < 0:
            raise LimitError(f"the value is larger than {MAX_VALUE // 1024 // 1024} MiB")
        if isinstance(value, Undefined):
            value._fail_with_undefined_error()
        if isinstance(value, str):
            return str(value)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Mapping):
            return {copy(key): copy(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, range, Iterator)):
            return [copy(item) for item in value]
        raise TypeError(f"{_kind(value)} is not a value that can be recorded")

    return copy(value)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if callable(value):
        return "a function"
    return {str: "a text", bool: "true or false", int: "a number", float: "a number"}.get(
        type(value), type(value).__name__
    )


# -- what the operators may do ----------------------------------------------------------------------------------------


def _check_size(size: int) -> None:
    if size > MAX_SIZE:
        raise LimitError(f"the result would be larger than {MAX_SIZE // 1024} KiB")


def _check_bits(bits: float) -> None:
    if bits > MAX_BITS:
        raise LimitError(f"the result would be a number of more than {MAX_BITS} bits")


def _check_plus(left: Any, right: Any) -> None:
    if isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
        _check_size(len(left) + len(right))


def _check_times(left: Any, right: Any) -> None:
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, (str, list, tuple)) and isinstance(count, int):
            _check_size(len(sequence) * max(count, 0))
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * max(right, 0))


def _check_percent(left: Any, right: Any) -> None:
    if isinstance(left, str) and _BIG_PRINTF.search(left):
        raise LimitError(f"a width in a format may have at most four digits: {left[:40]!r}")


_CHECKS: dict[str, Callable[[Any, Any], None]] = {
    "+": _check_plus,
    "*": _check_times,
    "**": _check_power,
    "%": _check_percent,
}


# -- what methods and filters may do ----------------------------------------------------------------------------------


def _check_text_method(text: str, name: str, args: tuple[Any, ...]) -> None:
    if name in ("center", "ljust", "rjust", "zfill", "expandtabs"):
        _check_numbers(name, args)
    elif name == "replace" and len(args) >= 2:
        _check_replace(text, args[0], args[1])
    elif name == "join" and args and isinstance(args[0], (str, list, tuple)):
        _check_size(len(text) * len(args[0]) + sum(len(part) for part in args[0] if isinstance(part, str)))
    elif name == "translate":
        raise LimitError("`translate` is not available in templates")


def _check_numbers(name: str, numbers: Iterable[Any]) -> None:
    for number in numbers:
        if isinstance(number, (int, float)) and abs(number) > MAX_WIDTH:
            raise LimitError(f"`{name}` takes numbers up to {MAX_WIDTH}, not {number}")


def _check_replace(text: str, old: Any, new: Any) -> None:
    occurrences = text.count(str(old))
    _check_size(len(text) + occurrences * len(str(new)))


def _with_small_numbers(name: str, filter: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(filter)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _check_numbers(name, (*args[1:], *kwargs.values()))
        return filter(*args, **kwargs)

    return checked


def _checked_format(value: Any, *args: Any, **kwargs: Any) -> str:
    """`'%s of %s' | format(a, b)`"""
    text = str(value)
    _check_percent(text, None)
    return text % (kwargs or args)


def _checked_replace(value: Any, old: str, new: str, count: int | None = None) -> str:
    text = str(value)
    _check_replace(text, old, new)
    return text.replace(str(old), str(new), -1 if count is None else count)


def _checked_join(join: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(join)
    def checked(eval_context: Any, value: Any, d: str = "", attribute: Any = None) -> Any:
        items = list(value)
        _check_size(len(str(d)) * len(items) + sum(len(item) for item in items if isinstance(item, str)))
        return join(eval_context, items, d, attribute)

    return checked


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON for a file or a command, not for HTML: nothing is escaped that JSON does not escape."""
    import json

    return json.dumps(bounded_value(value), ensure_ascii=False, indent=indent, allow_nan=False)


def _bounded_range(*args: int) -> range:
    numbers = range(*args)
    if len(numbers) > MAX_RANGE:
        raise LimitError(f"`range` gives at most {MAX_RANGE} numbers")
    return numbers


@pass_context
def _counted(context: Context, iterable: Iterable[Any]) -> Iterator[Any]:
    """What a loop goes through, counted for the whole rendering."""
    rounds: list[int] = context[ROUNDS]
    if isinstance(iterable, Undefined):
        iterable._fail_with_undefined_error()
    for item in iterable:
        rounds[0] += 1
        if rounds[0] > MAX_ITERATIONS:
            raise LimitError(f"the loops of this template go through more than {MAX_ITERATIONS} rounds")
        yield item
