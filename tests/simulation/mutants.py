"""Bugs planted on purpose, to show that the sweep would see them. Product code knows nothing of this.

Each mutant is a context manager: while it is entered, kernels have that bug."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any
from unittest import mock

from flujo.kernel.committer import Batch
from flujo.kernel.keys import Branch
from flujo.kernel.replay import LAST, Replay
from flujo.kernel.state import WorkflowState
from flujo.kernel.values import Codec

Mutant = Callable[[], AbstractContextManager[object]]


@contextmanager
def acknowledges_before_durable() -> Iterator[None]:
    """A step's body begins as soon as its start is recorded, and not when it is durable."""
    wait = Batch.durable

    async def durable(self: Batch) -> None:
        if not any(share.rows[-1].type == "step_started" for share in self.shares.values()):
            await wait(self)

    with mock.patch.object(Batch, "durable", durable):
        yield


@contextmanager
def counts_repeats_across_branches() -> Iterator[None]:
    """All branches of a run count the repeats of a name together, so a key depends on who came first."""
    counts: ContextVar[dict[str, int]] = ContextVar("counts")
    make = Branch.__init__

    def initialize(self: Branch, prefix: str, task: int) -> None:
        make(self, prefix, task)
        if not prefix:  # the branch a program begins in
            counts.set({})
        self._counts = counts.get()

    with mock.patch.object(Branch, "__init__", initialize):
        yield


class _Remembering(str):
    """Recorded text that remembers which value it was made from, until that has been handed out."""

    value: Any
    is_fresh = True


@contextmanager
def hands_out_live_values() -> Iterator[None]:
    """A program receives the value its step returned, and only on replay the one read back from the journal."""
    encode, decode = Codec.encode, Codec.decode

    def remember(self: Codec, value: Any) -> str:
        recorded = _Remembering(encode(self, value))
        recorded.value = value
        return recorded

    def recall(self: Codec, recorded: str) -> Any:
        if isinstance(recorded, _Remembering) and recorded.is_fresh:
            recorded.is_fresh = False
            return recorded.value
        return decode(self, recorded)

    with mock.patch.object(Codec, "encode", remember), mock.patch.object(Codec, "decode", recall):
        yield


@contextmanager
def replays_newest_first() -> Iterator[None]:
    """Recorded outcomes are handed out in the reverse of the order they were recorded in."""
    make, turn = Replay.__init__, Replay.turn

    def initialize(self: Replay, state: WorkflowState, *rest: Any) -> None:
        make(self, state, *rest)
        self._due = deque(-seq for seq in reversed(self._due))

    async def reversed_turn(self: Replay, seq: int = LAST) -> None:
        await turn(self, seq if seq == LAST else -seq)

    with mock.patch.object(Replay, "__init__", initialize), mock.patch.object(Replay, "turn", reversed_turn):
        yield


@contextmanager
def replays_as_asked() -> Iterator[None]:
    """Recorded outcomes are handed out to whoever asks first, in the order tasks happen to run."""

    async def at_once(self: Replay, seq: int = LAST) -> None:
        pass

    with mock.patch.object(Replay, "turn", at_once):
        yield


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        acknowledges_before_durable,
        counts_repeats_across_branches,
        hands_out_live_values,
        replays_newest_first,
        replays_as_asked,
    )
}
