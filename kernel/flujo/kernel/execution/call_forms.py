"""Tell a call of a step that is only written otherwise from one with other arguments.

The digest of a call is that of its arguments as they were written down (arguments.py), together with what is bound in
the step itself: `partial(pay, 5)`, `order.pay`, `Pay(5)`. So these are three digests of one call:

    pay(5)    pay(amount=5)    pay(5, currency="EUR")    # which is the default

Where a digest is not the recorded one, every other way to write the call is tried, `as_recorded`: only then, since a
program that has not changed pays for nothing. Numbers that are equal count as the same, 5 as 5.0, and so does what
earlier releases could not compare.

Of a value whose method is a step (a dataclass, a model, a named tuple), and of an object that is called itself, those
values count that it was made with: attributes with the names of what its class takes, of types that do not change. What
it has gathered since is its own affair. Any other object with a method is a service, as it is as an argument: its
address, its token and its timeout may change while runs are under way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain, combinations, islice
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, NamedTuple

from .arguments import (
    INCOMPARABLE,
    comparable,
    digest_arguments,
    digest_item,
    digest_plain,
    is_fixed,
    is_json,
    is_value,
)

_MOST_FORMS = 2_000
_MOST_OPTIONAL = 5
"""How many arguments that are their defaults are left out and written down in every combination."""

_MOST_NUMBERS = 6
"""How many numbers are taken as whole ones and as fractions in every combination; of more, all as one or the other."""

_EXACT = 2**53
"""Beyond it a whole number may have no equal fraction."""


class Bound(NamedTuple):
    """What is bound in a step: the arguments of a partial application of `target`, and what the object of a method, or
    one that is called itself, was made with."""

    target: Callable[..., Any]
    owner: tuple[Any, ...]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def digest_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Return the digest of a call, with what is bound in the function itself."""
    bound = _bound_in(function)
    return digest_arguments((*bound.owner, *bound.args, *args), {**bound.kwargs, **kwargs})


def binds_nothing(function: Callable[..., Any]) -> bool:
    """True for a function that has no arguments but those of a call."""
    if type(function) is FunctionType:
        return True
    bound = _bound_in(function)
    return not (bound.owner or bound.args or bound.kwargs)


def as_recorded(recorded: str | None, digest: str | None, forms: Iterator[str | None]) -> str | None:
    """Return the digest of a call; the recorded one, but for a version, if that is one of the `forms` of the call."""
    if recorded is None or digest is None or recorded == digest:
        return digest
    version, slash, _ = digest.rpartition("/")
    arguments = recorded.rpartition("/")[2]
    return f"{version}{slash}{arguments}" if arguments in islice(forms, _MOST_FORMS) else digest


def forms_of_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[str | None]:
    """Yield the digests of a call in all the ways in which it may have been written and recorded."""
    bound = _bound_in(function)
    yield from forms_of_values(args, kwargs)  # earlier releases did not look at what is bound
    for some, named in _written(bound.target, (*bound.args, *args), {**bound.kwargs, **kwargs}):
        yield from forms_of_values((*bound.owner, *some), named)


def forms_of_values(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[str | None]:
    """Yield the digests of these arguments with equal numbers, and as earlier releases saw them."""
    if is_json(args, kwargs):
        return (digest_arguments(tuple(some), named) for some, named in _renumbered([list(args), dict(kwargs)]))
    seen = (_plainly(args, kwargs, early) for early in (False, True))
    return (digest_plain(each) for plain in seen if plain is not None for each in _renumbered(plain))


def forms_of_item(item: Any) -> Iterator[str | None]:
    """Yield the digests of an item of a map with equal numbers, and as earlier releases saw it."""
    if is_json((item,), {}):
        return (digest_item(each) for each in _renumbered(item))
    seen = (_plainly((item,), {}, early) for early in (False, True))
    return (digest_plain(each[0][0]) for plain in seen if plain is not None for each in _renumbered(plain))


def _plainly(args: tuple[Any, ...], kwargs: Mapping[str, Any], early: bool) -> Any:
    try:
        return comparable([args, kwargs], early)
    except Exception:  # an object of the user's that raises when it is looked at
        return None


# -- what is bound ----------------------------------------------------------------------------------------------------


def _bound_in(function: Callable[..., Any]) -> Bound:
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    while isinstance(function, partial):
        args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
        function = function.func
    if isinstance(function, (FunctionType, type)):
        return Bound(function, (), args, kwargs)
    if isinstance(function, (MethodType, BuiltinFunctionType)):
        owner = function.__self__
        return Bound(function, _state_of(owner) if is_value(owner) else (), args, kwargs)
    inner = getattr(function, "__wrapped__", None)
    if isinstance(inner, (FunctionType, MethodType, partial)):  # a decorator that is an object, a step among them
        below = _bound_in(inner)
        return Bound(below.target, below.owner, (*below.args, *args), {**below.kwargs, **kwargs})
    return Bound(function, _state_of(function), args, kwargs)


def _state_of(owner: Any) -> tuple[Any, ...]:
    """Return what an object was made with, as one argument; none if there is nothing of it to compare."""
    if owner is None or inspect.ismodule(owner) or isinstance(owner, type):
        return ()
    try:
        if is_fixed(owner):
            return (comparable(owner),)
        held = {name: _attribute(owner, name) for name in _made_with(owner.__class__)}
        known = {name: comparable(value) for name, value in held.items() if is_fixed(value)}
    except Exception:  # of an object of the user's that raises when it is looked at
        return ()
    known = {name: value for name, value in known.items() if value != INCOMPARABLE}
    return (known,) if known else ()


@lru_cache(maxsize=256)
def _made_with(cls: type) -> Sequence[str]:
    try:
        return tuple(inspect.signature(cls).parameters)
    except (TypeError, ValueError):  # a class that is not written in Python
        return ()


def _attribute(owner: Any, name: str) -> Any:
    """Return what an object holds under the name of an argument of its class, or under that with a line before it."""
    for each in (name, f"_{name}"):
        if (value := getattr(owner, each, INCOMPARABLE)) is not INCOMPARABLE:
            return value
    return INCOMPARABLE


# -- how a call may be written ----------------------------------------------------------------------------------------

_Written = tuple[tuple[Any, ...], Mapping[str, Any]]


def _written(target: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[_Written]:
    """Yield the ways to write a call down: by place or by name, and with defaults or without."""
    yield args, kwargs
    try:
        signature = inspect.signature(target)
        given = signature.bind(*args, **kwargs).arguments
    except (TypeError, ValueError):  # no signature, or a call that does not fit it: the body will say so
        return
    parameters = signature.parameters.values()
    more = next((given.get(each.name, ()) for each in parameters if each.kind is each.VAR_POSITIONAL), ())
    others: Mapping[str, Any] = next(
        (given.get(each.name, {}) for each in parameters if each.kind is each.VAR_KEYWORD), {}
    )
    plain = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    values = {each.name: given.get(each.name, each.default) for each in plain}
    optional = [each.name for each in plain if _is_default(values[each.name], each.default)]
    for left_out in _choices(optional, [name for name in optional if name not in given]):
        yield from _placed([each for each in plain if each.name not in left_out], plain, values, more, others)


def _placed(
    chosen: Sequence[inspect.Parameter],
    plain: Sequence[inspect.Parameter],
    values: Mapping[str, Any],
    more: tuple[Any, ...],
    others: Mapping[str, Any],
) -> Iterator[_Written]:
    """Yield the chosen arguments with some by place and the rest by name."""
    by_place = [one for one, other in zip(chosen, plain, strict=False) if one is other and one.kind is not _BY_NAME]
    least = sum(each.kind is each.POSITIONAL_ONLY for each in chosen)
    if more:
        least = sum(each.kind is not _BY_NAME for each in plain)
    for count in range(least, len(by_place) + 1):
        named = {each.name: values[each.name] for each in chosen[count:]}
        yield (*(values[each.name] for each in by_place[:count]), *more), {**named, **others}


_BY_NAME = inspect.Parameter.KEYWORD_ONLY


def _is_default(value: Any, default: Any) -> bool:
    if default is inspect.Parameter.empty:
        return False
    try:
        return value is default or bool(value == default)
    except Exception:  # an `==` of the user's
        return False


def _choices(optional: Sequence[str], unwritten: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield which of the optional arguments are left out."""
    if len(optional) > _MOST_OPTIONAL:
        return iter(((), tuple(optional), tuple(unwritten)))
    return chain.from_iterable(combinations(optional, count) for count in range(len(optional) + 1))


# -- equal numbers ----------------------------------------------------------------------------------------------------


def _renumbered(value: Any) -> Iterator[Any]:
    """Yield a value of plain JSON as it is, and with equal numbers of the other kind in it."""
    places = list(islice(_numbers(value, ()), 10_000))
    if len(places) <= _MOST_NUMBERS:
        for count in range(len(places) + 1):
            for some in combinations(places, count):
                yield _turned(value, {place: _other(number) for place, number in some})
        return
    yield value
    for kind in (int, float):
        yield _turned(value, {place: kind(number) for place, number in places})


def _other(number: float) -> float:
    return float(number) if isinstance(number, int) else int(number)


def _numbers(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], float]]:
    """Yield the numbers that have an equal of the other kind, and where they are."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _numbers(each, (*place, name))
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from _numbers(each, (*place, index))
    elif isinstance(value, (int, float)) and _has_equal(value):
        yield place, value


def _has_equal(number: float) -> bool:
    """True for a number that is both a whole one and a fraction."""
    is_whole = number.is_integer() if isinstance(number, float) else not isinstance(number, bool)
    return is_whole and abs(number) <= _EXACT


def _turned(value: Any, numbers: Mapping[tuple[Any, ...], float], place: tuple[Any, ...] = ()) -> Any:
    if not numbers:
        return value
    if isinstance(value, dict):
        return {name: _turned(each, numbers, (*place, name)) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_turned(each, numbers, (*place, index)) for index, each in enumerate(value)]
    return numbers.get(place, value)
