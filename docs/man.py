"""Turn the generated page cli.md into the manual page flujoctl.1, so that both say the same.

There is one page for all commands: whoever searches it finds an option without knowing whose it is. It is part of the
wheel (`shared-data` in pyproject.toml) and lies in share/man/man1 beside the bin/ of the command, where `man` looks for
what is on the PATH. That is how tools that pip installs bring their pages (httpie, yt-dlp): pip puts it into the
environment and takes it away again, pipx links it to where the user's pages are, and nothing has to be run. uv shows no
pages of the tools it installs; `flujoctl help COMMAND` says the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

NAME = "flujoctl \\- run workflows whose steps survive crashes"
SYNOPSIS = ".B flujoctl\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]"

TITLES = {"Exit codes": "EXIT STATUS"}
"""What manual pages call a section."""

HEADS = ("# ", "*Generated", "|---", "| code ")
"""Lines that only the page for the web has."""


def manual(markdown: str, version: str) -> str:
    """Return the manual page of the text of cli.md."""
    lines = [line for line in markdown.splitlines() if not line.startswith(HEADS)]
    parts = [
        f'.TH FLUJOCTL 1 "" "flujoctl {version}" "User Commands"',
        f".SH NAME\n{NAME}",
        f".SH SYNOPSIS\n{SYNOPSIS}",
        ".SH DESCRIPTION",
        *_roff(lines),
        ".SH SEE ALSO",
        "The documentation that comes with the sources, and \\fBflujoctl help\\fR \\fICOMMAND\\fR.",
    ]
    return "\n".join(parts) + "\n"


def _roff(lines: list[str]) -> Iterator[str]:
    """Yield the lines of a text in roff: headings, paragraphs, commands in a block of their own, lists and tables."""
    in_block = follows_text = False
    for line in lines:
        if in_block and not line.startswith("    "):
            in_block = False
            yield ".fi\n.RE"
        if line.startswith("    "):
            if not in_block:
                in_block = True
                yield ".PP\n.RS 4\n.nf"
            yield _guarded(_escaped(line[4:]).replace("-", "\\-"))
        elif line.startswith("## "):
            title = line[3:]
            yield f".SH {TITLES.get(title, title.upper())}"
        elif line.startswith("### "):
            yield f".SS flujoctl {_escaped(line[4:])}"
        elif (
            found := re.fullmatch(r"- `(?P<term>[^`]+)`: (?P<text>.*)|\| (?P<code>\d+) \| (?P<means>.*) \|", line)
        ) is not None:
            yield ".TP\n" + "\\fB" + _escaped(found["term"] or found["code"]).replace("-", "\\-") + "\\fR"
            yield _guarded(_inline(found["text"] or found["means"]))
        elif line:
            if not follows_text:
                yield ".PP"
            yield _guarded(_inline(line))
        follows_text = bool(line) and not line.startswith(("#", "- `", "    ", "| "))


def _inline(text: str) -> str:
    """Return a sentence with what stands in backticks in bold, and links as their words."""
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text)
    parts = text.split("`")
    return "".join(
        "\\fB" + _escaped(part).replace("-", "\\-") + "\\fR" if number % 2 else _escaped(part)
        for number, part in enumerate(parts)
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e")


def _guarded(line: str) -> str:
    """Return a line that no dot or quote at its beginning makes a request."""
    return "\\&" + line if line.startswith((".", "'")) else line
