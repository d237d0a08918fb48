"""What works while a kernel is open: the parts of this room put together, opened and closed in good order."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup

from flujo.kernel.clock import Clock, RandomBytes
from flujo.kernel.errors import StoreError
from flujo.kernel.execution.child_runs import ChildRuns, ChildStarter, ParentKernel
from flujo.kernel.execution.committer import Committer
from flujo.kernel.execution.current_attempt import account
from flujo.kernel.execution.subprocesses import Children
from flujo.kernel.journal.explanation import Explanation, explain
from flujo.kernel.journal.state import WorkflowState
from flujo.kernel.loops import limit_threads, to_its_end
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.overlaps import ahead_of
from flujo.kernel.store.reading import outlived_by
from flujo.kernel.store.slot_waits import slot_waits_of

from .driver import Driver, Engine, Limits
from .inbox import Inbox
from .latecomers import Latecomers
from .lease import Lease
from .left_tasks import LeftTasks, left_by
from .live_runs import LiveRuns, Residence
from .local_runs import KernelRuns
from .parts import Parts
from .recalls import Recalls
from .recovery import Recovery
from .takeover import Takeover
from .tasks import KernelTasks
from .timers import Alarm, Timers
from .workflow_registry import WorkflowRegistry, needs_definition

logger = logging.getLogger("flujo.kernel")


class Runtime:
    """The parts of the kernel `owner`. Each is given to the parts above it; none is told of those later."""

    def __init__(
        self,
        backend: StateBackend,
        clock: Clock,
        random: RandomBytes,
        owner: str,
        registry: WorkflowRegistry,
        limits: Limits,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._owner = owner
        self._registry = registry
        self._tasks = tasks = KernelTasks(owner)
        self.runs = runs = LiveRuns()
        self._recalls = recalls = Recalls(clock, tasks)
        self._limits = limits
        parts = Parts(owner, backend, clock, registry, runs, tasks, recalls, Alarm(clock), Latecomers(), LeftTasks())
        self._latecomers, self._left_tasks = parts.latecomers, parts.left_tasks
        self._inbox = inbox = Inbox(parts)
        self.driver = driver = Driver(parts, random, limits, inbox)
        self.takeover = takeover = Takeover(parts, inbox, driver, limits.max_interruptions)
        self.recovery = Recovery(parts, driver, takeover)
        self._lease = Lease(backend, clock, driver, self.recovery)
        self.local_runs = KernelRuns(backend, runs, driver, takeover, self.recovery)
        self._timers = Timers(backend, clock, runs, parts.alarm, takeover.reload)

    async def explain(self, state: WorkflowState, untaken: Sequence[str]) -> Explanation:
        """Explain a run with what this kernel alone knows: its workflows, and what waits for a free slot."""
        obstacle = await self._registry.obstacle(state, self._backend) if needs_definition(state) else None
        queued = self.driver.queued_steps(state.uid)
        ahead = await ahead_of(self._backend, state)
        return explain(
            state,
            self._clock.now(),
            obstacle=obstacle,
            known=self._registry.may_know(state.workflow, state.definition),
            queued=sorted(queued),
            limits={step: limit for step, limit in queued.items() if limit is not None},
            slot_waits=await slot_waits_of(self._backend, state),
            is_queued=self.runs.where(state.uid) is Residence.QUEUED,
            untaken=untaken,
            left=left_by(state.uid) if state.is_final else (),
            ahead=None if ahead is None else (ahead.summary.run_id, ahead.status),
            outlived=await outlived_by(self._backend, state),
        )

    @asynccontextmanager
    async def live(
        self,
        kernel: ParentKernel,
        starter: ChildStarter,
        background: Sequence[Callable[[], Coroutine[Any, Any, None]]],
        *,
        recover: bool,
        follow: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[None]:
        """Own runs inside, and release them in good order at the end. Runs ask `kernel` and `starter` for their
        children; the functions in `background` run meanwhile. `follow` is called once the store is open."""
        failure: BaseException | None = None
        async with self._opened() as children:
            follow()
            committer = Committer(
                self._backend,
                self._clock,
                self.driver.committed_together,
                self.driver.lose_all,
                self.takeover.begin_again,
            )
            served = anyio.Event()
            threads = limit_threads(self._limits.max_threads)
            child_runs = ChildRuns(kernel, starter, lambda run_id: self.runs.uid_of(run_id) is not None)
            engine = Engine(committer, children, child_runs, threads)

            async def watch_lease() -> None:
                nonlocal failure
                failure = await self._lease.serve(children)
                group.cancel_scope.cancel()

            try:
                async with anyio.create_task_group() as group:
                    self._start(group, committer, served, engine, background)
                    try:
                        if self._backend.capabilities.lease_seconds is not None:
                            group.start_soon(watch_lease)
                        if self.driver.fleet_limits.are_kept:
                            await self.driver.fleet_limits.exchange()
                            group.start_soon(self.driver.fleet_limits.serve)
                        if recover:
                            await self.recovery.recover()
                            group.start_soon(self.recovery.serve)
                            if self.driver.is_shared:
                                group.start_soon(self.recovery.share)
                        yield
                    except (Exception, KeyboardInterrupt, SystemExit) as error:
                        # Kept out of the task group, which would hand it on inside an ExceptionGroup.
                        failure = error
                    finally:
                        # In a task of its own: this one may be cancelled a second time by what knows no shield, such as
                        # asyncio's Task.cancel(), and then the committer would be waited for and never told to end.
                        group.start_soon(self._shut_down, committer, served, group.cancel_scope)
            finally:
                # Not before all tasks have ended: one of them might just be claiming a run.
                await self._release_all(committer)
        if failure is not None:
            raise failure

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Children]:
        """Hold the store open as this owner, and the child processes that bodies start."""
        await self._backend.open(self._owner)
        children: Children | None = None
        try:
            children = Children(self._backend.liveness_fd, account, self._backend.certain_seconds())
            yield children
        finally:
            # A second Ctrl-C makes asyncio cancel every task there is: a store that is closed by half would leave its
            # threads to the interpreter, which waits for them for ever.
            await to_its_end(partial(self._close, children))

    async def _close(self, children: Children | None) -> None:
        try:
            if children is not None:
                await children.close()
        finally:
            await self._backend.close()

    def _start(
        self,
        group: TaskGroup,
        committer: Committer,
        served: anyio.Event,
        engine: Engine,
        background: Sequence[Callable[[], Coroutine[Any, Any, None]]],
    ) -> None:
        """Start what works while the kernel is open."""
        self._tasks.open(group)
        self.driver.open(engine)
        group.start_soon(_serve_commits, committer, served)
        group.start_soon(self._recalls.serve, self.takeover.reload)
        group.start_soon(self._inbox.serve)
        group.start_soon(self._latecomers.serve, self.takeover.take_along)
        group.start_soon(self._timers.serve)
        for each in background:
            group.start_soon(each)

    async def _release_all(self, committer: Committer) -> None:
        if isinstance(committer.failure, StoreError):
            return
        with anyio.CancelScope(shield=True):
            await self.driver.fleet_limits.close()
            try:
                await self.takeover.releasing.give_up_all()
            except StoreError as error:
                # Only a courtesy: this owner is not alive any more once the backend is closed.
                logger.warning("runs were not released: %s", error)

    async def _shut_down(self, committer: Committer, served: anyio.Event, rest: anyio.CancelScope) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._latecomers.close(self.takeover.take_along)
                self._tasks.close()
                await self.driver.stop_all()
                self._left_tasks.look()
                committer.close()
                await served.wait()
        finally:
            # Also when a second Ctrl-C lands just here: nothing else would tell the committer to end.
            self._tasks.close()
            committer.close()
            rest.cancel()


async def _serve_commits(committer: Committer, served: anyio.Event) -> None:
    # Shielded: what is recorded has to be written however this kernel comes to its end.
    with anyio.CancelScope(shield=True):
        try:
            await committer.serve()
        finally:
            served.set()


def kernel_id(uid: str) -> str:
    """Return an id that tells people on which machine and in which process a kernel is, and that no other kernel has.
    It is a part of file names."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()).strip(".-")[:50] or "host"
    return f"{host}-{os.getpid()}-{uid[:8]}"
