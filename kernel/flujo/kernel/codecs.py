"""Decide how a declared type and a recorded text belong together.

A program always receives the value decoded from what is recorded, on the first run as on replay. So a value is recorded
only if reading it back gives an equal one; everything else is refused before it is stored, with its path, what was
given and what would have been read.

    codec_for   the codec of an annotation; raises DeclarationError for a type whose values no text can hold
    Codec       writes and reads the values of one annotation, through pydantic; without one, plain JSON (values.py)

Pydantic writes the names of fields, never aliases, and leaves out what it computes; it reads names and aliases.
docs/values.md tells users what follows from that, tests/kernel/test_codecs.py tries generated types. It is imported for
the first type that needs it: a YAML workflow has none, and would begin a quarter later.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import chain
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import DeclarationError, InvalidValueError
from .errors.base import shown
from .shapes import sketch
from .values import decode, encode

if TYPE_CHECKING:
    from pydantic import BaseModel, TypeAdapter

_PLAIN: tuple[Any, ...] = (Any, None, type(None), object, dict, list, str, bool)
"""Annotations that plain JSON already satisfies. `int` and `float` are not here: 3 must read back as 3.0 for a
float."""

_CHECKED = {dict: "dictionary", list: "list", str: "string", bool: "boolean"}
"""Of those, the ones that not every JSON value satisfies, and what pydantic calls them."""

_UNCHANGEABLE = frozenset((str, int, bool, type(None)))

_SECRETS = ("SecretStr", "SecretBytes", "Secret")
"""Classes of `pydantic.types`, by name: whoever declares a secret has imported that module, and nobody else
pays for it."""

_TYPES = "pydantic.types"

_GENERATED = "<string>"
"""The file of an `==` that a dataclass was given."""


class Care(NamedTuple):
    """How closely a value that is read is compared with the one that was given."""

    classes: bool = False  # equal values may be of another class, where a type has alternatives
    tuples: bool = False  # a list does not stand for a tuple
    manners: bool = False  # equal values may behave otherwise: a bounded deque, a dictionary with defaults
    hours: bool = False  # equal times may be of different hours: when clocks go back, or where a zone is lost
    parts: bool = False  # a class says itself what is equal, and may look at some of its fields only


EQUAL = Care()
"""Equal is the same."""


class Codec:
    """Writes and reads the values of one annotation."""

    __slots__ = ("_adapter", "_care", "_class", "_is_stable")

    def __init__(self, annotation: Any = Any) -> None:
        """Make the codec; raises what pydantic raises for an annotation that it does not know, and TypeError for one
        whose values cannot be recorded."""
        self._adapter: TypeAdapter[Any] | None = None
        self._is_stable = False
        self._care = EQUAL
        self._class: type | None = annotation if annotation in tuple(_CHECKED) else None
        if annotation not in _PLAIN:
            from pydantic import TypeAdapter

            self._adapter = TypeAdapter(annotation)
            schema = self._adapter.core_schema
            if (found := next(_unrecordable(schema, "$"), None)) is not None:
                raise TypeError(f"{found[1]} at {found[0]} cannot be recorded and read back")
            self._is_stable = _is_stable(schema)
            self._care = care_of(schema)

    def encode(self, value: Any) -> str:
        """Return the recorded form of `value`; raises InvalidValueError unless it reads back as an equal value, and
        OutputTooLargeError."""
        return self.exchange(value)[0]

    def exchange(self, value: Any) -> tuple[str, Any]:
        """Return the recorded form of a value, and the value that is read from it: what a program gets in its place.
        Raises what `encode` raises.

        Every step pays for this, so a plain value that nobody can change is not read back: it would be the same."""
        if self._adapter is None:
            recorded = encode(value)
            read = value if value.__class__ in _UNCHANGEABLE else decode(recorded)
            if self._class is not None and not isinstance(read, self._class):
                raise _of_another_class(self._class)
            return recorded, read
        try:
            plain = self._adapter.dump_python(value, mode="json", round_trip=True, by_alias=False, warnings="error")
        except Exception as error:  # also whatever a serializer of the user's raises
            problem = str(error) or type(error).__name__
            if "invalid utf-8" in problem:
                problem += "; annotate bytes that are no text with pydantic's Base64Bytes"
            raise InvalidValueError("$", problem) from error
        recorded = encode(plain)
        read = self.decode(recorded)
        if not self._is_stable and (found := mismatch(value, read, self._care)) is not None:
            raise InvalidValueError(found.path, str(found))
        return recorded, read

    def decode(self, recorded: str) -> Any:
        """Return the value of recorded text; raises InvalidValueError when the annotation does not accept it."""
        if self._adapter is None:
            read = decode(recorded)
            if self._class is not None and not isinstance(read, self._class):
                raise _of_another_class(self._class)
            return read
        import pydantic_core

        try:
            return self._adapter.validate_json(recorded, by_alias=True, by_name=True)
        except pydantic_core.ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
            raise InvalidValueError(path, first["msg"]) from error
        except Exception as error:  # of a validator of the user's that did not expect this value
            raise InvalidValueError("$", f"{type(error).__name__}: {error}") from error

    @property
    def fits(self) -> str | None:
        """A sketch of the JSON that `decode` accepts; None if anything, or if that cannot be said."""
        if self._adapter is None:
            return None if self._class is None else sketch(Codec._schema_of(self._class))
        try:
            return sketch(self._adapter.json_schema(by_alias=False))
        except Exception:  # a type that has no schema, or a hook of the user's that makes one
            return None

    @staticmethod
    def _schema_of(cls: type) -> dict[str, Any]:
        from pydantic import TypeAdapter

        return TypeAdapter(cls).json_schema()


PLAIN = Codec()


def _of_another_class(wanted: type) -> InvalidValueError:
    return InvalidValueError("$", f"Input should be a valid {_CHECKED[wanted]}")


def codec_for(annotation: Any, what: str = "the type") -> Codec:
    """Return the codec of an annotation; raises DeclarationError, in which `what` names where it stands."""
    try:
        try:
            return _codec(annotation)
        except TypeError as error:
            if "unhashable" not in str(error):
                raise
            return Codec(annotation)  # metadata in `Annotated` need not be hashable
    except Exception as error:  # of pydantic, of a hook of the user's, or of a text that is no type
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise DeclarationError(
            f"{what}, {shown(annotation)}, cannot be used: {reason}",
            ["annotate it with JSON types, dataclasses or pydantic models (docs/values.md)", "or leave it out"],
        ) from error


def require_recordable(annotation: Any, what: str) -> None:
    """Raise DeclarationError, as `codec_for` does, for a type whose values cannot be recorded and read back."""
    codec_for(annotation, what)


@lru_cache(maxsize=1024)
def _codec(annotation: Any) -> Codec:
    return Codec(annotation)


def to_plain(value: Any) -> Any:
    """Return the plain JSON form of what a caller has given, whatever its type; raises InvalidValueError."""
    from .json_core import to_jsonable_python

    try:
        return to_jsonable_python(value, by_alias=False, round_trip=True, inf_nan_mode="constants")
    except ValueError as error:
        raise InvalidValueError("$", str(error)) from error


# -- what a schema says -------------------------------------------------------------------------------------------

_SIMPLE = {"int", "str", "bool", "none", "list", "dict", "nullable"}
"""A float is not one of them: an int beyond 2**53 would come back as another number."""

_INNER = {"items_schema", "keys_schema", "values_schema", "schema"}


def _is_stable(schema: Any) -> bool:
    """True if every value that pydantic writes for this type reads back as an equal one: bare numbers, texts and
    containers of them, which need no second look."""
    if schema["type"] not in _SIMPLE or schema.keys() - _INNER - {"type", "metadata"}:
        return False
    if schema["type"] == "dict" and schema.get("keys_schema", {}).get("type") != "str":
        return False
    if schema["type"] in ("list", "dict") and "items_schema" not in schema and "values_schema" not in schema:
        return False  # of anything
    return all(_is_stable(schema[inner]) for inner in _INNER & schema.keys())


def care_of(schema: Any) -> Care:
    """Return how closely values of a core schema of pydantic are to be compared."""
    nodes = list(_nodes(schema))
    return Care(
        classes=any(node["type"] in ("union", "tagged-union") for node in nodes),
        tuples=any(_tells_tuples(node) for node in nodes),
        manners=any(node["type"] == "deque" or node.get("cls") in (deque, defaultdict) for node in nodes),
        hours=any(node["type"] in ("datetime", "time") for node in nodes),
        parts=any(_says_what_is_equal(node["cls"]) for node in nodes if node["type"] in ("model", "dataclass")),
    )


def has_strict(schema: Any) -> bool:
    """True if some part of a core schema takes no text for what is none, as for a date."""
    return any(node.get("strict") or (node.get("config") or {}).get("strict") for node in _nodes(schema))


def _says_what_is_equal(cls: Any) -> bool:
    """True for a model or a dataclass with an `==` that was written for it, or that leaves fields out."""
    import pydantic

    if cls.__eq__ is object.__eq__:
        return False  # it is compared by its parts anyhow
    if issubclass(cls, pydantic.BaseModel):
        return cls.__eq__ is not pydantic.BaseModel.__eq__
    code = getattr(cls.__eq__, "__code__", None)
    return code is None or code.co_filename != _GENERATED or not all(each.compare for each in dataclasses.fields(cls))


def _tells_tuples(node: Mapping[str, Any]) -> bool:
    """True for alternatives of which some are lists and some tuples, so that one may not stand for the other."""
    if node["type"] != "union":
        return False
    choices = [each[0] if isinstance(each, tuple) else each for each in node["choices"]]
    return {"list", "tuple"} <= {each["type"] for each in choices}


def _nodes(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every node of a core schema."""
    return (node for _, node in _placed_nodes(schema, "$"))


def _placed_nodes(schema: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(schema, (list, tuple)):
        for each in schema:
            yield from _placed_nodes(each, path)
    elif isinstance(schema, dict):
        if isinstance(schema.get("type"), str):
            yield path, schema
        for key, inner in schema.items():
            if key == "fields" and isinstance(inner, dict):
                for name, field in inner.items():
                    yield from _placed_nodes(field, f"{path}.{name}")
            elif key not in ("metadata", "serialization", "config", "default"):
                name = schema.get("name") if schema.get("type") == "dataclass-field" and key == "schema" else None
                yield from _placed_nodes(inner, path if name is None else f"{path}.{name}")


def _unrecordable(schema: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the places in a type where no value survives, each with what stands there."""
    for place, node in _placed_nodes(schema, path):
        kind = node["type"]
        if _is_secret(node):
            yield place, "a secret, which is written as asterisks,"
        elif kind in ("callable", "generator"):
            yield place, f"a {kind}"


def _is_secret(node: Mapping[str, Any]) -> bool:
    cls, serializer = node.get("cls"), node.get("serialization", {}).get("function")
    if isinstance(cls, type) and any(each.__module__ == _TYPES and each.__name__ in _SECRETS for each in cls.__mro__):
        return True
    return getattr(serializer, "__module__", "") == _TYPES and "secret" in serializer.__name__


# -- what was given and what is read ------------------------------------------------------------------------------


class Mismatch(NamedTuple):
    """The first place where a value read back differs from the one that was given."""

    path: str
    given: Any
    read: Any

    def __str__(self) -> str:
        return f"it is {_shown(self.given)}, and would be read back as {_shown(self.read)}"


def mismatch(given: Any, read: Any, care: Care = EQUAL, path: str = "$") -> Mismatch | None:
    """Return where `read` differs from `given`, None if it is the same.

    A list may stand for a tuple, as in JSON, unless care is taken of that."""
    if given is read or (not (care.classes or care.manners or care.hours or care.parts) and _is_equal(given, read)):
        return None
    if care.hours and _hour(given) != _hour(read):
        return Mismatch(path, given, read)
    if care.tuples and isinstance(given, tuple) is not isinstance(read, tuple):
        return Mismatch(path, given, read)
    if care.manners and _manner(given) != _manner(read):
        return Mismatch(path, given, read)
    parts = _parts(given, read, path)
    if parts is None:
        if care.parts and type(given) is not type(read) and _has_fields(given):
            return Mismatch(path, given, read)
        same = _is_same_leaf(given, read, care.classes) or _is_same_instant(given, read)
        return None if same else Mismatch(path, given, read)
    found = (mismatch(one, other, care, place) for place, one, other in parts)
    return next((each for each in found if each is not None), None)


def _manner(value: Any) -> Any:
    """Return what makes an equal value behave otherwise."""
    if isinstance(value, deque):
        return value.maxlen
    return value.default_factory if isinstance(value, defaultdict) else None


def _hour(value: Any) -> tuple[bool, int] | None:
    """Return whether a time has a zone, and which of two equal hours it names: an instant with a zone says that by its
    distance from UTC. None for what is no time."""
    if not isinstance(value, (datetime, time)):
        return None
    has_zone = value.tzinfo is not None
    return has_zone, 0 if has_zone and isinstance(value, datetime) else value.fold


def _is_equal(given: Any, read: Any) -> bool:
    try:
        return bool(given == read)
    except Exception:  # an `==` of the user's; arrays, for instance, have no single answer
        return False


def _is_same_leaf(given: Any, read: Any, tells_classes: bool) -> bool:
    if tells_classes and (isinstance(given, Enum) or isinstance(read, Enum)) and type(given) is not type(read):
        return False
    if tells_classes and any(isinstance(given, each) is not isinstance(read, each) for each in _TOLD_APART):
        return False
    return _is_equal(given, read) or (_is_nan(given) and _is_nan(read))


_TOLD_APART = (bool, Decimal, set, frozenset)
"""Classes with values that are equal to some of another class."""


def _is_nan(value: Any) -> bool:
    """True for what differs from itself, which is no difference. It is refused, as a value that JSON does not have."""
    return isinstance(value, float) and isnan(value)


def _is_same_instant(given: Any, read: Any) -> bool:
    """True for two instants that are the same in UTC: in the hour in which clocks go back `==` never is."""
    if not isinstance(given, datetime) or not isinstance(read, datetime) or given.tzinfo is None or read.tzinfo is None:
        return False
    return given.astimezone(UTC) == read.astimezone(UTC)


Parts = Iterator[tuple[str, Any, Any]]


def _parts(given: Any, read: Any, path: str) -> Parts | None:
    """Pair what two values of one shape consist of; None for values that have no parts, or not the same ones."""
    if isinstance(given, deque) and isinstance(read, deque):
        return _indexed(given, read, path) if len(given) == len(read) else None
    if isinstance(given, (list, tuple)) and isinstance(read, (list, tuple)):
        same = len(given) == len(read) and (type(given) is type(read) or {type(given), type(read)} == {list, tuple})
        return _indexed(given, read, path) if same else None
    if type(given) is not type(read):
        return None
    import pydantic

    if isinstance(given, dict):
        return _named(given, read, path) if given.keys() == read.keys() else None
    if isinstance(given, pydantic.BaseModel):
        one, other = _state_of_model(given), _state_of_model(read)
    elif dataclasses.is_dataclass(given):
        one, other = ({each.name: getattr(value, each.name, None) for each in dataclasses.fields(given)}
                      for value in (given, read))  # fmt: skip
    elif not _has_own_equality(given) and hasattr(given, "__dict__"):
        one, other = vars(given), vars(read)
    else:
        return None
    return _named(one, other, path) if one.keys() == other.keys() else None


def _has_fields(value: object) -> bool:
    return dataclasses.is_dataclass(value) or hasattr(type(value), "__pydantic_fields__")


def _has_own_equality(value: object) -> bool:
    return any("__eq__" in vars(each) for each in type(value).__mro__ if each is not object)


def _state_of_model(model: BaseModel) -> dict[str, Any]:
    """Return the fields of a model, those that it was given besides, and what it keeps in private."""
    fields = ((name, getattr(model, name)) for name in type(model).model_fields)
    extra, private = model.__pydantic_extra__ or {}, model.__pydantic_private__ or {}
    return dict(chain(fields, extra.items(), private.items()))


def _indexed(given: Sequence[Any], read: Sequence[Any], path: str) -> Parts:
    return ((f"{path}[{index}]", *pair) for index, pair in enumerate(zip(given, read, strict=True)))


def _named(given: Mapping[Any, Any], read: Mapping[Any, Any], path: str) -> Parts:
    return ((f"{path}.{name}", value, read[name]) for name, value in given.items())


def _shown(value: Any) -> str:
    """Return the `repr` of a value, cut to what fits a sentence."""
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:100]}…"
