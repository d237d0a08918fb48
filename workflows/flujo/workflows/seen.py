"""What templates and code are given to see, besides plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Names = Mapping[str, Any]


class Variables(dict[str, str]):
    """The environment variables a run has recorded, which templates see as `env`."""


class NotRun(NamedTuple):
    """A step without a result: not `defined` in a template (`sandbox.NoResult`), yet its `status` answers."""

    step: str
    status: str


def why_not_whole(result: Mapping[str, Any], name: str) -> str | None:
    """Return why the result of a command has no such output although there was one; None if that is not so."""
    if f"{name}_cut" in result and result.get("truncated") is True:
        return (
            f"`{name}` was cut, since there was more of it than was kept: ask for more with `max_output`, or write "
            f"`{name}: FILE` beside the command, which keeps all of it; what was kept is `{name}_cut`"
        )
    if f"{name}_file" in result and "return_code" in result and name not in result:
        return f"`{name}` went to a file: its path is `{name}_file`, and the task `read_file` reads it"
    return None
