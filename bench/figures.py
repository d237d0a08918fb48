"""Figures that a benchmark has measured: printed, and kept for the page that `everything.py` writes.

Where the variable `FLUJO_FIGURES` names a file, every row is appended to it as one line of JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import NamedTuple

KEPT_IN = "FLUJO_FIGURES"

Cell = str | float


class Row(NamedTuple):
    """Figures that belong together, by the names of their columns, and the table they stand in."""

    table: str
    cells: Mapping[str, Cell]


class Report:
    """Prints figures beside their limits, and remembers whether all were kept."""

    def __init__(self, table: str) -> None:
        self._table = table
        self.all_kept = True

    def figure(self, what: str, value: float, limit: float | None = None, unit: str = "") -> None:
        """Tell one figure, which must not be above its limit if it has one."""
        kept = limit is None or value <= limit
        self.all_kept &= kept
        bound = "" if limit is None else f" (limit {limit:g}{unit}){'' if kept else '  MISSED'}"
        print(f"{what}: {value:.2f}{unit}{bound}", flush=True)
        self._keep(
            {"what": what, "value": f"{value:.3g}{unit}", "at most": "" if limit is None else f"{limit:g}{unit}"}
        )

    def row(self, cells: Mapping[str, Cell]) -> None:
        """Tell several figures that belong together, by the names of their columns."""
        print(", ".join(f"{name} {shown(value)}" for name, value in cells.items()), flush=True)
        self._keep(cells)

    def _keep(self, cells: Mapping[str, Cell]) -> None:
        if path := os.environ.get(KEPT_IN):
            with open(path, "a") as file:
                file.write(json.dumps(Row(self._table, cells)) + "\n")


def shown(value: Cell) -> str:
    """Return a cell as people read it: three digits of a number, or all before the point."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
