"""The same work on flujo and on other engines with a store in SQLite, each in a virtual environment of its own.

    python bench/peers.py [--rounds N] [--folder DIR] [--engine NAME ...]

Runs of steps that return 1 KiB, from the first start to the last result; then a run whose process ends itself in the
body of its last step, from the opening of its store to that body in the next process. Each round gives every engine its
turn, and only ratios within a round mean anything. How durable an engine is stands in its program in bench/peers/.
With all engines and no --folder, the figures become a part of docs/performance.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from figures import Cell, Row, shown  # beside this file, which python puts on the path of a script; so is the next
from performance_page import write_part

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / "build" / "peers"
PACKAGES = {
    "flujo": (),
    "dbos": ("dbos",),
    "langgraph": ("langgraph", "langgraph-checkpoint-sqlite"),
    "burr": ("burr",),
}
RESUMES = ("flujo", "dbos")
"""Engines that go on with an interrupted run by themselves."""

VERSIONS: dict[str, str] = {}
"""The packages of an engine with their versions, once they are installed."""

WORK = ((100, 10), (1, 200))
COMPLETED = 1_000


def main() -> None:
    """Measure, and print a table for each piece of work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the stores go; default: a temporary folder here")
    parser.add_argument("--engine", action="append", choices=[*PACKAGES], help="only these; may be repeated")
    arguments = parser.parse_args()
    engines = arguments.engine or [*PACKAGES]
    pythons = {engine: _python(engine) for engine in engines}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder or Path.cwd(), prefix=".bench-") as folder:
        for runs, steps in WORK:
            rounds = [
                {
                    engine: _seconds(pythons[engine], engine, Path(folder), "throughput", runs, steps)
                    for engine in engines
                }
                for _ in range(arguments.rounds)
            ]
            rows += _table(f"{runs} run{'s'[: runs > 1]} x {steps} steps", rounds, "us a step", 1e6 / (runs * steps))
        able = [engine for engine in engines if engine in RESUMES]
        rounds = [
            {engine: _resumed(pythons[engine], engine, Path(folder)) for engine in able}
            for _ in range(arguments.rounds)
        ]
        rows += _table(f"Resuming behind {COMPLETED} steps", rounds, "ms to its next body", 1e3)
    if not arguments.engine and not arguments.folder:
        write_part("other engines", rows)


def _python(engine: str) -> str:
    """Return the interpreter that has an engine, in its newest version; flujo is in this one."""
    if not PACKAGES[engine]:
        return sys.executable
    place = ENVIRONMENTS / engine
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    pip = [str(place / "bin" / "pip"), "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--upgrade", *PACKAGES[engine]], check=True)
    found = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout.split()
    VERSIONS[engine] = ", ".join(
        each.replace("==", " ") for each in found if each.partition("==")[0] in PACKAGES[engine]
    )
    return str(place / "bin" / "python")


def _seconds(python: str, engine: str, folder: Path, mode: str, runs: int, steps: int) -> float:
    """Return the time an engine takes for some work in an empty store."""
    with tempfile.TemporaryDirectory(dir=folder) as store:
        seconds, bodies = _called(python, engine, store, mode, runs, steps)
    assert bodies == runs * steps, f"{engine} ran {bodies} bodies"
    return seconds


def _resumed(python: str, engine: str, folder: Path) -> float:
    """Return the time from the opening of a store with an interrupted run to the first body that runs again."""
    with tempfile.TemporaryDirectory(dir=folder) as store:
        killed = subprocess.run(_command(python, engine, store, "kill", 1, COMPLETED), capture_output=True, check=False)
        assert killed.returncode == 9, killed.stderr
        seconds, bodies = _called(python, engine, store, "resume", 1, COMPLETED)
    assert bodies == 1, f"{engine} ran {bodies} bodies again"
    return seconds


def _called(python: str, engine: str, store: str, mode: str, runs: int, steps: int) -> tuple[float, int]:
    done = subprocess.run(
        _command(python, engine, store, mode, runs, steps), capture_output=True, check=True, text=True
    )
    seconds, bodies = done.stdout.split()
    return float(seconds), int(bodies)


def _command(python: str, engine: str, store: str, mode: str, runs: int, steps: int) -> Sequence[str]:
    return [python, str(HERE / "peers" / f"{engine}_chain.py"), store, mode, str(runs), str(steps)]


def _table(title: str, rounds: Sequence[dict[str, float]], unit: str, scale: float) -> list[Row]:
    """Print and return a row for each engine: its median, and its share of the first one's time round by round."""
    print(f"\n{title}")
    first = next(iter(rounds[0]))
    rows: list[Row] = []
    for engine in rounds[0]:
        ratios = [each[engine] / each[first] for each in rounds]
        cells: dict[str, Cell] = {
            "engine": VERSIONS.get(engine, engine),
            unit: median(each[engine] for each in rounds) * scale,
            f"times {first}'s": f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        }
        print(", ".join(f"{name} {shown(cell)}" for name, cell in cells.items()), flush=True)
        rows.append(Row(title, cells))
    return rows


if __name__ == "__main__":
    main()
