"""Names that are proposed for steps whose own are none: `Größe prüfen` is answered with `Grosse-prufen`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

_BASE = re.compile(r"LATIN (SMALL|CAPITAL) (?:LETTER|LIGATURE) ([A-Z]{1,2})(?: WITH .*)?")


def proposed_name(text: str, number: int, taken: Collection[str]) -> str:
    """Return the name of a step that is most like a text and not among those `taken`; `step-N` for one without any
    letter that a name can have, N being the number of the step."""
    latin = "".join(map(_in_ascii, unicodedata.normalize("NFKD", text[:200])))
    name = re.sub(r"[.-]*-[.-]*", "-", re.sub(r"[^A-Za-z0-9_.]+", "-", latin)).strip("-.")[:90]
    if not name or not re.search(r"[A-Za-z0-9]", name):
        name = f"step-{number}"
    elif name[0].isdigit() or name[0] == ".":
        name = f"step-{name}"
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}-{count}"
    return free


def _in_ascii(character: str) -> str:
    """Return a character as names have it: an accent is left out, and a letter with a stroke is the letter."""
    if character.isascii():
        return character
    if unicodedata.combining(character):
        return ""
    if character in "ßẞ":
        return "ss"
    found = _BASE.fullmatch(unicodedata.name(character, ""))
    if found is None:
        return "-"
    return found[2] if found[1] == "CAPITAL" else found[2].lower()
