"""Takes secrets out of whatever is handed on or stored, by their values.

    redactor = Redactor(["s3cret-token"])
    redactor.text("Bearer s3cret-token")        Bearer ***
    redactor.value({"a": ["s3cret-token"]})     {"a": ["***"]}

A value is known in the forms that programs give it: as it is, trimmed, each of its lines, quoted for a shell, for
Python and for JSON, encoded for a URL, and in base64 wherever in a text it stands. Where a text was cut, what is left
of a secret at the cut goes as well.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

T = TypeVar("T", str, bytes)

MASK = "***"

MIN_LENGTH = 8
"""Characters of a secret. Shorter ones stand in all sorts of texts by chance, and would mask everything."""

_LEAST_LEFT = 4
"""Characters of the beginning or end of a secret that are taken for it where a text was cut."""

CUT = re.compile(r"\n\[\.\.\. \d+ bytes left out \.\.\.\]\n")
"""What stands where an output was cut."""

_CUTS = re.compile(rf"{CUT.pattern}|…")
"""The same, and where messages were cut."""

_CUT_MARK = "…".encode()


class Redactor:
    """Knows the forms of some values."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values for form in forms_of(value)}
        self._forms = sorted(forms, key=len, reverse=True)  # a long one goes as a whole, not in parts
        self._in_bytes = [form.encode("utf-8", "surrogateescape") for form in self._forms]
        self._in_json = [json.dumps(form, ensure_ascii=False)[1:-1] for form in self._forms]
        self.longest = max(map(len, self._in_bytes), default=0)
        """Bytes of the longest form."""

    def text(self, text: str) -> str:
        """Return a text without the secrets."""
        for form in self._forms:  # each look is a search for a plain text, a thousand times as fast as a pattern
            if form in text:
                text = text.replace(form, MASK)
        return self._without_rests(text) if self._forms and _CUTS.search(text) else text

    def data(self, data: bytes) -> bytes:
        """Return what a program prints without the secrets."""
        if _CUT_MARK in data:
            return self.text(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        for form in self._in_bytes:
            if form in data:
                data = data.replace(form, MASK.encode())
        return data

    def value(self, value: Any) -> Any:
        """Return plain JSON without the secrets, also where they are keys or numbers."""
        return self._value(value) if self._may_hold(value) else value

    def _may_hold(self, value: Any) -> bool:
        """True unless a value is sure to hold nothing that goes: one look at all of it, instead of one at each part."""
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError):
            return True
        return any(form in text for form in self._in_json) or _CUTS.search(text.replace("\\n", "\n")) is not None

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key) if isinstance(key, str) else key: self._value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]
        if isinstance(value, (int, float)) and any(form in str(value) for form in self._forms):
            return MASK
        return value

    def _without_rests(self, text: str) -> str:
        parts: list[str] = []
        start = 0
        for cut in chain(_CUTS.finditer(text), [None]):
            part = text[start : len(text) if cut is None else cut.start()]
            parts.append(self._without_ends(part, at_start=start > 0, at_end=cut is not None))
            if cut is not None:
                parts.append(cut[0])
                start = cut.end()
        return "".join(parts)

    def _without_ends(self, part: str, *, at_start: bool, at_end: bool) -> str:
        if at_end and (length := self._longest_end(part)):
            part = part[:-length] + MASK
        if at_start and (length := self._longest_start(part)):
            part = MASK + part[length:]
        return part

    def _longest_end(self, part: str) -> int:
        """Return how many characters at the end of a text are the beginning of a secret."""
        lengths = range(min(len(part), self.longest), _LEAST_LEFT - 1, -1)
        return next((n for n in lengths if any(form.startswith(part[-n:]) for form in self._forms)), 0)

    def _longest_start(self, part: str) -> int:
        lengths = range(min(len(part), self.longest), _LEAST_LEFT - 1, -1)
        return next((n for n in lengths if any(form.endswith(part[:n]) for form in self._forms)), 0)


class NotingRedactor:
    """A redactor that notes when it has taken something out."""

    def __init__(self, redactor: Redactor, note: Callable[[], None]) -> None:
        self._redactor = redactor
        self._note = note
        self.longest = redactor.longest

    def text(self, text: str) -> str:
        """Redactor.text, noted."""
        return self._noted(text, self._redactor.text(text))

    def data(self, data: bytes) -> bytes:
        """Redactor.data, noted."""
        return self._noted(data, self._redactor.data(data))

    def _noted(self, before: T, after: T) -> T:
        if after != before:
            self._note()
        return after


def forms_of(value: str) -> Iterator[str]:
    """Yield the forms in which a value may show up."""
    pieces = {value, value.strip(), *(line.strip() for line in value.splitlines())}
    for piece in pieces:
        if len(piece) >= MIN_LENGTH:
            yield from (form for form in _encodings(piece) if len(form) >= MIN_LENGTH)


def _encodings(piece: str) -> Iterator[str]:
    for each in {piece, piece.lower(), piece.upper()}:
        yield from _quoted(each)
    data = piece.encode("utf-8", "surrogateescape")
    for encoded in (*(quote(data, safe=safe) for safe in _SAFE), quote_plus(data)):
        yield encoded
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)
    yield from _base64_forms(data)


_SAFE = ("", "/", "!$&'()*+,/:;=?@[]", "".join(map(chr, range(33, 127))))
"""Characters that URLs have as they are: none of those with a meaning, all of them, or all that are ASCII."""


def _quoted(piece: str) -> Iterator[str]:
    yield piece
    yield piece.replace("'", "'\"'\"'")  # as shlex.quote has it
    yield piece.replace("'", "'\\''")
    yield repr(piece)[1:-1]
    for ascii_only in (True, False):
        once = json.dumps(piece, ensure_ascii=ascii_only)[1:-1]
        yield once
        yield once.replace("/", "\\/")
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]


def _base64_forms(data: bytes) -> Iterator[str]:
    """Yield what base64 makes of data that stands at any place of a text: three forms, by the place modulo 3, without
    the characters that its neighbours have a part in. Whole lines of it, as programs wrap them, come besides."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        first = (before * 8 + 5) // 6
        inner = encoded[first : (before + len(data)) * 8 // 6]
        yield inner
        yield inner.translate(_URL_SAFE)
    whole = base64.b64encode(data).decode()
    for width in (64, 76):
        yield from (whole[at : at + width] for at in range(0, len(whole) - width + 1, width))


_URL_SAFE = str.maketrans("+/", "-_")
