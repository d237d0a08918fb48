"""Python processes that stay warm for the items of one loop: each works on one item at a time, and then on another.

    answer = await pool_of(call).ask(call, request)

A process in which an item has left something behind (a thread, a process, a module of the workspace; python_child.py
says what counts) works on no other one, and its end is awaited before the answer is handed on. So is that of one whose
item is cancelled: it is ended as any command is. All of them end with the loop.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from flujo.kernel.errors import OutputTooLargeError
from flujo.kernel.programs import Finished, leave_every_attempt
from flujo.kernel.values import MAX_OUTPUT_BYTES
from flujo.workflows.registry import LoopScope, TaskCall

OF_ATTEMPT = ("FLUJO_STEP", "FLUJO_ATTEMPT", "FLUJO_IDEMPOTENCY_KEY")
"""Variables that are another item's with each request."""

MAX_ANSWER = 2 * MAX_OUTPUT_BYTES
KEPT_OUTPUT = 64 * 1024


class ChildEnded(Exception):
    """A process has ended without an answer."""

    def __init__(self, finished: Finished | None) -> None:
        self.finished = finished


def pool_of(scope: LoopScope) -> PythonPool:
    """Return the processes of a loop."""
    pool: PythonPool = scope.kept.setdefault("python", PythonPool(scope))
    return pool


@lru_cache(maxsize=1)
def program() -> str:
    """Return the text of the program that the processes run."""
    return Path(__file__).with_name("python_child.py").read_text(encoding="utf-8")


class PythonPool:
    """The warm processes of one loop, as many as have been at work at once."""

    def __init__(self, scope: LoopScope) -> None:
        self._scope = scope
        self._free: list[_WarmChild] = []

    async def ask(self, call: TaskCall, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a request; raises ChildEnded and OutputTooLargeError."""
        while self._free and self._free[-1].ended.is_set():
            self._free.pop()
        child = self._free.pop() if self._free else self._start(call)
        try:
            answer = await child.ask(call, request)
            if answer.pop("stays"):
                self._free.append(child)
            else:
                await child.ended.wait()  # which a thread of the code may keep from ever coming
        except BaseException:
            child.scope.cancel()
            with anyio.CancelScope(shield=True):
                await child.ended.wait()
            raise
        return answer

    def _start(self, call: TaskCall) -> _WarmChild:
        child = _WarmChild()
        self._scope.tasks.start_soon(child.run, call)
        return child


class _WarmChild:
    """One process. It is asked by one item at a time."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.scope = anyio.CancelScope()
        self._requests, self._source = anyio.create_memory_object_stream[bytes](1)
        self._answered = anyio.Event()
        self._answer = bytearray()
        self._held_back = b""
        self._mark = b""
        self._call: TaskCall | None = None
        self._finished: Finished | None = None

    async def run(self, call: TaskCall) -> None:
        """Run the process until it ends, or until the scope is cancelled."""
        leave_every_attempt()  # it outlives the one that has started it
        source: MemoryObjectReceiveStream[bytes] = self._source
        try:
            with self.scope:
                self._finished = await call.attempt.children.run(
                    [sys.executable, "-P", "-c", program(), "warm"],
                    cwd=call.workspace,
                    env=call.environment(),
                    more_input=source,
                    output_limit=KEPT_OUTPUT,
                    on_output=self._receive,
                )
        finally:
            self.ended.set()
            self._answered.set()
            self._requests.close()
            source.close()

    async def ask(self, call: TaskCall, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a request; raises ChildEnded and OutputTooLargeError."""
        mark = os.urandom(8).hex()
        environment = call.attempt.environment()
        told = {**request, "mark": mark, "environment": {name: environment[name] for name in OF_ATTEMPT}}
        self._call, self._mark = call, f"\0{mark}\n".encode()
        self._answered = anyio.Event()
        if self.ended.is_set():
            raise self._gone()
        await self._requests.send(json.dumps(told).encode() + b"\n")
        await self._answered.wait()
        if self.ended.is_set() and not self._answer.endswith(b"\n"):
            raise self._gone()
        if len(self._answer) > MAX_ANSWER:
            raise OutputTooLargeError(len(self._answer), MAX_OUTPUT_BYTES)
        answer: dict[str, Any] = json.loads(self._answer)
        self._answer.clear()
        return answer

    def _gone(self) -> ChildEnded:
        """Return the error of a process that gives no answer, with what it has printed for this request."""
        if (finished := self._finished) is None:
            return ChildEnded(None)
        _, mark, printed = finished.stderr.rpartition(b"\0")
        return ChildEnded(finished._replace(stderr=printed.partition(b"\n")[2]) if mark else finished)

    def _receive(self, stream: str, chunk: bytes) -> None:
        """Take the answer, and what was printed up to the mark that ends it."""
        if stream == "stdout":
            self._answer += chunk
        else:
            self._log(chunk)
        is_answered = self._answer.endswith(b"\n") and not self._mark
        if is_answered or len(self._answer) > MAX_ANSWER:
            self._answered.set()

    def _log(self, chunk: bytes) -> None:
        assert self._call is not None
        before, mark, after = (self._held_back + chunk).partition(self._mark or b"\0")
        if mark and self._mark:
            self._mark = self._held_back = b""
            before += after
        elif self._mark:  # the beginning of the mark may be all that has come yet
            held = next((n for n in range(len(self._mark) - 1, 0, -1) if before.endswith(self._mark[:n])), 0)
            before, self._held_back = before[: len(before) - held], before[len(before) - held :]
        else:
            before += mark + after
        if before:
            self._call.log.receive("stderr", before)
