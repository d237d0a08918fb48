"""Refusing arguments of a wrong type where they come in, by name.

    @checked
    class Kernel: ...

    @declaring()
    def workflow(*, name: str | None = None, …): ...

look at the arguments of every public method, and of the constructor, or of one function, before these do: by what the
signature declares, so that no method can be forgotten (tests/kernel/test_wrong_types.py tries them all). Types are
looked at, and bounds that a type names (`Count`); what else a value says is for the method itself.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache, lru_cache, wraps
from pathlib import Path
from types import FunctionType, NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from weakref import WeakSet

from .durations import Duration, parse_duration
from .errors import DeclarationError, FlujoError, InvalidDurationError, InvalidNameError, InvalidValueError
from .errors.base import shown

C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])


class AtLeast(NamedTuple):
    """In `Annotated`: the least number that an argument may be."""

    least: int

    def __str__(self) -> str:
        return f" from {self.least}"


Count = Annotated[int, AtLeast(1)]
"""How many of something there may be."""

CountOrZero = Annotated[int, AtLeast(0)]
"""The same, where none is an answer."""

_SMALLEST, _BEYOND = -(2**63), 2**64
"""No store and no call holds a whole number outside of these."""

_LONGEST_KEY = 40
"""Characters of a name that the name of an argument shows."""

_DURATION = frozenset(get_args(Duration))

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
    Awaitable: "something to await",
    Callable: "a function",  # type: ignore[dict-item]
}

_WORDS_BY_NAME: Mapping[str, str] = {
    "StateBackend": "a backend, such as open_backend(URL) returns",
    "Workflow": "a workflow, such as @workflow() declares",
}
"""Of classes that stand above this module."""


def checked(cls: type[C]) -> type[C]:
    """Have every public method of a class refuse arguments of a wrong type with InvalidNameError, durations that are
    none with InvalidDurationError, and text that UTF-8 cannot hold with InvalidValueError. One that is async asks
    `_require_here` of its instance first, if the class has that."""
    return checked_but()(cls)


def checked_but(*names: str) -> Callable[[type[C]], type[C]]:
    """Do what `checked` does for all methods and arguments but those with these names: they are looked at where they
    are used."""

    def declare(cls: type[C]) -> type[C]:
        is_guarded = hasattr(cls, "_require_here")
        for name, method in list(vars(cls).items()):
            is_public = name == "__init__" or not name.startswith("_")
            if not inspect.isfunction(method) or not is_public or name in names:
                continue
            if is_guarded or _takes_arguments(method):
                setattr(cls, name, _checking(method, is_guarded, names))
        return cls

    return declare


def _takes_arguments(method: FunctionType) -> bool:
    """True unless there is nothing to look at but the object itself."""
    code = method.__code__
    takes_any = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return code.co_argcount + code.co_kwonlyargcount > 1 or bool(takes_any)


def declaring(*but: str) -> Callable[[F], F]:
    """Have a function that declares something refuse arguments of a wrong type with DeclarationError, all `but` those
    that it looks at itself."""

    def declare(function: F) -> F:
        return _declaring(function, 0, but)

    return declare


def declared_by(cls: type[C]) -> type[C]:
    """Have a class whose objects declare something refuse them with wrong arguments, as `declaring` does."""
    setattr(cls, "__init__", _declaring(cls.__init__, 1, ()))  # noqa: B010 - a type checker takes it for the class's own
    return cls


def _declaring(function: F, own: int, but: Collection[str]) -> F:
    declared = cache(lambda: _declared(function, own, but))

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if (unknown := _unknown(declared(), kwargs)) is not None:
            raise DeclarationError(str(unknown))
        try:
            _check(declared(), args[own:], kwargs)
        except InvalidNameError as refused:
            raise DeclarationError(f"{refused.what} must be {refused.rule}, not {shown(refused.name)}") from None
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]  # it is called as the function is


def _checking(method: Callable[..., Any], is_guarded: bool, but: Collection[str]) -> Callable[..., Any]:
    declared = cache(lambda: _declared(method, 1, but))  # not before the first call: it resolves the annotations

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
    """What a method declares of its arguments, by place and by name. `called` is how it is called; `takes_any` tells
    whether it takes names that it does not declare."""

    called: str
    by_place: Sequence[_Argument]
    by_name: Mapping[str, _Argument]
    takes_any: bool


def _declared(method: Callable[..., Any], own: int, but: Collection[str]) -> _Declared:
    """Return what a function declares of its arguments behind the first `own`."""
    hints = get_type_hints(method, include_extras=True)
    parameters = list(inspect.signature(method).parameters.values())[own:]
    annotations: dict[str, Any] = {}
    takes_any = False
    for each in parameters:
        if each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL):
            if is_typeddict(options := next(iter(get_args(hints[each.name])), None)):
                annotations.update(get_type_hints(options, include_extras=True))
            else:
                takes_any |= each.kind is each.VAR_KEYWORD
        else:
            annotations[each.name] = Any if each.name in but else hints[each.name]
    by_name = {name: _Argument(name, annotation, _test_of(annotation)) for name, annotation in annotations.items()}
    by_place = [by_name[each.name] for each in parameters if each.kind in _BY_PLACE]
    called = method.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    return _Declared(called, by_place, by_name, takes_any)


_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _check(declared: _Declared, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    # Too many arguments, and those that are missing, are left to Python, which says so itself.
    if (unknown := _unknown(declared, kwargs)) is not None:
        raise unknown
    for argument, value in zip(declared.by_place, args, strict=False):
        if not argument.takes(value):
            raise _refusal(*argument[:2], value)
    for name, value in kwargs.items():
        if (declared_argument := declared.by_name.get(name)) is not None and not declared_argument.takes(value):
            raise _refusal(name, declared_argument.annotation, value)


def _unknown(declared: _Declared, kwargs: Mapping[str, Any]) -> InvalidNameError | None:
    """Return the error of the first keyword that a call does not take, with the nearest that it does; None if it takes
    all. Python would name a function inside of flujo."""
    called, known = declared.called, declared.by_name
    if declared.takes_any or kwargs.keys() <= known.keys():
        return None
    from difflib import get_close_matches  # not before it is needed: it takes as long as twenty starts

    name = next(each for each in kwargs if each not in known)
    near = get_close_matches(name, known, 1, cutoff=0.5)
    rule = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known) or 'none'}"
    hints = [f"inputs of a workflow go into a dict: {called}(workflow, {{{name!r}: …}})"] if "inputs" in known else []
    return InvalidNameError(f"argument of {called}", name, rule, hints)


def check_argument(name: str, annotation: Any, value: Any) -> None:
    """Raise, as a method of a class that is `checked` does, unless a value is of the type that an annotation names."""
    if not _test_of(annotation)(value):
        raise _refusal(name, annotation, value)


def check_path(name: str, value: Any) -> None:
    """Raise InvalidNameError unless a value is a path that a file system can hold."""
    if isinstance(value, str | Path) and "\0" not in str(value):
        with suppress(UnicodeEncodeError):
            os.fsencode(value)
            return
    raise InvalidNameError(name, _given(value), "a path, as a text or a pathlib.Path")


def _refusal(name: str, annotation: Any, value: Any) -> FlujoError:
    if isinstance(value, str) and not _is_utf8(value):
        return InvalidValueError(name, "it is text that UTF-8 cannot hold")
    if isinstance(value, Mapping) and (values := _values_of(annotation)) is not None and _is_named(value):
        for key, each in value.items():
            if not _test_of(values)(each):
                return _refusal(f"{name}.{key[:_LONGEST_KEY]}", values, each)
    if _takes_duration(annotation) and isinstance(value, float | int | str | timedelta) and not isinstance(value, bool):
        return InvalidDurationError(value, name)
    rule = _described(annotation)
    if isinstance(value, int) and not _SMALLEST <= value < _BEYOND and "number" in rule:
        rule += ", of 64 bits"
    return InvalidNameError(name, _given(value), rule)


def _takes_duration(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType) and _DURATION.issubset(get_args(annotation))


def _values_of(annotation: Any) -> Any:
    """Return the annotation of the values of a mapping; None for what is no mapping."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(kind := get_origin(each), type) and issubclass(kind, Mapping):
            return get_args(each)[1]
    return None


def _is_utf8(text: str) -> bool:
    """True for a text that a store, and a call, can hold."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


@lru_cache(maxsize=512)
def _test_of(annotation: Any) -> Callable[[Any], bool]:
    """Return what tells whether a value is of the type that an annotation names. Made once for each: every start of a
    run asks for ten of them."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return _test_of_union(annotation)
    if origin is Annotated:
        kind, *bounds = get_args(annotation)
        return _is_within(_test_of(kind), [each for each in bounds if isinstance(each, AtLeast)])
    if origin is Literal:
        choices = get_args(annotation)
        return lambda value: isinstance(value, str) and value in choices
    kind = origin or annotation
    if kind is NoneType or annotation is None:
        return lambda value: value is None
    if kind is Any or kind is object or not isinstance(kind, type):
        return lambda value: True  # nobody can tell
    if getattr(kind, "_is_protocol", False):
        return _has_all(_members_of(kind))
    return _test_of_class(kind, get_args(annotation))


def _test_of_class(kind: type, parts: Sequence[Any]) -> Callable[[Any], bool]:
    if kind is bool:
        return lambda value: isinstance(value, bool)
    if kind is float:
        return _is_number
    if kind is int:
        return lambda value: isinstance(value, int) and not isinstance(value, bool) and _SMALLEST <= value < _BEYOND
    if kind is str:
        return lambda value: isinstance(value, str) and _is_utf8(value)
    if issubclass(kind, Mapping):
        if len(parts) < 2 or parts[1] is Any:
            return _is_named
        values = _test_of(parts[1])
        return lambda value: _is_named(value) and all(map(values, value.values()))
    if kind in (Sequence, Collection, Iterable):
        takes = _test_of(parts[0])
        return lambda value: _is_list(value) and all(map(takes, _looked_through(value)))
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


def _test_of_union(annotation: Any) -> Callable[[Any], bool]:
    kinds = get_args(annotation)
    if _takes_duration(annotation):
        takes_none = NoneType in kinds
        return lambda value: takes_none if value is None else _is_duration(value)
    tests = [_test_of(each) for each in kinds if each is not NoneType]
    if len(tests) < len(kinds):  # None first: it is what most arguments are that may be None
        first, *others = tests
        return lambda value: value is None or first(value) or any(test(value) for test in others)
    return lambda value: any(test(value) for test in tests)


def _is_within(test: Callable[[Any], bool], bounds: Sequence[AtLeast]) -> Callable[[Any], bool]:
    least = max((each.least for each in bounds), default=None)
    return test if least is None else lambda value: test(value) and value >= least


def _is_number(value: Any) -> bool:
    """True for a number; one that is no number is none, and neither is one that no `float` holds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        return False
    return isinstance(value, float) or _SMALLEST <= value < _BEYOND


def _is_duration(value: Any) -> bool:
    try:
        parse_duration(value)
    except InvalidDurationError:
        return False
    return True


def _is_named(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(each, str) and _is_utf8(each) for each in value)


def _has_all(names: Collection[str]) -> Callable[[Any], bool]:
    known: WeakSet[type] = WeakSet()  # classes that have them all: each handle of a run asks for those of a kernel

    def has_all(value: Any) -> bool:
        kind = type(value)
        if kind in known:
            return True
        if all(hasattr(kind, name) for name in names):
            known.add(kind)
            return True
        return not isinstance(value, type) and all(hasattr(value, name) for name in names)

    return has_all


def _members_of(protocol: type) -> Collection[str]:
    """Return the public names that a protocol asks for."""
    parts = [each for each in protocol.__mro__ if getattr(each, "_is_protocol", False) and each.__module__ != "typing"]
    return {name for part in parts for name in (*vars(part), *inspect.get_annotations(part)) if name[0] != "_"}


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _looked_through(values: Iterable[Any]) -> Iterable[Any]:
    """The values themselves, if looking at them does not use them up."""
    return values if isinstance(values, Collection) else ()


def _described(annotation: Any) -> str:
    origin = get_origin(annotation)
    if _takes_duration(annotation):
        return "a duration, such as 90, '30s' or a timedelta" + (
            ", or None" if NoneType in get_args(annotation) else ""
        )
    if origin in (Union, UnionType):
        kinds = get_args(annotation)
        words = " or ".join(dict.fromkeys(_described(each) for each in kinds))
        return words.replace(_WORDS[int], "microseconds since 1970 in UTC") if datetime in kinds else words
    if origin is Annotated:
        kind, *bounds = get_args(annotation)
        return _described(kind) + "".join(str(each) for each in bounds if isinstance(each, AtLeast))
    if origin is Literal:
        return " or ".join(map(repr, get_args(annotation)))
    kind = NoneType if annotation is None else origin or annotation
    if kind in (Sequence, Collection, Iterable) and get_args(annotation)[0] is str:
        return "a list of texts"
    with suppress(TypeError, KeyError):
        return _WORDS[kind]
    if getattr(kind, "_is_protocol", False):
        return f"a {kind.__name__}, an object with {', '.join(sorted(_members_of(kind)))}"
    return _WORDS_BY_NAME.get(kind.__name__, f"a {kind.__name__}")


def _given(value: Any) -> Any:
    """Return what a message shows of a refused value: the value itself if it is of a simple type, or else its type."""
    return value if value is None or isinstance(value, bool | int | float | str) else type(value)
