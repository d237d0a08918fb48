"""Measure everything that docs/performance.md has figures of, and write them there.

    make bench                                  all of it, in about six minutes, and the page with its date
    python bench/everything.py throughput       some of it, printed only

Each program runs in a process of its own and prints what it measures; the rows are kept in build/bench/ as JSON as
well. A program that fails, or misses a limit, does not keep the others from being run; the exit status tells.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chart import bars  # beside this file, which python puts on the path of a script; so are the next two
from figures import KEPT_IN, Row
from performance_page import PAGE, write_part
from throughput import LIMIT, UNIT

HERE = Path(__file__).parent
KEPT = HERE.parent / "build" / "bench"

PROGRAMS: Mapping[str, Sequence[str]] = {
    "throughput": ("--rounds", "5"),
    "growth": (),
    "recovery": (),
    "waiting": ("--runs", "20000"),
    "commands": ("--rounds", "5"),
    "loops": ("1",),
    "wire": ("--runs", "10000"),
    "queries": ("--runs", "1000000"),
    "pruning": ("--runs", "200000", "--advancing", "10"),
    "dead_owners": ("--runs", "100000"),
}


def run(name: str) -> tuple[list[Row], bool]:
    """Run one program; return its rows, and whether it ended well."""
    print(f"\n== {name} ==", flush=True)
    with tempfile.NamedTemporaryFile("r") as kept:
        command = [sys.executable, str(HERE / f"{name}.py"), *PROGRAMS[name]]
        ended = subprocess.run(command, env={**os.environ, KEPT_IN: kept.name}, check=False)
        rows = [Row(*json.loads(line)) for line in kept]
    return rows, ended.returncode == 0


def chart(rows: Sequence[Row]) -> str:
    """Return a picture of what a step takes, beside its limit."""
    steps: list[Mapping[str, Any]] = [row.cells for row in rows if row.table == "Steps"]
    groups = [
        (", ".join([each["store"], f"{each['runs']} runs", each["output"], each["loop"]]), (each[UNIT], each[LIMIT]))
        for each in steps
    ]
    return bars("Microseconds a step, and the limit measured beside it", groups, ("flujo", "limit"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("program", nargs="*", choices=[[], *PROGRAMS], help="only these; the page stays as it is")
    chosen = parser.parse_args().program
    started = time.monotonic()
    rows: list[Row] = []
    failed: list[str] = []
    for name in chosen or PROGRAMS:
        found, went_well = run(name)
        rows += found
        failed += [] if went_well else [name]
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = KEPT / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    kept.write_text(json.dumps([row._asdict() for row in rows], indent=1))
    print(f"\n{time.monotonic() - started:.0f} s; kept in build/bench/{kept.name}")
    if not chosen:
        write_part("figures", rows)
        PAGE.with_suffix(".svg").write_text(chart(rows))
    sys.exit(f"not as they should be: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
