"""A context for the interpreter: the kernel's promises on steps, kept in memory and without time.

It records as the kernel does (strict JSON, read back before it is handed on), retries by the real policy without
waiting, refuses a name used twice, and can be made again from what an earlier one recorded, which is a replay.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from flujo.kernel.errors import StepFailed
from flujo.kernel.execution.current_attempt import Attempt, Wait, enter_attempt
from flujo.kernel.execution.subprocesses import Children
from flujo.kernel.journal.retry import NO_RETRY, RetryPolicy
from flujo.kernel.programs import ItemOutcome, Loop, LoopEnd, Rounds, Workflow, described
from flujo.kernel.state import StepStatus
from flujo.kernel.values import decode, encode


@dataclass
class Record:
    """What is recorded of a step; the interpreter reads the first three."""

    status: str = "pending"
    attempt: int = 0
    output_json: str | None = None
    failure: tuple[str, str] = ("", "")
    reason: str = ""
    settled_seq: int | None = None
    call: str | None = None


def without_times(log: str) -> str:
    """The text of a run's log without when each line was written."""
    return re.sub(r"(?m)^(\S+\.\d+) \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\| ", r"\1| ", log)


class Crash(BaseException):
    """The kernel dies in the middle of a body."""


@dataclass
class ScriptedContext:
    environment: Mapping[str, Any]
    children: Children
    run_id: str = "run-1"
    records: dict[str, Record] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    timeouts: dict[str, float | None] = field(default_factory=dict)
    waits: dict[str, Wait] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    crash_in: str | None = None
    ending: str | None = None

    def again(self) -> ScriptedContext:
        """The context of the next kernel that runs this run."""
        return ScriptedContext(self.environment, self.children, self.run_id, self.records)

    def peek(self, name: str) -> Record | None:
        return self.records.get(self._next(name))

    async def pause_without_workspace(self) -> NoReturn:
        """Nothing here makes or removes a workspace."""
        raise AssertionError("the workspace is gone")

    async def run_child(
        self,
        workflow: Workflow | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        retry: RetryPolicy = NO_RETRY,
        adapt: Callable[[Workflow], Workflow] | None = None,
    ) -> Any:
        """There is no kernel here that could run it."""
        raise AssertionError("a child was started")

    async def sleep(self, duration: float, *, name: str = "sleep") -> None:
        """A pause takes no time here."""
        self.records.setdefault(self._use(name), Record()).status = "completed"

    def skip(self, name: str, reason: str) -> None:
        record = self.records.setdefault(self._use(name), Record())
        if record.status == "pending":
            record.status, record.reason = "skipped", reason

    async def step(
        self,
        function: Callable[[], Awaitable[Any]],
        /,
        *,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
    ) -> Any:
        assert name is not None
        name = self._use(name)
        self.timeouts[name] = timeout
        record = self.records.setdefault(name, Record())
        if record.status == "failed":
            raise StepFailed(name, *record.failure, record.attempt)
        if record.status in ("completed", "skipped"):
            return None if record.output_json is None else decode(record.output_json)
        failures = 0
        while True:
            record.status, record.attempt = "running", record.attempt + 1
            self.started.append(name)
            try:
                with self._attempt(name, record.attempt):
                    if self.crash_in == name:
                        raise Crash
                    value = await function()
                if isinstance(value, Wait):
                    self.waits[name] = value
                    value = None
                record.output_json = encode(value)
            except Exception as error:
                failures += 1
                failed = described(error, name, record.attempt)
                if (retry or NO_RETRY).retries(failed.kinds, failures, 0, 0):
                    continue
                record.status, record.failure = "failed", (failed.failure.type, failed.failure.message)
                raise StepFailed(name, *record.failure, record.attempt) from error
            record.status = "completed"
            return decode(record.output_json)

    async def loop(self, loop: Loop, /, *, name: str) -> Any:
        """Perform the items of a loop one after the other, and then the loop itself."""
        record = self.records.setdefault(self._next(name), Record())
        if record.status in ("failed", "completed", "skipped"):
            return await self.step(self._never, name=name)
        agenda = await loop.read()
        outcomes: list[ItemOutcome] = []
        for index in range(len(agenda.items)):
            if not loop.goes_on and any(outcome.failure for outcome in outcomes):
                outcomes.append(ItemOutcome(StepStatus.PENDING))
                continue
            retry, timeout = loop.options.retry, loop.options.timeout_seconds
            try:
                output = await self.step(
                    loop.body(agenda, index), name=f"{name}[{index}]", retry=retry, timeout=timeout
                )
                outcomes.append(ItemOutcome(StepStatus.COMPLETED, output))
            except StepFailed as failure:
                outcomes.append(ItemOutcome(StepStatus.FAILED, failure=failure))

        async def conclude() -> Any:
            return loop.conclude(LoopEnd(agenda, outcomes, 0, 0))

        return await self.step(conclude, name=name)

    async def rounds(self, rounds: Rounds, /, *, name: str) -> Any:
        """Perform the rounds of a step, and then the step itself."""
        record = self.records.setdefault(self._next(name), Record())
        if record.status in ("failed", "completed", "skipped"):
            return await self.step(self._never, name=name)
        retry, timeout = rounds.options.retry, rounds.options.timeout_seconds
        for index in count():
            try:
                result = await self.step(
                    rounds.body(index + 1), name=f"{name}[{2 * index}]", retry=retry, timeout=timeout
                )
            except StepFailed as failure:
                record.status, record.failure = "failed", (failure.type, failure.error)
                self._use(name)
                raise StepFailed(name, *record.failure, 0) from failure
            if await rounds.is_last(result):
                break
            await self.sleep(rounds.pause_seconds, name=f"{name}[{2 * index + 1}]")

        async def conclude() -> Any:
            return result

        return await self.step(conclude, name=name)

    async def _never(self) -> Any:
        raise AssertionError("what is recorded is not performed")

    @contextmanager
    def _attempt(self, name: str, number: int) -> Iterator[None]:
        token = enter_attempt(Attempt(self.run_id, "uid-1", name, 1, number, self.children, report_nothing))
        try:
            yield
        finally:
            token.var.reset(token)

    def _next(self, name: str) -> str:
        """The key that the next use of a name gets, as in a branch of the kernel."""
        before = self.used.get(name, 0)
        return name if before == 0 else f"{name}#{before + 1}"

    def _use(self, name: str) -> str:
        key = self._next(name)
        self.used[name] = self.used.get(name, 0) + 1
        return key


def report_nothing(step: str | None, done: float, total: float | None, message: str | None, metrics: object) -> None:
    """Where progress goes when nobody listens."""


def environment_in(folder: Path, **more: Any) -> dict[str, Any]:
    """What is recorded at the start of a run whose workspace lies in `folder`."""
    return {
        "workspace": str(folder / "workspaces" / "run-1"),
        "log_file": str(folder / "workspaces" / "run-1.log"),
        "timestamp": "2026-11-22T02:15:00+00:00",
        "run_number": 7,
        "start_dir": str(folder),
        "workflow_file": str(folder / "flow.yaml"),
        "workflow_dir": str(folder),
        "env": {},
        **more,
    }
