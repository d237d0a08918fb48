"""The table of the runs a kernel owns: where each is, in which order, under which id. Pure, without a kernel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flujo.kernel.ownership.live_runs import IN_MEMORY, LiveRuns, Residence


def in_memory(uid: str, run_id: str = "r", definition: str | None = None) -> Any:
    """A run as far as the table looks at it."""
    workflow = SimpleNamespace(definition=definition)
    return SimpleNamespace(uid=uid, state=SimpleNamespace(run_id=run_id), workflow=workflow)


@pytest.mark.parametrize("residence", Residence)
def test_a_run_is_at_one_place(residence: Residence) -> None:
    """It is counted where it was moved to and nowhere else, and is in memory only there."""
    runs = LiveRuns()
    run = in_memory("u")
    runs.admit(run)

    runs.move("u", residence)

    assert runs.where("u") is residence
    assert [each for each in Residence if runs.count(each)] == [residence]
    assert (runs.get("u") is run) == (runs.find("r") is run) == (residence in IN_MEMORY)
    assert runs.is_outside("u") == (residence not in IN_MEMORY)
    assert len(runs) == len(list(runs)) == (residence in IN_MEMORY)


def test_runs_keep_the_order_in_which_they_came_to_a_place() -> None:
    """The first in the queue is the one that waits longest; one that comes again is the last."""
    runs = LiveRuns()
    for uid in "abc":
        runs.hold(uid, f"run-{uid}", Residence.QUEUED)
    runs.move("a", Residence.STARTING)
    runs.move("a", Residence.QUEUED)

    assert runs.first(Residence.QUEUED) == "b"
    runs.disown("b")
    assert runs.first(Residence.QUEUED) == "c"


def test_a_start_that_is_refused_hides_no_run_of_its_id() -> None:
    """For a moment there are two lives under one id; the older one is found before and after."""
    runs = LiveRuns()
    older, refused = in_memory("older"), in_memory("refused")
    runs.admit(older)
    runs.admit(refused)

    assert runs.find("r") is older
    runs.disown("refused")
    assert runs.find("r") is older
    runs.disown("older")
    assert (runs.find("r"), runs.uid_of("r"), runs.holds("older")) == (None, None, False)


def test_a_run_that_is_not_owned_is_nowhere() -> None:
    """Taking it out again changes nothing."""
    runs = LiveRuns()
    runs.disown("u")

    assert (runs.where("u"), runs.get("u"), runs.is_outside("u"), runs.first(Residence.AWAY)) == (
        None,
        None,
        False,
        None,
    )


def test_a_run_that_has_left_memory_keeps_its_program_until_it_is_back() -> None:
    """One with a definition is read from the store again, and takes no memory meanwhile."""
    runs = LiveRuns()
    program, defined = in_memory("program", "a"), in_memory("defined", "b", "digest")
    for run in (program, defined):
        runs.admit(run)
        assert runs.program_of(run.uid) is None
        runs.move(run.uid, Residence.AWAY)

    assert runs.program_of("program") is program.workflow
    assert runs.program_of("defined") is None
    runs.admit(program)
    assert runs.program_of("program") is None
    runs.disown("program")
    assert runs.program_of("program") is None
