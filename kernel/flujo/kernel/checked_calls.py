"""Refusing arguments of a wrong type where they come in, by name.

    @checked
    class Kernel: ...

looks at the arguments of every public method, and of the constructor, before the method does: by what the signature
declares, so that no method can be forgotten (tests/kernel/test_wrong_types.py tries them all). Only types are looked
at; what a value says is for the method itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache, wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from .errors import FlujoError, InvalidNameError, InvalidValueError

C = TypeVar("C")

_LONGEST_SHOWN = 100  # characters of a refused value

_WORDS: Mapping[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    NoneType: "None",
    Path: "a pathlib.Path",
    datetime: "a datetime",
    timedelta: "a timedelta",
    Mapping: "a mapping of names",
    Sequence: "a list",
    Collection: "a list",
    Iterable: "a list",
}

_WORDS_BY_NAME: Mapping[str, str] = {
    "StateBackend": "a backend, such as open_backend(URL) returns",
    "Workflow": "a workflow, such as @workflow() declares",
}
"""Of classes that stand above this module."""


def checked(cls: type[C]) -> type[C]:
    """Have every public method of a class refuse arguments of a wrong type with InvalidNameError, and text that UTF-8
    cannot hold with InvalidValueError. One that is async
    asks `_require_here` of its instance first, if the class has that."""
    for name, method in list(vars(cls).items()):
        if inspect.isfunction(method) and (name == "__init__" or not name.startswith("_")):
            setattr(cls, name, _checking(method, hasattr(cls, "_require_here")))
    return cls


def _checking(method: Callable[..., Any], is_guarded: bool) -> Callable[..., Any]:
    declared = cache(lambda: _declared(method))  # not before the first call: it resolves the annotations

    if inspect.iscoroutinefunction(method):

        @wraps(method)
        async def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            if is_guarded:
                self._require_here()
            _check(declared(), args, kwargs)
            return await method(self, *args, **kwargs)

        return call

    @wraps(method)
    def call_plainly(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        _check(declared(), args, kwargs)
        return method(self, *args, **kwargs)

    return call_plainly


class _Argument(NamedTuple):
    """What a method declares of one argument. `takes` tells whether a value is of the type of `annotation`."""

    name: str
    annotation: Any
    takes: Callable[[Any], bool]


class _Declared(NamedTuple):
    """What a method declares of its arguments, by place and by name."""

    by_place: Sequence[_Argument]
    by_name: Mapping[str, _Argument]


def _declared(method: Callable[..., Any]) -> _Declared:
    hints = get_type_hints(method)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    annotations: dict[str, Any] = {}
    for each in parameters:
        if each.kind is not each.VAR_KEYWORD:
            annotations[each.name] = hints[each.name]
        elif is_typeddict(options := get_args(hints[each.name])[0]):
            annotations.update(get_type_hints(options))
    by_name = {name: _Argument(name, annotation, _test_of(annotation)) for name, annotation in annotations.items()}
    return _Declared([by_name[each.name] for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD], by_name)


def _check(declared: _Declared, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    # Too many arguments, and names that do not exist, are left to Python, which says so itself.
    for argument, value in zip(declared.by_place, args, strict=False):
        if not argument.takes(value):
            raise _refusal(*argument[:2], value)
    for name, value in kwargs.items():
        if (declared_argument := declared.by_name.get(name)) is not None and not declared_argument.takes(value):
            raise _refusal(name, declared_argument.annotation, value)


def check_argument(name: str, annotation: Any, value: Any) -> None:
    """Raise InvalidNameError unless a value is of the type that an annotation names."""
    if not _test_of(annotation)(value):
        raise _refusal(name, annotation, value)


def _refusal(name: str, annotation: Any, value: Any) -> FlujoError:
    if isinstance(value, str) and not _is_utf8(value):
        return InvalidValueError(name, "it is text that UTF-8 cannot hold")
    return InvalidNameError(name, _shown(value), _described(annotation))


def _is_utf8(text: str) -> bool:
    """True for a text that a store, and a call, can hold."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _test_of(annotation: Any) -> Callable[[Any], bool]:
    """Return what tells whether a value is of the type that an annotation names. Made once for each argument: every
    start of a run asks for ten of them."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return _is_any_of(*map(_test_of, get_args(annotation)))
    kind = origin or annotation
    if annotation is None or kind is NoneType:
        return lambda value: value is None
    if kind is Any or kind is object or not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return lambda value: True  # nobody can tell: anything, or a protocol
    if kind is bool:
        return lambda value: isinstance(value, bool)
    if kind is float:
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    if kind is str:
        return lambda value: isinstance(value, str) and _is_utf8(value)
    if issubclass(kind, Mapping):
        return lambda value: isinstance(value, Mapping) and all(isinstance(each, str) for each in value)
    if kind in (Sequence, Collection, Iterable):
        takes = _test_of(get_args(annotation)[0])
        return lambda value: _is_list(value) and all(map(takes, _looked_through(value)))
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


def _is_any_of(*tests: Callable[[Any], bool]) -> Callable[[Any], bool]:
    if len(tests) == 2:
        one, other = tests
        return lambda value: one(value) or other(value)
    return lambda value: any(test(value) for test in tests)


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _looked_through(values: Iterable[Any]) -> Iterable[Any]:
    """The values themselves, if looking at them does not use them up."""
    return values if isinstance(values, Collection) else ()


def _described(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        kinds = get_args(annotation)
        words = " or ".join(dict.fromkeys(_described(each) for each in kinds))
        return words.replace(_WORDS[int], "microseconds since 1970 in UTC") if datetime in kinds else words
    kind = NoneType if annotation is None else origin or annotation
    if kind in (Sequence, Collection, Iterable) and get_args(annotation)[0] is str:
        return "a list of texts"
    with suppress(TypeError, KeyError):
        return _WORDS[kind]
    return _WORDS_BY_NAME.get(kind.__name__, f"a {kind.__name__}")


def _shown(value: Any) -> Any:
    """What a message shows of a refused value, which may be of any size: the value if it is short, or else its type."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 10**_LONGEST_SHOWN else int
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}…"
    return type(value)
