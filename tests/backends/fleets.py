"""Fleets of kernels on one database for the tests: in this process, or each in a process of its own, as if on hosts of
their own; and what has to be true of a store whatever befell them.

    python fleets.py URL LEDGER PREFIX COUNT      # a kernel that starts so many runs, and lives until it is killed
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.backends import PostgresBackend
from flujo.backends.postgres.connection import Connection
from flujo.backends.postgres.url import parse
from flujo.kernel import Context, Kernel, Workflow, events, workflow
from flujo.kernel.backend import RunFilter, RunSummary, StateBackend
from flujo.kernel.checking import check
from flujo.kernel.errors import FlujoError, StoreLeaseLostError
from flujo.kernel.events import EventRow, StepCompleted, StepStarted

PATIENCE_SECONDS = 120.0
STEPS = 5


def size(name: str, small: int) -> int:
    """Return how large a fault is to be: `make torture-postgres` says it in the environment."""
    return int(os.environ.get(name, small))


BODY_SECONDS = "BODY_SECONDS"
"""The variable of a process that says how long its bodies take."""

DOUBT = "does not reach its store"

bodies: Counter[str] = Counter()
"""How often the body of each step of each run has begun, by everybody in this process, as RUN/STEP."""

ledger: list[Path] = []
"""The file that a process of its own writes the bodies to that it begins."""


def begin_body(run_id: str, step: str) -> None:
    """Note that a body begins, outside of every store."""
    bodies[f"{run_id}/{step}"] += 1
    if ledger:
        with ledger[0].open("a") as file:
            file.write(f"{run_id}/{step}\n")


@workflow()
async def steps(ctx: Context, name: str) -> str:
    """Make some steps that take a moment each."""

    async def work() -> str:
        begin_body(name, at)
        await anyio.sleep(float(os.environ.get(BODY_SECONDS, 0.02)))
        return "done"

    for number in range(STEPS):
        at = f"work{number}"
        await ctx.step(work, name=at)
    return name


@workflow()
async def patient(ctx: Context) -> object:
    """Wait for a signal."""
    return await ctx.wait_signal("go")


@workflow()
async def twice(ctx: Context) -> list[object]:
    """Wait for two signals."""
    first = await ctx.wait_signal("go")
    return [first, await ctx.wait_signal("on")]


@workflow()
async def wordy(ctx: Context, name: str) -> str:
    """Make steps with long outputs."""

    async def work() -> str:
        begin_body(name, at)
        return name * 2000

    for number in range(STEPS):
        at = f"work{number}"
        await ctx.step(work, name=at)
    return name


@asynccontextmanager
async def fleet(
    url: str,
    number: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    workflows: Sequence[Workflow] = (steps, patient, twice, wordy),
) -> AsyncIterator[list[Kernel]]:
    """Kernels on the same store, each as if on a host of its own."""
    async with AsyncExitStack() as stack:
        kernels: list[Kernel] = []
        for place in range(number):
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / f"host{place}"))
            kernels.append(await stack.enter_async_context(Kernel(PostgresBackend(url), workflows)))
        yield kernels


async def until_waiting(kernel: Kernel, run_id: str, waits: int) -> None:
    """Return once a run has begun to wait for so many signals."""
    async for event in kernel.watch(run_id):
        waits -= event.type == "step_waiting"
        if waits == 0:
            return


async def sql(url: str, statement: str) -> Sequence[Sequence[Any]]:
    """Return what the server says to a statement; `@.` is the schema of the store."""
    asking = await Connection.connect(parse(url))
    try:
        return await asking.fetch(statement)
    finally:
        await asking.close()


# -- processes ------------------------------------------------------------------------------------------------------


class Host:
    """A kernel in a process of its own, on a host of its own, in front of whose command stands `before`."""

    def __init__(
        self, url: str, folder: Path, runs: int, before: Sequence[str] = (), settings: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self.runs = [f"{folder.name}-{number}" for number in range(runs)]
        self.ledger = folder / "ledger"
        self.ledger.touch()
        environment = {**os.environ, **(settings or {})}
        environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "XDG_RUNTIME_DIR": os.fspath(folder)}
        command = [*before, sys.executable, __file__, url, os.fspath(self.ledger), folder.name, str(runs)]
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)

    def wait_until_open(self) -> None:
        """Return once its runs are started."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "open\n"

    def bodies(self) -> Counter[str]:
        """Return how often the body of each step has begun there."""
        return Counter(self.ledger.read_text().split())

    def doubts(self) -> int:
        """Return how often it ended its bodies because it could not reach the store in time, as on a busy machine."""
        return self._log.read_text().count(DOUBT)

    def wait_until_at_work(self, bodies: int) -> None:
        """Return once it has begun so many bodies."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while self.bodies().total() < bodies:
            assert time.monotonic() < give_up_at
            time.sleep(0.01)

    def end(self) -> None:
        """Kill it, if it lives."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


async def live(url: str, file: str, prefix: str, runs: int) -> None:
    """Be a kernel until somebody has said that it is dead."""
    ledger.append(Path(file))
    async with Kernel(PostgresBackend(url), [steps]) as kernel:
        for number in range(runs):
            await kernel.start(steps, {"name": f"{prefix}-{number}"}, run_id=f"{prefix}-{number}")
        print("open", flush=True)  # noqa: T201
        await kernel.wait_closed()


# -- what has to be true --------------------------------------------------------------------------------------------

_KEEP_TOKENS = """
CREATE FUNCTION @.keep_tokens() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.token < OLD.token THEN RAISE EXCEPTION 'the token of % went from % to %', OLD.run_id, OLD.token, NEW.token;
    END IF; RETURN NEW; END $$;
CREATE TRIGGER keep_tokens BEFORE UPDATE OF token ON @.runs FOR EACH ROW EXECUTE FUNCTION @.keep_tokens()"""


async def guard_tokens(url: str) -> None:
    """Have the server refuse whatever lowers the token of a run."""
    asking = await Connection.connect(parse(url))
    try:
        await asking.script(_KEEP_TOKENS)
    finally:
        await asking.close()


async def faults_in(url: str, begun: Mapping[str, int], run_ids: Iterable[str], *, doubts: int = 0) -> list[str]:
    """Return what is wrong with a store in which these runs ought to have completed, and with the bodies that were
    `begun`: of each run at most as many more than it has steps as it has had owners beside the first, and as a kernel
    ended its bodies in doubt."""
    async with PostgresBackend(url) as backend:
        found = [str(problem) for problem in (await check(backend)).findings]
        for run_id in run_ids:
            found += [f"{run_id}: {problem}" async for problem in _faults_of(backend, run_id, begun, doubts)]
    return found


async def _faults_of(backend: StateBackend, run_id: str, begun: Mapping[str, int], doubts: int) -> AsyncIterator[str]:
    try:
        run = await backend.load(run_id)
        rows = await backend.read_events(run_id, run.uid, 0, 10_000)
    except FlujoError as error:
        yield str(error)
        return
    if run.status != "completed":
        yield f"it is {run.status}"
    if [row.seq for row in rows] != list(range(1, run.seq + 1)):
        yield "its journal has a gap"
    done = completed([events.decode(row).fact for row in rows])
    for (step, generation), times in done.items():
        if times > 1:
            yield f"step {step} of generation {generation} was completed {times} times"
    starts = Counter(row_step for row_step in map(_started, rows) if row_step is not None)
    for name, times in begun.items():
        if name.partition("/")[0] == run_id and times > starts[name.partition("/")[2]]:
            yield f"the body of {name} has begun {times} times, and its start was recorded less often"
    of_run = {name: times for name, times in begun.items() if name.partition("/")[0] == run_id}
    if of_run.keys() < {f"{run_id}/{step}" for step, _ in done if step.startswith("work")}:
        yield f"only the bodies of {sorted(of_run)} have begun"
    if (more := sum(of_run.values()) - len(of_run)) > run.token - 1 + doubts:
        yield f"{more} bodies too many have begun, and it was taken over {run.token - 1} times"


def _started(row: EventRow) -> str | None:
    fact = events.decode(row).fact
    return fact.step if isinstance(fact, StepStarted) else None


def completed(facts: Iterable[events.Fact]) -> Counter[tuple[str, int]]:
    """Return how often each generation of each step was completed."""
    generations: dict[str, int] = {}
    done: Counter[tuple[str, int]] = Counter()
    for fact in facts:
        if isinstance(fact, StepStarted):
            generations[fact.step] = fact.generation
        elif isinstance(fact, StepCompleted):
            done[fact.step, generations.get(fact.step, 0)] += 1
    return done


async def tokens(url: str) -> Counter[int]:
    """Return how many runs have which token."""
    async with PostgresBackend(url) as backend:
        runs: list[RunSummary] = []
        page: str | None = None
        while True:
            listed = await backend.list(RunFilter(), limit=1000, page=page)
            runs += listed.runs
            if (page := listed.next) is None:
                return Counter(run.token for run in runs)


if __name__ == "__main__":
    with suppress(StoreLeaseLostError):
        anyio.run(live, sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
