"""The clients of an episode: who starts a run, asks things of it, watches it, and sees to it that it ends well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import anyio

from flujo.kernel import Kernel, Observer
from flujo.kernel.api import CancelOutcome
from flujo.kernel.errors import (
    RunActiveError,
    RunCancelled,
    RunExistsError,
    RunFailed,
    RunFinishedError,
    RunInterrupted,
    RunNotPausedError,
    RunNotResumableError,
    RunPaused,
    StepCompletedError,
)
from flujo.kernel.values import encode

from .episode_world import EpisodeLife
from .plans import Ask, Plan, Send
from .programs import play, timed


async def adopt(kernel: Kernel, run_id: str) -> None:
    """Have a kernel go on with a run if it has no live owner."""
    await kernel._takeover.adopt(await kernel.backend.load(run_id))


class Client:
    """Whoever has started a run, during one life of its kernel."""

    def __init__(self, life: EpisodeLife, kernel: Kernel, plan: Plan) -> None:
        self._life = life
        self._world = life.world
        self._checker = life.world.checker
        self._kernel = kernel
        self._plan = plan
        self._run_id = plan.run_id

    async def live(self) -> None:
        """See to the run until it has ended as it should."""
        plan, world = self._plan, self._world
        if plan.insists or self._run_id not in world.started:
            await self._start()
        async with anyio.create_task_group() as group:
            if plan.watches:
                group.start_soon(self._watch_on)
            for number, send in enumerate(plan.signals):
                if (self._run_id, number) not in world.sent:
                    group.start_soon(self._send, number, send)
            for ask in plan.asks:
                if (self._run_id, ask.kind) not in world.asked:
                    group.start_soon(self._ask, ask)
            await self._see_to_it()
            if plan.watches:
                await self._watch()
            group.cancel_scope.cancel()
        if not self._life.dead:
            world.seen_to.add(self._run_id)
            world.news.set()
            world.news = anyio.Event()

    def _require(self, promised: bool, problem: str) -> None:
        """What the kernel has just said must be true; the dead say nothing."""
        if not promised and not self._life.dead:
            raise self._world.violation(problem)

    async def _start(self) -> None:
        run_id, started = self._run_id, self._world.started
        program = timed if self._plan.is_timed else play
        handle = await self._kernel.start(program, {"script": self._plan.script}, run_id=run_id)
        if self._life.dead:
            return
        self._require(self._checker.exists(run_id), f"the start of {run_id} was acknowledged and is not durable")
        self._require(not handle.created or run_id not in started, f"{run_id} was created twice")
        started.add(run_id)
        if self._plan.insists:
            try:
                await self._kernel.start(program, {"script": []}, run_id=run_id)
            except RunExistsError:
                return
            self._require(False, f"{run_id} was started with other inputs than it has")

    # -- its end ------------------------------------------------------------------------------------------------

    async def _see_to_it(self) -> None:
        """Return when the run has ended as it should."""
        run_id, kernel, world = self._run_id, self._kernel, self._world
        for _ in range(60):
            try:
                output = await kernel.result(run_id)
            except RunInterrupted:
                await self._politely(lambda: adopt(kernel, run_id))
                await anyio.sleep(0.1)
            except RunFailed:
                if self._plan.is_timed:
                    return
                await self._cure()
            except RunCancelled:
                if not any(ask.kind == "cancel" and not ask.resumes for ask in self._plan.asks):
                    await self._politely(lambda: kernel.resume(run_id))
                elif not self._life.dead:
                    world.left_cancelled.add(run_id)
                    return
            except RunPaused:
                await anyio.sleep(self._life.lots.choice((0.0, 0.5, 5.0)))
                await self._politely(lambda: kernel.unpause(run_id))
            else:
                if not self._life.dead:
                    problem = self._checker.reported(run_id, output)
                    self._require(problem is None, str(problem))
                    world.reported[run_id] = output
                return
        raise world.violation(f"{run_id} was seen to 60 times and has not ended")

    async def _cure(self) -> None:
        """Do something about the failure of the run."""
        run_id, kernel, cure = self._run_id, self._kernel, self._plan.cure
        state = await kernel.inspect(run_id)
        failed = [name for name in state.failed_steps if state.steps[name].status == "failed"]
        outputs = self._checker.later_outputs(self._plan.script, failed)
        if cure == "from_step" and failed and len(self._world.alive) == 1:  # or somebody might just have completed it
            await self._politely(lambda: kernel.resume(run_id, from_step=failed[0]))
        elif cure == "skip" and outputs:
            await self._politely(lambda: kernel.resume(run_id, skip=outputs))
        elif cure == "set_output" and outputs:
            for name, output in outputs.items():
                await self._politely(lambda name=name, output=output: kernel.set_output(run_id, name, output))
            await self._politely(lambda: kernel.resume(run_id))
        else:
            await self._politely(lambda: kernel.resume(run_id))

    async def _politely(self, call: Callable[..., Awaitable[Any]]) -> None:
        """Do what somebody else may have done meanwhile."""
        try:
            await call()
        except (RunActiveError, RunNotResumableError, RunNotPausedError, RunFinishedError, StepCompletedError):
            await anyio.sleep(0.3)

    # -- what it asks for ---------------------------------------------------------------------------------------

    async def _send(self, number: int, send: Send) -> None:
        await anyio.sleep(send.after)
        payload = {"name": send.name, "number": number, "life": self._life.number}
        while True:
            with suppress(RunFinishedError):
                await self._signal(send, payload)
                break
            await anyio.sleep(0.5)  # it has failed, or was cancelled, and somebody is going to resume it
        stored = self._checker.has_signal(self._run_id, encode(payload))
        self._require(stored, f"the signal {payload} to {self._run_id} was acknowledged and is stored nowhere")
        if not self._life.dead:
            self._checker.promise(self._run_id, encode(payload))
            self._world.sent.add((self._run_id, number))

    async def _signal(self, send: Send, payload: Any) -> None:
        if send.posts:
            async with self._world.store.open() as handle:
                await Observer(handle, clock=self._life.clock).signal(self._run_id, send.name, payload)
        else:
            await self._kernel.signal(self._run_id, send.name, payload)

    async def _ask(self, ask: Ask) -> None:
        await anyio.sleep(ask.after)
        run_id, kernel = self._run_id, self._kernel
        while True:
            try:
                if ask.kind == "cancel":
                    if await kernel.cancel(run_id, "enough") is CancelOutcome.ALREADY_FINISHED:
                        return
                elif ask.kind == "pause":
                    await kernel.pause(run_id)
                else:
                    await kernel.set_variable(run_id, "outside", 1)
                break
            except RunFinishedError:
                return
            except RunActiveError:  # another process has it in hand, and is not done with it
                await anyio.sleep(0.3)
        stored = self._checker.is_asked(run_id, ask.kind)
        self._require(stored, f"{ask.kind} of {run_id} was acknowledged and is stored nowhere")
        if not self._life.dead:
            self._world.asked.add((run_id, ask.kind))

    # -- watching -----------------------------------------------------------------------------------------------

    async def _watch_on(self) -> None:
        while True:
            await self._watch()
            await anyio.sleep(0.5)

    async def _watch(self) -> None:
        """See every event until the run is final, from the first that no earlier life has seen."""
        run_id, cursors = self._run_id, self._world.cursors
        cursor = cursors.get(run_id, 0)
        async with aclosing(self._kernel.watch(run_id, after_seq=cursor)) as watch:
            async for event in watch:
                if self._life.dead:
                    return
                cursor += 1
                problem = self._checker.observed(run_id, cursor, event)
                self._require(problem is None, str(problem))
                cursors[run_id] = max(cursor, cursors.get(run_id, 0))
