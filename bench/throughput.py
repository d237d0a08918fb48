"""Steps per second and the time of a step, on each store and event loop, beside the limit measured in the same round.

    python bench/throughput.py [--rounds N] [--folder DIR] [--case WORD ...]

The limit of SQLite and of files is `raw.py`, which writes the same rows with nothing around it; that of the memory
store is `skeleton.py`. Kernel and limit take turns, in one process and one folder, because disks and machines drift:
only the ratio within a round means anything. The kernel's side includes starting and finishing the runs. A step takes
from the call of `ctx.step` to its return: in a hundred runs it waits for the others, too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import anyio

from figures import Report  # beside this file, which python puts on the path of a script; so are the next two
from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, step, workflow
from raw import VALUE, raw_file_seconds, raw_seconds
from skeleton import skeleton_seconds

TINY = "x"
UNIT, LIMIT = "us a step", "limit, us"
LOOPS: dict[str, dict[str, Any]] = {
    "asyncio": {},
    "uvloop": {"backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


class Case(NamedTuple):
    """Runs of steps on a store: `sqlite full`, `sqlite normal`, `file` or `memory`."""

    store: str
    runs: int
    steps: int
    value: str = VALUE
    loop: str = "asyncio"

    def __str__(self) -> str:
        output = "1 KiB" if self.value == VALUE else "1 byte"
        return f"{self.store}, {self.runs} run{'s'[: self.runs > 1]} x {self.steps} steps of {output}, {self.loop}"


CASES = (
    *(Case("sqlite full", *work) for work in ((1, 300), (20, 100), (100, 200), (1000, 20))),
    *(Case("sqlite full", *work, TINY) for work in ((1, 300), (100, 200))),
    *(Case("sqlite normal", *work) for work in ((1, 300), (100, 200))),
    *(Case("file", *work) for work in ((1, 300), (100, 20))),
    *(Case("memory", *work) for work in ((1, 1000), (20, 200), (100, 200), (1000, 20))),
    *(Case(store, 100, 200, loop="uvloop") for store in ("sqlite full", "memory")),
    Case("memory", 100, 200, loop="trio"),  # aiosqlite runs on asyncio only
)


class Measured(NamedTuple):
    """What the runs of a case took, in seconds: from the first start to the last result, and each of their steps."""

    all: float
    steps: Sequence[float]


@step
async def work(value: str) -> str:
    return value


@workflow()
async def bench(ctx: Context, steps: int, value: str) -> None:
    clock, taken = time.perf_counter, seconds_of_steps
    for _ in range(steps):
        began = clock()
        await ctx.step(work, value)
        taken.append(clock() - began)


seconds_of_steps: list[float] = []


async def kernel_seconds(url: str, case: Case) -> Measured:
    """What the runs of a case take in an empty store."""
    seconds_of_steps.clear()
    async with Kernel(open_backend(url), workflows=[bench]) as kernel:
        started = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(case.runs):
                group.start_soon(kernel.run, bench, {"steps": case.steps, "value": case.value})
        return Measured(time.perf_counter() - started, tuple(seconds_of_steps))


def measured(case: Case, place: Path) -> Measured:
    """Run a case in a kernel whose store lies at a place that does not exist yet."""
    url = {
        "sqlite full": f"sqlite:{place}.db",
        "sqlite normal": f"sqlite:{place}.db?durability=normal",
        "file": f"file:{place}",
        "memory": "memory:",
    }[case.store]
    return anyio.run(kernel_seconds, url, case, **LOOPS[case.loop])


def limit_seconds(case: Case, place: Path) -> float:
    """How long the least takes that a case could take."""
    if case.store == "memory":
        return skeleton_seconds(case.runs, case.steps, case.value)
    if case.store == "file":
        return raw_file_seconds(place, case.runs, case.steps, case.value)
    return raw_seconds(place, case.runs, case.steps, case.value, case.store.split()[1])


def measure(case: Case, folder: Path, rounds: int, report: Report) -> None:
    """Tell what a step of a case takes: the medians over the rounds, in microseconds unless a column says otherwise."""
    kernels: list[Measured] = []
    limits: list[float] = []
    for number in range(rounds):
        place = folder / f"{CASES.index(case)}-{number}"
        if number % 2:
            limits.append(limit_seconds(case, place.with_suffix(".raw")))
        kernels.append(measured(case, place))
        if not number % 2:
            limits.append(limit_seconds(case, place.with_suffix(".raw")))
    scale = 1e6 / (case.runs * case.steps)
    per_step = median(each.all for each in kernels) * scale
    ratios = [limit / kernel.all for limit, kernel in zip(limits, kernels, strict=True)]
    hundredths = [quantiles(each.steps, n=100) for each in kernels]
    report.row(
        {
            "store": case.store,
            "runs": str(case.runs),
            "output": "1 KiB" if case.value == VALUE else "1 byte",
            "loop": case.loop,
            "steps/s": 1e6 / per_step,
            UNIT: per_step,
            "p50 ms": 1e3 * median(each[49] for each in hundredths),
            "p99 ms": 1e3 * median(each[98] for each in hundredths),
            LIMIT: median(limits) * scale,
            "of the limit": f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the stores go; default: a temporary folder here")
    parser.add_argument("--case", action="append", default=[], help="only cases whose text has all of these in it")
    arguments = parser.parse_args()
    report = Report("Steps")
    with tempfile.TemporaryDirectory(dir=arguments.folder or Path.cwd(), prefix=".bench-") as folder:
        for case in CASES:
            if case.loop == "uvloop" and find_spec("uvloop") is None:
                continue  # make bench installs it
            if all(word in str(case) for word in arguments.case):
                measure(case, Path(folder), arguments.rounds, report)


if __name__ == "__main__":
    main()
