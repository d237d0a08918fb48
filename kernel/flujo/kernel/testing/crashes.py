"""Running a workflow to its end in virtual time, with a crash wherever one can make a difference.

What has been committed is all that a crash leaves. So between two commits it does not matter when a process dies, and
`crash_at_every_checkpoint` covers every instant by one history per commit: a kernel that dies right behind it, and
another one that goes on.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import anyio

from flujo.kernel.api import RunHandle
from flujo.kernel.backend import Commit, Refused, StateBackend
from flujo.kernel.errors import FlujoError, RunFinishedError, StoreError
from flujo.kernel.events import EventRow
from flujo.kernel.kernel import Kernel
from flujo.kernel.programs import Workflow

from .relays import RelayBackend, Result
from .virtual import Loop, VirtualClock, run_virtually

RUN_ID = "run"

Meanwhile = Callable[[RunHandle], Awaitable[None]]
"""What happens around a run while it goes on, such as signals. It begins anew with every life of the kernel, so it may
find that what it does was done before; a signal that is sent twice is received twice."""

MakeBackend = Callable[[], StateBackend]
"""Makes another handle on one and the same store, with each call."""


class Crashes(NamedTuple):
    """What a row of crashes has shown: the output, always the same, and how many commits there were to crash behind."""

    output: Any
    checkpoints: int


class Different(AssertionError):
    """A run that was interrupted has come to another end than an uninterrupted one."""

    def __init__(self, checkpoint: int, behind: str, output: Any, expected: Any) -> None:
        super().__init__(
            f"after a crash behind checkpoint {checkpoint} ({behind}) the run came to {output!r}, "
            f"uninterrupted it comes to {expected!r}; what is done between steps, is done again after a crash"
        )
        self.checkpoint = checkpoint
        self.output = output
        self.expected = expected


def run_workflow(
    workflow: Workflow,
    inputs: Mapping[str, Any] | None = None,
    *,
    others: Sequence[Workflow] = (),
    meanwhile: Meanwhile | None = None,
    make_backend: MakeBackend | None = None,
    loop: Loop = "asyncio",
) -> Any:
    """Return the output of a new run of a workflow, in virtual time and on a store in memory.

    `others` are workflows that it starts as children. Raises what Kernel.start and Kernel.result raise."""
    make = make_backend or in_memory()

    async def live() -> Any:
        async with KeepingKernel(make(), [workflow, *others], clock=VirtualClock()) as kernel:
            return await _outcome(kernel, workflow, inputs, meanwhile)

    return run_virtually(live, loop=loop)


def crash_at_every_checkpoint(
    workflow: Workflow,
    inputs: Mapping[str, Any] | None = None,
    *,
    others: Sequence[Workflow] = (),
    meanwhile: Meanwhile | None = None,
    make_store: Callable[[], MakeBackend] | None = None,
    loop: Loop = "asyncio",
) -> Crashes:
    """Run a workflow once in peace, and then once for every commit of that run, with a crash right behind it and
    another kernel that goes on. Raises Different unless all come to the same output.

    What is recorded by lot (`ctx.now`, `ctx.random`, `ctx.uuid`) differs from run to run, so it must not be part of the
    output. `make_store` makes a new store for each of these runs, by default one in memory. Raises what Kernel.start
    and Kernel.result raise."""
    make = make_store or in_memory
    calm = _History(make(), None)
    expected = run_virtually(calm.live, workflow, inputs, others, meanwhile, loop=loop)
    for checkpoint, behind in enumerate(calm.checkpoints, 1):
        history = _History(make(), checkpoint)
        try:
            output = run_virtually(history.live, workflow, inputs, others, meanwhile, loop=loop)
        except FlujoError as error:
            raise Different(checkpoint, behind, error, expected) from error
        if output != expected:
            raise Different(checkpoint, behind, output, expected)
    return Crashes(expected, len(calm.checkpoints))


class KeepingKernel(Kernel):
    """Forgets no old runs by itself: looking for them again and again, it would keep virtual time going for ever, and a
    run that is stuck would never be found out."""

    async def _forget_old_runs(self) -> None:
        pass


def in_memory() -> MakeBackend:
    """Handles on a new store in memory."""
    # By its name: the kernel does not know its backends, and whoever names a store of their own does not need this one.
    memory: Any = importlib.import_module("flujo.backends.memory")
    store = memory.MemoryStore()
    return lambda: memory.InMemoryBackend(store)


class _History:
    """The lives of a run on one store: a kernel that may die behind a certain commit, and then one that goes on."""

    def __init__(self, make: MakeBackend, crash_behind: int | None) -> None:
        self._make = make
        self._crash_behind = crash_behind
        self.checkpoints: list[str] = []  # what each commit of the first life has brought, for people

    async def live(
        self,
        workflow: Workflow,
        inputs: Mapping[str, Any] | None,
        others: Sequence[Workflow],
        meanwhile: Meanwhile | None,
    ) -> Any:
        clock = VirtualClock()
        mortal = MortalBackend(self._make(), self._crash_behind, self.checkpoints)
        with _quiet():
            try:
                with mortal.life:
                    async with KeepingKernel(mortal, [workflow, *others], clock=clock) as kernel:
                        return await _outcome(kernel, workflow, inputs, meanwhile)
            except (FlujoError, ExceptionGroup):
                if not mortal.is_dead:
                    raise
        async with KeepingKernel(self._make(), [workflow, *others], clock=clock) as kernel:
            return await _outcome(kernel, workflow, inputs, meanwhile)


async def _outcome(
    kernel: Kernel, workflow: Workflow, inputs: Mapping[str, Any] | None, meanwhile: Meanwhile | None
) -> Any:
    """Start the run, or find it, and return its output."""
    handle = await kernel.start(workflow, inputs, run_id=RUN_ID)
    if meanwhile is None:
        return await handle.result()
    failure: FlujoError | None = None
    output: Any = None

    async def attend() -> None:
        try:
            await meanwhile(handle)
        except RunFinishedError:
            pass  # it has done enough in an earlier life

    async with anyio.create_task_group() as group:
        group.start_soon(attend)
        try:
            output = await handle.result()
        except FlujoError as error:
            failure = error  # kept out of the task group, which would hand it on inside of an ExceptionGroup
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return output


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what a kernel says that dies."""
    logger = logging.getLogger("flujo.kernel")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


class MortalBackend(RelayBackend):
    """A handle on a store that dies, as its process would, right behind its n-th commit: from then on nothing reaches
    the store, and everything within `life` is cancelled."""

    def __init__(self, inner: StateBackend, crash_behind: int | None, checkpoints: list[str]) -> None:
        super().__init__(inner)
        self._crash_behind = crash_behind
        self._checkpoints = checkpoints
        self.is_dead = False
        self.life = anyio.CancelScope()

    def _require_alive(self) -> None:
        if self.is_dead:
            raise StoreError(self.url, "its process was killed")

    async def relay(self, name: str, call: Callable[[], Awaitable[Result]]) -> Result:
        """Do the call of this name, unless the process is dead. What a dead one has open is closed."""
        if name != "close":
            self._require_alive()
        return await call()

    async def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        refused: dict[str, Refused] = await super().append(commits)
        self._checkpoints.append(", ".join(_told(row) for commit in commits for row in commit.rows))
        if len(self._checkpoints) == self._crash_behind:
            self.is_dead = True
            self.life.cancel()
            self._require_alive()
        return refused


def _told(row: EventRow) -> str:
    return f"event {row.seq}: {row.type}"
