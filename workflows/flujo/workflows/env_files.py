"""Files of environment variables: `NAME=VALUE` a line, as shells and containers know them.

# a comment
export REGION=eu-west-1          # `export` may stand there
GREETING="two\\nlines"            # escapes count between double quotes
PATTERN='$HOME stays as it is'   # nothing is put in anywhere
"""

from __future__ import annotations

import os
import re
import stat

MAX_BYTES = 64 * 1024

_LINE = r"(?s)\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*"
_DOUBLE = r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?'
_SINGLE = r"'([^']*)'\s*(?:#.*)?"
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class EnvFileError(ValueError):
    """A line of a file of variables cannot be read; the message begins with its number."""


def read_small(path: str) -> str:
    """Return the text of a file; raises OSError, and ValueError for one that is none of variables."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is not a file")
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None


def read_variables(text: str) -> dict[str, str]:
    """Return the variables in a text, of a name that is there twice the last; raises EnvFileError."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if "\0" in line:
            raise EnvFileError(f"line {number}: a variable cannot hold NUL")
        match = re.fullmatch(_LINE, line)
        if match is None:
            raise EnvFileError(f"line {number}: write NAME=VALUE; names have letters, digits and _, no digit first")
        found[match[1]] = _value(match[2], number)
    return found


def _value(written: str, number: int) -> str:
    if written[:1] not in ("'", '"'):
        return re.split(r"(?:^|\s)#", written, maxsplit=1)[0].rstrip()
    quoted = re.fullmatch(_DOUBLE if written[0] == '"' else _SINGLE, written)
    if quoted is None:
        raise EnvFileError(f"line {number}: the quotes do not end; a value of several lines is written with \\n")
    if written[0] == "'":
        return quoted[1]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), quoted[1])
