"""What an item of `echo` and one of `shell` cost here and in another checkout, in pairs, on SQLite.

    python bench/tasks.py ../before/.venv/bin/python [ROUNDS]

Each side measures itself in a process of its own, by its own interpreter and its own code, one after the other and in
turns, so that both meet the same machine. The ratio is the median over the pairs, of here to there."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time

import anyio

from flujo.backends import open_backend
from flujo.kernel import Kernel, Workflow
from flujo.workflows import load_workflow

ITEMS = {"echo": 10_000, "shell": 300}
TASKS = {
    "echo": "task: echo, inputs: {message: '{{ item }}'}",
    "shell": "task: shell, inputs: {command: 'true'}",
}


def loop(task: str, items: int) -> Workflow:
    return load_workflow(
        f"name: f\nsteps:\n  - {{name: a, for_each: '{{{{ range({items}) | list }}}}', {TASKS[task]}}}\n"
    )


async def seconds_per_item(task: str, folder: str) -> float:
    """Wall time of one run, in a new store, without what the first run of a process costs."""
    async with Kernel(open_backend(f"sqlite:{folder}/state.db")) as kernel:
        await kernel.run(loop(task, 4))
        began = time.perf_counter()
        await kernel.run(loop(task, ITEMS[task]))
        return (time.perf_counter() - began) / ITEMS[task]


def measured_by(python: str, task: str) -> float:
    """Let an interpreter measure a task with the code that it finds."""
    ended = subprocess.run([python, __file__, "--once", task], check=True, capture_output=True, text=True)
    return float(ended.stdout)


def main() -> None:
    if sys.argv[1:2] == ["--once"]:
        with tempfile.TemporaryDirectory() as folder:
            print(anyio.run(seconds_per_item, sys.argv[2], folder))
        return
    other, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7
    for task in TASKS:
        pairs: list[tuple[float, float]] = []
        for number in range(rounds):
            order = (sys.executable, other) if number % 2 else (other, sys.executable)
            found = {python: measured_by(python, task) for python in order}
            pairs.append((found[sys.executable], found[other]))
        here, there = (statistics.median(side) * 1e6 for side in zip(*pairs, strict=True))
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        print(f"{task:6} {here:8.0f} µs here {there:8.0f} µs there  ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
