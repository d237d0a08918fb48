"""What a step in YAML costs beside doing the same with a bare subprocess, and what it costs to start `flujoctl`.

    python bench/commands.py [--rounds N] [--steps N] [--folder DIR]

Both sides take turns. A bare subprocess records nothing, and nobody looks for what it leaves behind.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import anyio

from figures import Report  # beside this file, which python puts on the path of a script
from flujo.backends import open_backend
from flujo.kernel import Kernel
from flujo.workflows import load_workflow

FLUJOCTL = Path(sysconfig.get_path("scripts")) / "flujoctl"
STEPS = {
    "echo": "task: echo, inputs: {message: hello}",
    "python_code": "task: python_code, inputs: {code: 'result = 1 + 1'}",
    "shell": "task: shell, inputs: {command: 'true'}",
}
BARE: dict[str, Sequence[str]] = {
    "python_code": (sys.executable, "-c", "print(1 + 1)"),
    "shell": ("/bin/sh", "-c", "true"),
}
WORKFLOW = "name: hello\nsteps:\n  - {name: hello, task: echo, inputs: {message: hello}}\n"


async def step_seconds(task: str, steps: int, place: Path) -> float:
    """The time of a step in a run of many, one after the other, without what the first run of a process costs."""
    named = "".join(f"  - {{name: step-{number}, {STEPS[task]}}}\n" for number in range(steps))
    first = "name: one\nsteps:\n  - {name: one, " + STEPS[task] + "}\n"
    async with Kernel(open_backend(f"sqlite:{place}.db")) as kernel:
        await kernel.run(load_workflow(first))
        flow = load_workflow(f"name: many\nsteps:\n{named}")
        began = time.perf_counter()
        await kernel.run(flow)
        return (time.perf_counter() - began) / steps


def command_seconds(command: Sequence[str], times: int, folder: Path) -> float:
    """The time from the start of a command to its end."""
    began = time.perf_counter()
    for _ in range(times):
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) / times


def compare(ours: Callable[[], float], bare: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Return the medians of both, in milliseconds, and that of the ratios round by round."""
    pairs = [(ours(), bare()) if number % 2 else (bare(), ours())[::-1] for number in range(rounds)]
    return (
        1e3 * median(each for each, _ in pairs),
        1e3 * median(each for _, each in pairs),
        median(one / other for one, other in pairs),
    )


def measure(folder: Path, steps: int, rounds: int, report: Report) -> None:
    numbers = iter(range(1_000_000))
    for task in STEPS:

        def ours(task: str = task) -> float:
            return anyio.run(step_seconds, task, steps, folder / f"{task}-{next(numbers)}")

        if task not in BARE:
            took = median(ours() for _ in range(rounds))
            report.row({"what": f"a step of {task}", "ms": 1e3 * took})
            continue
        told = compare(ours, lambda task=task: command_seconds(BARE[task], steps, folder), rounds)  # type: ignore[misc]
        report.row(_row(f"a step of {task}", told, " ".join(BARE[task][1:])))
    (folder / "hello.yaml").write_text(WORKFLOW)
    store = ("--store", "sqlite:state.db")
    for arguments in (("--version",), ("run", "hello.yaml", "--quiet", *store), ("list", *store)):
        told = compare(
            lambda arguments=arguments: command_seconds((str(FLUJOCTL), *arguments), 5, folder),  # type: ignore[misc]
            lambda: command_seconds((sys.executable, "-c", "pass"), 5, folder),
            rounds,
        )
        report.row(_row(f"flujoctl {arguments[0]}", told, "python -c pass"))


def _row(what: str, told: tuple[float, float, float], bare: str) -> dict[str, str | float]:
    ours, theirs, ratio = told
    return {"what": what, "ms": ours, "beside it": bare, "ms of that": theirs, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="where the stores go; default: a temporary folder here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder or Path.cwd(), prefix=".bench-") as folder:
        measure(Path(folder), arguments.steps, arguments.rounds, Report("Commands"))


if __name__ == "__main__":
    main()
