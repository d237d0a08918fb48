"""The filters templates have besides those of Jinja2, and those of Jinja2 that make text.

Every filter that makes text takes a value that is none as JSON, as everything that becomes text here does, and hands on
what is undefined, so that a `default` behind it still has its say.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import posixpath
import shlex
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any
from urllib.parse import quote as percent_encoded

from jinja2 import pass_eval_context
from jinja2.filters import FILTERS, make_attrgetter
from jinja2.nodes import EvalContext
from jinja2.runtime import Undefined

from .bounds import MAX_SIZE, bounded_value, check_numbers, check_printf, check_replace, check_size
from .text_filters import text_filters
from .texts import as_text

Filter = Callable[..., Any]


def text_of(value: Any) -> str:
    """Return a value as text; raises LimitError, and UndefinedError for what is undefined."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (bool, int)):
        return as_text(value)
    return as_text(bounded_value(value, MAX_SIZE))


def format_argument(value: Any) -> Any:
    """Return a number as it is and any other value as text, for `%d` and `%s` alike."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else text_of(value)


def printf_arguments(values: Any) -> Any:
    """Return the right side of `text % values` with every value ready for its place."""
    if isinstance(values, tuple):
        return tuple(map(format_argument, values))
    if isinstance(values, Mapping):
        return {key: format_argument(value) for key, value in values.items()}
    return format_argument(values)


def filters() -> dict[str, Filter]:
    """Return every filter a template may use, by name."""
    found = {name: each for name, each in FILTERS.items() if name not in _LEFT_OUT}
    for name in _OF_TEXTS:
        found[name] = _of_text(found[name])
    for name in ("center", "indent", "batch", "slice", "wordwrap"):
        found[name] = _with_small_numbers(name, found[name])
    found |= _OURS
    return {name: each if name in ("default", "d") else _of_defined(each) for name, each in found.items()}


_LEFT_OUT = frozenset({"random", "pprint", "xmlattr", "urlize"})

_OF_TEXTS = (
    *("capitalize", "center", "e", "escape", "forceescape", "indent", "lower", "striptags", "title", "trim"),
    *("truncate", "upper", "wordcount", "wordwrap", "safe"),
)


def _value_index(filter: Filter) -> int:
    """Return where a filter takes its value: behind the context, if it takes one."""
    return 1 if hasattr(filter, "jinja_pass_arg") else 0


def _of_defined(filter: Filter) -> Filter:
    at = _value_index(filter)

    @wraps(filter)
    def lenient(*args: Any, **kwargs: Any) -> Any:
        return args[at] if isinstance(args[at], Undefined) else filter(*args, **kwargs)

    return lenient


def _of_text(filter: Filter) -> Filter:
    at = _value_index(filter)

    @wraps(filter)
    def of_text(*args: Any, **kwargs: Any) -> Any:
        return filter(*args[:at], text_of(args[at]), *args[at + 1 :], **kwargs)

    return of_text


def _with_small_numbers(name: str, filter: Filter) -> Filter:
    at = _value_index(filter)

    @wraps(filter)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_numbers(name, (*args[at + 1 :], *kwargs.values()))
        return filter(*args, **kwargs)

    return checked


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    """Return `'%s of %s' | format(a, b)`."""
    text = text_of(value)
    check_printf(text)
    formatted: str = text % printf_arguments(kwargs or args)
    return formatted


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    check_replace(text, old, new)
    return text.replace(old, new, -1 if count is None else count)


@pass_eval_context
def _join(eval_context: EvalContext, value: Any, d: Any = "", attribute: Any = None) -> str:
    items: Iterable[Any] = value
    if attribute is not None:
        items = map(make_attrgetter(eval_context.environment, attribute), items)
    between, texts = text_of(d), [text_of(item) for item in items]
    check_size(len(between) * len(texts) + sum(map(len, texts)))
    return between.join(texts)


def _to_json(value: Any, indent: int | None = None) -> str:
    """Return JSON for a file or a command, not for HTML: nothing is escaped that JSON does not escape."""
    check_numbers("tojson", [indent])
    return json.dumps(bounded_value(value, MAX_SIZE), ensure_ascii=False, indent=indent, allow_nan=False)


def _from_json(value: Any) -> Any:
    text = text_of(value)
    check_size(len(text))
    return json.loads(text)


def _b64encode(value: Any) -> str:
    text = text_of(value)
    check_size(len(text) * 4 // 3)
    return base64.b64encode(text.encode()).decode()


def _b64decode(value: Any) -> str:
    try:
        return base64.b64decode(text_of(value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"the value is not base64 of a text: {error}") from None


def _urlencode(value: Any) -> str:
    """Return a value's text percent-encoded, and a mapping or a list of pairs as a query."""
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, list) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        return percent_encoded(text_of(value), safe="/")
    return "&".join("=".join(percent_encoded(text_of(part), safe="") for part in pair) for pair in pairs)


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = text_of(value).strip().lower()
    if word in ("true", "false"):
        return word == "true"
    raise ValueError(f"{word[:40]!r} is neither true nor false")


def _split(value: Any, separator: Any = None) -> list[str]:
    return text_of(value).split(None if separator is None else text_of(separator))


_OURS: dict[str, Filter] = {
    "b64decode": _b64decode,
    "b64": _b64encode,
    "b64encode": _b64encode,
    "basename": lambda value: posixpath.basename(text_of(value)),
    "bool": _bool,
    "dirname": lambda value: posixpath.dirname(text_of(value)),
    "format": _format,
    "from_json": _from_json,
    "fromjson": _from_json,
    "join": _join,
    "quote": lambda value: shlex.quote(text_of(value)),
    "replace": _replace,
    "sha256": lambda value: hashlib.sha256(text_of(value).encode()).hexdigest(),
    "split": _split,
    "splitlines": lambda value: text_of(value).splitlines(),
    "string": text_of,
    "to_json": _to_json,
    "tojson": _to_json,
    "urlencode": _urlencode,
    **text_filters(text_of),
}
