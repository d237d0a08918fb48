"""Recorded outcomes come back in the order of the journal, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest

from flujo.kernel.execution.replay import Replay
from flujo.kernel.state import StepState, StepStatus, WorkflowState


def recorded(seqs: Sequence[int], skipped: Sequence[int] = ()) -> WorkflowState:
    """A state in which these events were outcomes."""
    state = WorkflowState(run_id="r", uid="u")
    for seq in (*seqs, *skipped):
        status = StepStatus.SKIPPED if seq in skipped else StepStatus.COMPLETED
        state.steps[f"s{seq}"] = StepState(f"s{seq}", status=status, settled_seq=seq)
    return state


def void(started: object) -> None:
    """What `start_soon` returns is not asked for."""


@asynccontextmanager
async def replaying(seqs: Sequence[int], skipped: Sequence[int] = ()) -> AsyncIterator[Replay]:
    async with anyio.create_task_group() as group:
        yield Replay(recorded(seqs, skipped), lambda usher: void(group.start_soon(usher)))


async def handed_out(replay: Replay, asked: Sequence[int | None]) -> list[int | None]:
    """The order in which concurrent tasks get their turns; None stands for one that is not recorded."""
    order: list[int | None] = []

    async def ask(seq: int | None) -> None:
        await (replay.until_due() if seq is None else replay.until_due(seq))
        order.append(seq)

    async with anyio.create_task_group() as group:
        for seq in asked:
            group.start_soon(ask, seq)
    return order


@pytest.mark.parametrize("asked", [[2, 4, 7], [7, 4, 2], [4, 7, 2]])
async def test_outcomes_are_handed_out_in_journal_order(asked: list[int]) -> None:
    """Whatever the order in which tasks ask, the outcome that was recorded first is handed out first."""
    async with replaying([2, 4, 7]) as replay:
        assert await handed_out(replay, asked) == [2, 4, 7]
        assert replay.over


async def test_new_history_comes_last() -> None:
    """A step without an outcome takes its turn after everything that is recorded."""
    async with replaying([2, 4]) as replay:
        assert await handed_out(replay, [None, 4, 2]) == [2, 4, None]


async def test_a_program_that_asks_for_less_does_not_hang() -> None:
    """When nobody asks for the next outcome, as after a change of the program, the others come in order anyway."""
    async with replaying([2, 4, 7, 9]) as replay:
        assert await handed_out(replay, [9, 4]) == [4, 9]
        assert await handed_out(replay, [None]) == [None]


async def test_skipped_steps_hold_up_nobody() -> None:
    """Nobody asks for the turn of a skipped step, so the next outcome is handed out without a pause."""
    async with replaying([2, 6], skipped=[3, 4]) as replay:
        with anyio.CancelScope() as scope:
            scope.cancel()  # every pause would end the block here
            await replay.until_due(2)
            await replay.until_due(6)

        assert not scope.cancelled_caught
        assert replay.over


async def test_an_outcome_recorded_before_what_was_handed_out_is_not_waited_for() -> None:
    """An outcome whose turn has passed is handed out at once."""
    async with replaying([2, 4, 7]) as replay:
        await replay.until_due(2)
        await replay.until_due(2)
        await replay.until_due(4)

        assert not replay.over


async def test_outcomes_that_were_passed_over_one_after_the_other_keep_their_order() -> None:
    """While one branch runs a step anew, what another one asks for passes over its outcomes, one at a time; in the end
    they come as they were recorded, whichever is asked for first."""
    async with replaying([3, 4, 5, 6, 7]) as replay:
        await replay.until_due(3)
        await replay.until_due(5)  # passes over 4
        await replay.until_due(7)  # passes over 6

        assert await handed_out(replay, [6, 4]) == [4, 6]


async def test_thousands_of_outcomes_are_handed_out_in_a_row() -> None:
    """Replaying a long sequence starts no task, and pauses only now and then for the event loop's sake."""
    seqs = range(1, 10_001)

    def refuse(function: object) -> None:
        raise AssertionError("no task is needed")

    replay = Replay(recorded(seqs), refuse)
    for seq in seqs:
        await replay.until_due(seq)

    assert replay.over


async def test_thousands_of_concurrent_outcomes_are_handed_out() -> None:
    """A wide program, all of whose tasks ask at once and backwards, gets everything in order."""
    async with replaying(range(1, 2001)) as replay:
        assert await handed_out(replay, range(2000, 0, -1)) == list(range(1, 2001))
