"""Parse what is typed after a workflow: `day=2026-11-22`, `limit:=3`, files of parameters, labels, and instants.

`NAME=TEXT` is a text, which the workflow reads into the type it declares; `NAME:=JSON` is any JSON value.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from flujo.kernel.backend import check_instant
from flujo.kernel.durations import MICROSECONDS, parse_duration
from flujo.kernel.errors import InvalidDurationError

from .source_files import unreadable
from .usage import NotAnInput

STDIN = Path("-")

_ASSIGNMENT = r"(?s)([^\W\d][\w.-]*)(:?=)(.*)"


def parse_inputs(assignments: Iterable[str], file: Path | None = None) -> dict[str, Any]:
    """Return the inputs; those of the command line replace those of the file, which is stdin if it is called `-`.

    Raises click.UsageError, SourceNotFoundError."""
    inputs = {} if file is None else _read_file(file)
    given: set[str] = set()
    for assignment in assignments:
        name, value = _parse(assignment)
        if name in given:
            raise click.UsageError(f"{name!r} is given twice")
        given.add(name)
        inputs[name] = value
    return inputs


def parse_labels(labels: Iterable[str]) -> dict[str, str]:
    """Return labels given as NAME=TEXT; raises click.UsageError."""
    parsed: dict[str, str] = {}
    for label in labels:
        match = re.fullmatch(_ASSIGNMENT, label)
        if match is None or match[2] != "=":
            raise click.UsageError(f"{label!r} is not a label: write NAME=TEXT")
        parsed[match[1]] = match[3]
    return parsed


def parse_steps(lists: Iterable[str]) -> list[str]:
    """Return the names in lists of steps, `a,b`, each once."""
    names = (name.strip() for each in lists for name in each.split(","))
    return list(dict.fromkeys(name for name in names if name))


def parse_instant(text: str, now: int, option: str) -> int:
    """Return microseconds since 1970 for an age such as 2h, or an instant in ISO 8601, by default in local time.

    Raises click.UsageError."""
    try:
        return now - round(parse_duration(text) * MICROSECONDS)
    except InvalidDurationError:
        pass
    try:
        return check_instant(option, _with_zone(datetime.fromisoformat(text))) or 0
    except (ValueError, OverflowError):
        raise click.UsageError(
            f"{option}: {text!r} is neither an age such as 2h or 30d, nor an instant such as 2026-11-22T08:00Z"
        ) from None


def _with_zone(moment: datetime) -> datetime:
    """Return a moment of local time as one of UTC, and one that has its zone as it is."""
    if moment.tzinfo is not None:
        return moment
    # Not `astimezone`: since Python 3.14 it looks a day ahead, and fails on the last day of the year 9999.
    whole = moment.replace(microsecond=0).timestamp()
    return datetime.fromtimestamp(whole, UTC) + timedelta(microseconds=moment.microsecond)


def parse_json(text: str, what: str) -> Any:
    """Return a JSON value; raises click.UsageError, for NaN, infinities and half characters too, and for a name that
    stands twice."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object_of)
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        half = json.dumps(error.object[error.start])
        raise click.UsageError(f"{what} is not text: {half} is half a character, the other half is missing") from None
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{what} is not JSON: {error}") from error


def _object_of(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _parse(assignment: str) -> tuple[str, Any]:
    match = re.fullmatch(_ASSIGNMENT, assignment)
    if match is None:
        raise NotAnInput(assignment)
    name, operator, text = match.groups()
    if operator == "=":
        return name, text
    try:
        return name, parse_json(text, f"the value of {name!r}")
    except click.UsageError as error:
        is_word = text[:1].isalpha()
        raise click.UsageError(f"{error.message}; text is {name}={text}" if is_word else error.message) from error


def _read_file(file: Path) -> dict[str, Any]:
    try:
        text = (sys.stdin.buffer.read() if file == STDIN else file.read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise unreadable(file, error) from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file} is not text in UTF-8: {error.reason} at byte {error.start}") from error
    is_json = file.suffix == ".json" or (file == STDIN and text.lstrip().startswith("{"))
    value = parse_json(text, str(file)) if is_json else _read_yaml(text, file)
    if not isinstance(value, Mapping):
        raise click.UsageError(f"{file} must hold an object of parameters")
    return dict(value)


def _read_yaml(text: str, file: Path) -> Any:
    from flujo.workflows.documents import Problems, read_document

    problems = Problems(str(file))
    root = read_document(text, problems)
    problems.raise_if_any()
    return None if root is None else root.plain()
