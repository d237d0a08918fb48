"""Braces that are no template of flujo's, and blocks that do not end: what is said of a template that cannot be read.

go_mark("docker ps --format '{{ range .Items }}'")    which braces are of a Go template, and where
told_of_braces("echo {{ day")                         which `{{` is not closed
told_of_blocks("{% if day %} …")                      which `{% if %}` is not closed, and where it stands
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

WAY_OUT = "braces that are meant for the command itself go between {% raw %} and {% endraw %}"

MAX_SEARCHED = 8_192
"""Characters of a template that is looked at."""
MAX_SHOWN = 60
"""Characters of braces that a message repeats."""

_GO = re.compile(
    r"""\{\{-?\s*(?:
        [.$](?!\d) | /\*
      | (?:range|if|with|else\ (?:if|with)|index|len|slice|not|json|eq|ne|lt|le|gt|ge|and|or|join|split|upper|lower
         |title|html|js|urlquery|call|print|println|printf|table|pad|truncate|toJson|tojson|base64decode)\ +[.$"]
      | (?:define|template|block)\ +"
      | (?:end|else)\s*-?\}\}
    )[^}]*(?:\}\})?""",
    re.VERBOSE,
)
"""What no template here begins with: `{{ .Names`, `{{ range .Items`, `{{ printf "`, `{{ end }}`."""


class Told(NamedTuple):
    """A problem, and the place of the character that it is about."""

    problem: str
    place: int


def go_mark(source: str) -> Told | None:
    """Return what to say of the first braces that a Go template has, if there are any."""
    found = _GO.search(_without_raw(source)) if len(source) <= MAX_SEARCHED else None
    if found is None:
        return None
    braces = found[0] if len(found[0]) <= MAX_SHOWN else f"{found[0][:MAX_SHOWN]}…"
    return Told(f"{' '.join(braces.split())} is of a Go template, and none is rendered here; {WAY_OUT}", found.start())


def told_of_braces(source: str) -> Told | None:
    """Return which braces of a template are not closed before the next ones begin; None if all are."""
    plain = _without_raw(source) if len(source) <= MAX_SEARCHED else ""
    for found in re.finditer(r"\{\{([^{}]*)(?=\{\{|\Z)", plain):
        written = f"{{{{{found[1].partition(chr(10))[0]}".rstrip()[:MAX_SHOWN]
        return Told(f"`{written}` is not closed; write `}}}}` where it ends, or {{% raw %}} before it", found.start())
    return None


_NAME = re.compile(r"\{%[-+]?\s*(\w+)")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}")
_ENDRAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")


def _without_raw(source: str) -> str:
    """Return a template without what stands between `{% raw %}` and `{% endraw %}`, all else in its place."""
    parts: list[str] = []
    place = 0
    while (opened := _RAW.search(source, place)) and (closed := _ENDRAW.search(source, opened.end())):
        parts += [source[place : opened.start()], " " * (closed.end() - opened.start())]
        place = closed.end()
    return "".join([*parts, source[place:]])


_BLOCKS = ("if", "for", "macro", "call", "filter")


def told_of_blocks(source: str) -> Told | None:
    """Return which block of a template is not closed, or closed without being open; None if each is."""
    if len(source) > MAX_SEARCHED:
        return None
    plain = _without_raw(source)
    if (raw := _RAW.search(plain)) is not None:
        return Told("{% raw %} is not closed; write {% endraw %} behind what is meant for the command", raw.start())
    opened: list[tuple[str, str, int]] = []
    for place, name, tag in _tags(plain):
        if name in _BLOCKS or (name == "set" and "=" not in tag):
            opened.append((name, tag, place))
        elif name.startswith("end") and name[3:] in (*_BLOCKS, "set"):
            if not opened:
                return Told(f"{tag} closes nothing: no {{% {name[3:]} … %}} before it is open", place)
            kind, above, _ = opened.pop()
            if kind != name[3:]:
                return Told(f"{tag} stands where {above} is not closed; write {{% end{kind} %}} before it", place)
    if not opened:
        return None
    kind, tag, place = opened[-1]
    return Told(f"{tag} is not closed; write {{% end{kind} %}} where it ends", place)


def _tags(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield each tag with its place and its name."""
    place = source.find("{%")
    while place >= 0 and (end := source.find("%}", place)) >= 0:
        tag = source[place : end + 2]
        if (name := _NAME.match(tag)) is not None:
            shown = " ".join(tag.split())
            yield place, name[1], shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}…"
        place = source.find("{%", end + 2)
