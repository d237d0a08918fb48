"""Writes figures into docs/performance.md: each program has a part of the page of its own, between two marks."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from figures import Cell, Row, shown  # beside this file, which python puts on the path of a script; so is the next
from raw import raw_seconds

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def write_part(name: str, rows: Sequence[Row]) -> None:
    """Put rows, with today's date and this machine, in the place of what a part of the page says."""
    PAGE.write_text(with_part(PAGE.read_text(), name, part(rows, machine(), datetime.now(UTC))))
    print(f"written to {PAGE.name}: {name}")


def with_part(text: str, name: str, figures: str) -> str:
    """Return a page with something else between the marks of a part; raises ValueError for a page without them."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    first, last = text.index(begin) + len(begin), text.index(end)
    return f"{text[:first]}\n\n{figures}\n\n{text[last:]}"


def part(rows: Sequence[Row], about: str, at: datetime) -> str:
    """Return rows as tables, under a line that says where and when they were measured."""
    told = [f"Measured on {at:%Y-%m-%d}: {about}."]
    for table in dict.fromkeys(row.table for row in rows):
        told += [f"### {table}", as_table([row.cells for row in rows if row.table == table])]
    return "\n\n".join(told)


def as_table(rows: Sequence[Mapping[str, Cell]]) -> str:
    """Return rows as a table in Markdown; a cell that a row lacks is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([shown(row.get(name, "")) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Return what the figures depend on besides flujo."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        commit = 1e3 * raw_seconds(Path(folder) / "raw.db", 1, 200) / 200
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return (
        f"{processors} processors ({platform.machine()}), Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {platform.system()}; one commit of two rows takes {commit:.2f} ms"
    )
