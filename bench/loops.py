"""What an item of a YAML loop costs: with 100 items and with 10,000, side by side, on SQLite.

    python bench/loops.py [ROUNDS]

Of `echo` and of `python_code`, the latter also beside starting an interpreter for each. A ratio near 1 says that an
item costs the same however many there are; rounds alternate, so that both meet the same machine."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time

import anyio

from figures import Report  # beside this file, which python puts on the path of a script
from flujo.backends import open_backend
from flujo.kernel import Kernel, Workflow
from flujo.workflows import load_workflow

report = Report("Loops in YAML")

FEW, MANY = 100, 10_000
TASKS = {
    "echo": "task: echo, inputs: {message: '{{ item }}'}",
    "python_code": "task: python_code, inputs: {code: 'result = item'}",
}


def loop(task: str, items: int) -> Workflow:
    return load_workflow(
        f"name: f\nsteps:\n  - {{name: a, for_each: '{{{{ range({items}) | list }}}}', {TASKS[task]}}}\n"
    )


async def seconds_per_item(task: str, items: int, folder: str) -> tuple[float, float]:
    """Wall and processor time of one run, in a new store. What the first run of a process costs is left out, and the
    start of the processes of `python_code` is not, which all items share."""
    async with Kernel(open_backend(f"sqlite:{folder}/{task}-{items}.db")) as kernel:
        await kernel.run(loop(task, 4))
        wall, processor = time.perf_counter(), time.process_time()
        await kernel.run(loop(task, items))
        return (time.perf_counter() - wall) / items, (time.process_time() - processor) / items


def interpreter_seconds() -> float:
    """How long it takes to start Python and end it."""
    began = time.perf_counter()
    for _ in range(20):
        subprocess.run([sys.executable, "-c", "import json"], check=True)
    return (time.perf_counter() - began) / 20


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for task in TASKS:
        walls: list[float] = []
        processors: list[float] = []
        for number in range(rounds):
            measured: dict[int, tuple[float, float]] = {}
            for items in (FEW, MANY) if number % 2 else (MANY, FEW):
                with tempfile.TemporaryDirectory() as folder:
                    measured[items] = anyio.run(seconds_per_item, task, items, folder)
            walls.append(measured[MANY][0] / measured[FEW][0])
            processors.append(measured[MANY][1] / measured[FEW][1])
            few, many = (f"{1e6 * measured[items][0]:.0f}" for items in (FEW, MANY))
            start = f", starting Python {1e6 * interpreter_seconds():.0f} us" if task == "python_code" else ""
            print(f"{task}: {few} us per item of {FEW}, {many} us of {MANY}{start}")
        report.figure(f"an item of {task} in {MANY}, times one in {FEW}", statistics.median(walls))
        report.figure(f"the same of {task}, in processor time", statistics.median(processors))


if __name__ == "__main__":
    main()
