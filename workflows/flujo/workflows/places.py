"""Where a part of a scalar stands in the file it is written in: its line and its column.

    place_in(text, at, value, place)      where the character `place` of a scalar stands that begins at `at`

A scalar and how it is written differ in white space, by indentation and folding, and between double quotes by escapes.
So the characters that are no white space are counted, in the value and in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .documents import Position

_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r?\n|.)", re.DOTALL)
_BLANK_ESCAPES = frozenset(
    {*(f"\\{each}" for each in ("n", "t", "\t", "r", " ", "v", "f", "N", "_", "L", "P")), "\\\n"}
)
_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*\s+)*")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


def place_in(text: str, at: Position, value: str, place: int) -> Position:
    """Return where a character of a scalar stands; `at` if that cannot be told, as for one that an alias repeats."""
    begins = _start_of_line(text, at.line) + at.column - 1
    begins = _PROPERTIES.match(text, begins).end()  # type: ignore[union-attr]  # it matches nothing as well
    mark = text[begins : begins + 1]
    if mark == "*" or not value[place : place + 1].strip():
        return at
    if mark in ("|", ">"):
        begins = next((found.end() for found in _LINE_BREAK.finditer(text, begins)), len(text))
    elif mark in ("'", '"'):
        begins += 1
    wanted = sum(not each.isspace() for each in value[:place])
    for found, character in _characters(text, begins, mark):
        if wanted == 0:
            return _position(text, found, at) if character == value[place] else at
        wanted -= 1
    return at


def position_in(text: str, place: int) -> Position:
    """Return the line and the column of a character of a text."""
    return _position(text, place, Position(1, 1))


def _characters(text: str, begins: int, mark: str) -> Iterator[tuple[int, str]]:
    """Yield the characters of a scalar that are no white space, as the value has them, with their places."""
    place = begins
    while place < len(text):
        character = text[place]
        if mark == '"' and character == "\\" and (escape := _ESCAPE.match(text, place)) is not None:
            if escape[0].replace("\r", "") not in _BLANK_ESCAPES:
                yield place, escape[0][1] if len(escape[0]) == 2 else ""
            place = escape.end()
            continue
        if not character.isspace():
            yield place, character
        place += 2 if mark == "'" and text.startswith("''", place) else 1


def _start_of_line(text: str, line: int) -> int:
    starts = (found.end() for found in _LINE_BREAK.finditer(text))
    return 0 if line <= 1 else next((each for number, each in enumerate(starts, 2) if number == line), len(text))


def _position(text: str, place: int, near: Position) -> Position:
    line, start = near.line, _start_of_line(text, near.line)
    for found in _LINE_BREAK.finditer(text, start):
        if found.end() > place:
            break
        line, start = line + 1, found.end()
    return near._replace(line=line, column=place - start + 1)
