"""What proto/flujo/v1/*.proto promises in words: the errors of every method, read out of its comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROTO = Path(__file__).parents[2] / "proto" / "flujo" / "v1"

_ERROR = re.compile(r"\s*//   ([A-Z_]+) ([A-Z_]+): ")
_HEAD = re.compile(r"\s*(?:rpc (\w+)\(|service (\w+))")


class Documented(NamedTuple):
    """An error a method may answer; of a service (`RunService`), one that each of its methods may answer."""

    method: str
    code: str
    reason: str


def documented_errors() -> list[Documented]:
    """Every error in the comments of services and methods."""
    return [found for path in sorted(PROTO.glob("*_service.proto")) for found in _errors_in(path.read_text("utf-8"))]


def _errors_in(text: str) -> Iterator[Documented]:
    pending: list[tuple[str, str]] = []
    for line in text.splitlines():
        if error := _ERROR.match(line):
            pending.append((error[1], error[2]))
        elif head := _HEAD.match(line):
            yield from (Documented(head[1] or head[2], *each) for each in pending)
            pending = []
        elif not line.lstrip().startswith("//"):
            assert not pending, f"errors that belong to nothing: {pending}"


def undocumented_lines() -> list[str]:
    """Lines that look like an error of the contract, and are not read as one."""
    suspects = re.compile(r"^\s*//\s+[A-Z_]{4,} [A-Z_]{4,}")
    lines = [line for path in sorted(PROTO.glob("*.proto")) for line in path.read_text("utf-8").splitlines()]
    return [line for line in lines if suspects.match(line) and not _ERROR.match(line)]
