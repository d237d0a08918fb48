"""Typed values: what a workflow declares under `params:` and what a task declares as its inputs.

    Parameter(name="day", types=("string",), required=True, pattern=r"\\d{4}-\\d{2}-\\d{2}")

The keywords are those of JSON Schema, plus `required: true` and `allowedValues`. Checking collects every problem of
every value. Texts, as they come from a command line, are read into the declared type; values of a task's inputs are
not, since they have been rendered with the type they have.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from flujo.kernel.durations import parse_duration
from flujo.kernel.errors import InvalidDurationError

from .other_systems import TYPES_OF_OTHER_SYSTEMS
from .patterns import PatternLimitError, matches, problem_with
from .texts import as_text
from .wording import as_mapping, nearest, shown, unknown

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}

MAX_PROBLEMS = 20
"""How many problems of the items of one list are told."""
MAX_CHECKED = 20_000
"""How many items of one list are checked one by one, which takes about 2 µs for each."""

FORMATS = ("duration", "path")
"""`path`: a relative one counts from the folder the run was started in."""

MISSING: Any = object()
"""Stands for a default that was not given; null is a default."""


class Parameter(NamedTuple):
    """One named value. Without `types` anything is accepted; `allowed`, if there are any, are the only values."""

    name: str
    types: tuple[str, ...] = ()
    required: bool = False
    default: Any = MISSING
    allowed: tuple[Any, ...] = ()
    pattern: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    items: Parameter | None = None
    format: str | None = None
    description: str | None = None

    def problems(self, value: Any) -> list[str]:
        """Return each problem of `value`, as the end of a sentence that begins with its name."""
        if self.types and not any(_is(value, name) for name in self.types):
            return [f"must be {_listed(self.types)}, not {shown(value)}{_hint(self, value)}"]
        found: list[str] = []
        if self.format == "duration":
            found += _problems_of_duration(value)
        if self.allowed and not any(_same(value, each) for each in self.allowed):
            found.append(f"must be one of {', '.join(shown(each) for each in self.allowed)}, not {shown(value)}")
        if isinstance(value, str):
            found += self._problems_of_text(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if self.minimum is not None and value < self.minimum:
                found.append(f"must be at least {shown(self.minimum)}, not {shown(value)}")
            if self.maximum is not None and value > self.maximum:
                found.append(f"must be at most {shown(self.maximum)}, not {shown(value)}")
        elif isinstance(value, list):
            found += self._problems_of_list(value)
        return found

    def _problems_of_text(self, value: str) -> list[str]:
        found: list[str] = []
        try:
            if self.pattern is not None and not matches(self.pattern, value):
                found.append(f"must match {self.pattern}, {shown(value)} does not")
        except PatternLimitError as error:
            found.append(str(error))
        found += _out_of_range(len(value), self.min_length, self.max_length, "characters")
        return found

    def _problems_of_list(self, value: list[Any]) -> list[str]:
        found = _out_of_range(len(value), self.min_items, self.max_items, "items")
        if self.items is not None and not self.items.fits_all(value):
            if len(value) > MAX_CHECKED:
                return [*found, f"must have at most {MAX_CHECKED} items for each to be checked, it has {len(value)}"]
            for index, item in enumerate(value):
                found += [f"item {index} {problem}" for problem in self.items.problems(item)]
                if len(found) >= MAX_PROBLEMS:
                    return [*found, "and perhaps more"]
        return found

    def fits_all(self, values: list[Any]) -> bool:
        """True if a type is all that is asked for and each value has it: a long list is checked at once."""
        is_plain = self == Parameter(name=self.name, types=self.types, description=self.description)
        return is_plain and {type(value) for value in values} <= {each for kind in self.types for each in TYPES[kind]}

    def as_rendered(self, value: Any) -> Any:
        """Return what a template alone has given: a number or a boolean becomes text, as it does in every other
        template, where the declaration has a text and neither of them."""
        if not isinstance(value, (int, float)) or "string" not in self.types:
            return value
        return value if any(_is(value, name) for name in self.types) else as_text(value)

    def read(self, value: Any) -> Any:
        """Return `value`, read into the declared type if it is a text and the type is another."""
        if not isinstance(value, str) or not self.types or "string" in self.types:
            return value
        for name in self.types:
            try:
                return _READERS[name](value)
            except (ValueError, RecursionError):
                continue
        return value


def keywords_of(parameter: Parameter) -> dict[str, Any]:
    """Return the keywords of a declaration that JSON Schema has as well, but `items`."""
    keywords = {
        "type": list(parameter.types) or None,
        "enum": list(parameter.allowed) or None,
        "pattern": parameter.pattern,
        "minimum": parameter.minimum,
        "maximum": parameter.maximum,
        "minLength": parameter.min_length,
        "maxLength": parameter.max_length,
        "minItems": parameter.min_items,
        "maxItems": parameter.max_items,
        "description": parameter.description,
    }
    given = {name: value for name, value in keywords.items() if value is not None}
    return given if parameter.default is MISSING else {**given, "default": parameter.default}


def keyword_problems(keywords: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with the keywords of a declaration, by keyword."""
    problems: dict[str, str] = {}
    for keyword, value in keywords.items():
        if keyword not in KEYWORDS:
            problems[keyword] = unknown("keyword", keyword, KEYWORDS)
        elif (problem := KEYWORDS[keyword](value)) is not None:
            problems[keyword] = f"`{keyword}` {problem}"
    if not problems:
        problems |= _contradictions(keywords)
    default = keywords.get("default")
    if default is not None and not problems and (found := declare("", keywords).problems(default)):
        problems["default"] = "; ".join(f"`default` {problem}" for problem in found)
    return problems


_OF_TYPES = {
    **dict.fromkeys(("minimum", "maximum"), ("numbers", ("integer", "number"))),
    **dict.fromkeys(("pattern", "minLength", "maxLength"), ("texts", ("string",))),
    **dict.fromkeys(("items", "minItems", "maxItems"), ("lists", ("array",))),
}
"""What the values are, in words and as types, that a keyword says something about."""

_LENGTHS = {
    "minimum": {"string": "minLength", "array": "minItems"},
    "maximum": {"string": "maxLength", "array": "maxItems"},
}


def _contradictions(keywords: Mapping[str, Any]) -> dict[str, str]:
    """Return by keyword what says nothing, or leaves no value, beside the others."""
    kind = keywords.get("type", ())
    types: tuple[str, ...] = (kind,) if isinstance(kind, str) else tuple(kind)
    found: dict[str, str] = {}
    for keyword, (values, fitting) in _OF_TYPES.items():
        if keyword in keywords and types and not any(each in fitting for each in types):
            meant = _LENGTHS.get(keyword, {}).get(types[0])
            way = "leave it out" if meant is None else f"write `{meant}`, or leave it out"
            found[keyword] = f"`{keyword}` is for {values}, and this is {_listed(types)}; {way}"
    for least, most in (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")):
        if least in keywords and most in keywords and keywords[least] > keywords[most]:
            found[most] = f"`{most}` is below `{least}`, so no value would fit"
    if "enum" in keywords and "allowedValues" in keywords:
        found["allowedValues"] = "`allowedValues` is another word for `enum`; leave one of them out"
    for keyword in ("enum", "allowedValues"):
        allowed = keywords.get(keyword)
        if allowed == []:
            found[keyword] = f"`{keyword}` lists no value, so none would fit"
        wrong = [each for each in allowed or () if types and not any(_is(each, name) for name in types)]
        if wrong:
            found[keyword] = f"`{keyword}` lists {shown(wrong[0])}, which is not {_listed(types)}"
    return found


def declare(name: str, keywords: Mapping[str, Any]) -> Parameter:
    """Return the parameter that keywords without problems describe."""
    kind = keywords.get("type", ())
    items = keywords.get("items")
    return Parameter(
        name=name,
        types=(kind,) if isinstance(kind, str) else tuple(kind),
        required=keywords.get("required", False),
        default=keywords.get("default", MISSING),
        allowed=tuple(keywords.get("enum") or keywords.get("allowedValues") or ()),
        pattern=keywords.get("pattern"),
        minimum=keywords.get("minimum"),
        maximum=keywords.get("maximum"),
        min_length=keywords.get("minLength"),
        max_length=keywords.get("maxLength"),
        min_items=keywords.get("minItems"),
        max_items=keywords.get("maxItems"),
        items=None if items is None else declare("", items),
        format=keywords.get("format"),
        description=keywords.get("description"),
    )


def from_default(name: str, default: Any) -> Parameter:
    """Return the parameter that is written as its plain default. A text from a command line is read into the type of
    the default; a text may be replaced by anything."""
    kind = next((kind for kind in ("boolean", "number", "array", "object") if _is(default, kind)), None)
    return Parameter(name=name, types=() if kind is None else (kind,), default=default)


def check_inputs(
    parameters: Sequence[Parameter], given: Mapping[str, Any], *, read_texts: bool = True, takes_others: bool = False
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the complete inputs, and what is wrong by name. Parameters without value or default stay absent.

    With `takes_others` what is not declared is passed on as it is, unless its name is nearly that of a parameter."""
    known = {parameter.name: parameter for parameter in parameters}
    others = [name for name in given if name not in known]
    if takes_others:
        others = [name for name in others if nearest(name, known) is not None or not name.isidentifier()]
    problems = {name: unknown("parameter", name, known) for name in others}
    complete: dict[str, Any] = {name: given[name] for name in given if name not in known and name not in others}
    for parameter in parameters:
        value = given.get(parameter.name, MISSING)
        if value is MISSING:
            if parameter.default is not MISSING:
                complete[parameter.name] = parameter.default
            elif parameter.required:
                problems[parameter.name] = "is required"
            continue
        if read_texts:
            value = parameter.read(value)
        if found := parameter.problems(value):
            problems[parameter.name] = "; ".join(found)
        complete[parameter.name] = value
    return complete, problems


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[name])


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _listed(types: Sequence[str]) -> str:
    return " or ".join(f"{'an' if name[0] in 'aeio' else 'a'} {name}" for name in types)


def _hint(parameter: Parameter, value: Any) -> str:
    """Return how to write what was meant by a text that came from a command line, or a list of `NAME=VALUE`."""
    name, types = parameter.name, parameter.types
    if isinstance(value, list) and types == ("object",):
        return as_mapping(value)
    if not isinstance(value, str) or "string" in types:
        return ""
    if "boolean" in types:
        return "; write true or false"
    if "array" in types and name:
        parts = [part.strip() for part in value.split(",")][:5] if value.strip() else []
        listed = json.dumps(
            [part if parameter.items is None else parameter.items.read(part) for part in parts], ensure_ascii=False
        )
        if value.lstrip()[:1] == "[":
            return f'; this begins as JSON and is none: write {name}:=\'["a", "b"]\''
        return f"; write {name}:='{listed}'" if len(value) <= 60 else f"; write {name}:='[…]', as JSON"
    if "object" in types and name:
        return f"; write {name}:='{{…}}', as JSON"
    return ""


def _out_of_range(length: int, least: int | None, most: int | None, unit: str) -> list[str]:
    if least is not None and length < least:
        return [f"must have at least {least} {unit}, it has {length}"]
    if most is not None and length > most:
        return [f"must have at most {most} {unit}, it has {length}"]
    return []


def _read_boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _read_integer(text: str) -> int:
    if not re.fullmatch(r"\s*[-+]?[0-9]{1,40}\s*", text):
        raise ValueError(text)
    return int(text)


def _read_number(text: str) -> float:
    try:
        return _read_integer(text)
    except ValueError:
        number = float(text)
    if not re.fullmatch(r"[-+0-9.eE\s]+", text) or not math.isfinite(number):
        raise ValueError(text)
    return number


def _read_json(text: str) -> Any:
    value = json.loads(text)
    if not isinstance(value, (list, dict)):
        raise ValueError(text)
    return value


_READERS: dict[str, Any] = {
    "integer": _read_integer,
    "number": _read_number,
    "boolean": _read_boolean,
    "array": _read_json,
    "object": _read_json,
}


def _problems_of_duration(value: Any) -> list[str]:
    try:
        parse_duration(value)
    except InvalidDurationError as error:
        return [f"must be a duration such as 90, 90s or 1h30m, not {shown(error.text)}"]
    return []


# -- what a declaration may say ---------------------------------------------------------------------------------------


def _check_type(value: Any) -> str | None:
    kinds = value if isinstance(value, list) else [value]
    for kind in kinds:
        if not isinstance(kind, str) or kind not in TYPES:
            meant = TYPES_OF_OTHER_SYSTEMS.get(kind) if isinstance(kind, str) else None
            way = "" if meant is None else f"; write {meant}"
            return f"must be one of {', '.join(TYPES)}, not {shown(kind)}{way}"
    return None if kinds else "must name a type"


def _check_pattern(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"must be text, not {shown(value)}"
    return problem_with(value)


def _check_items(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return f"must be a mapping such as {{type: string}}, not {shown(value)}"
    return next(iter(keyword_problems(value).values()), None)


def _check_format(value: Any) -> str | None:
    return None if value in FORMATS else f"must be {' or '.join(FORMATS)}, not {shown(value)}"


def _must_be(*types: str, minimum: float | None = None) -> Callable[[Any], str | None]:
    rule = Parameter(name="", types=types, minimum=minimum)
    return lambda value: next(iter(rule.problems(value)), None)


KEYWORDS: dict[str, Callable[[Any], str | None]] = {
    "type": _check_type,
    "required": _must_be("boolean"),
    "default": lambda value: None,
    "enum": _must_be("array"),
    "allowedValues": _must_be("array"),
    "pattern": _check_pattern,
    "minimum": _must_be("number"),
    "maximum": _must_be("number"),
    "minLength": _must_be("integer", minimum=0),
    "maxLength": _must_be("integer", minimum=0),
    "minItems": _must_be("integer", minimum=0),
    "maxItems": _must_be("integer", minimum=0),
    "items": _check_items,
    "format": _check_format,
    "description": _must_be("string"),
}
