"""Who waits for whom, and which step may start: decided without running anything."""

from __future__ import annotations

import pytest

from flujo.workflows.graphs import Graph, Schedule

DIAMOND = {"a": "", "b": "a", "c": "a", "d": "bc", "e": ""}


def test_before_and_after_reach_through_other_steps() -> None:
    """A step knows all that has settled before it, and all that waits for it, itself not included."""
    graph = Graph(DIAMOND)

    assert {name: "".join(sorted(graph.before(name))) for name in DIAMOND} == {
        "a": "", "b": "a", "c": "a", "d": "abc", "e": "",
    }  # fmt: skip
    assert {name: "".join(sorted(graph.after(name))) for name in DIAMOND} == {
        "a": "bcd", "b": "d", "c": "d", "d": "", "e": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("edges", "cycles"),
    [
        (DIAMOND, []),
        ({"a": "b", "b": "a"}, ["aba"]),
        ({"a": "c", "b": "a", "c": "b"}, ["acba"]),
        ({"z": "a", "b": "a", "a": "b"}, ["bab"]),
        ({"a": "b", "b": "a", "c": "d", "d": "c"}, ["aba", "cdc"]),
        ({"a": "bc", "b": "a", "c": "a"}, ["aba", "aca"]),
        ({"a": "x", "b": "a"}, []),
    ],
)
def test_a_cycle_is_found_once(edges: dict[str, str], cycles: list[str]) -> None:
    """Told from the step that stands first in the file."""
    assert ["".join(cycle) for cycle in Graph(edges).cycles()] == cycles


def test_a_long_chain_is_no_problem() -> None:
    """As long as a file can hold, and with a cycle at its end."""
    names = [f"s{number}" for number in range(3000)]
    chain = Graph({name: [names[max(0, place - 1)]] if place else [names[-1]] for place, name in enumerate(names)})

    (cycle,) = chain.cycles()

    assert len(cycle) == 3001
    assert len(chain.before("s5")) == 2999


def taken(schedule: Schedule) -> str:
    """All that may start now."""
    return "".join(iter(schedule.take, None))


@pytest.mark.parametrize(
    ("max_parallel", "settled", "waves"),
    [
        (None, "aebcd", ["ae", "bc", "", "", "d", ""]),
        (None, "eacbd", ["ae", "", "bc", "", "d", ""]),
        (1, "abcde", ["a", "b", "c", "d", "e", ""]),
        (2, "aebcd", ["ae", "b", "c", "", "d", ""]),
        (2, "eabcd", ["ae", "", "bc", "", "d", ""]),
    ],
)
def test_a_step_starts_once_all_before_it_have_settled(
    max_parallel: int | None, settled: str, waves: list[str]
) -> None:
    """In the order of the file, and no more at a time than there is room for."""
    schedule = Schedule(Graph(DIAMOND), max_parallel)

    found = [taken(schedule)]
    for name in settled:
        schedule.settle(name)
        found.append(taken(schedule))

    assert found == waves


def test_what_only_hands_out_its_outcome_takes_no_room() -> None:
    """Recorded steps are not at work, whatever the limit is now."""
    schedule = Schedule(Graph(DIAMOND), 1, unbounded={"b", "c", "e"})

    assert taken(schedule) == "ea"
    schedule.settle("a")
    assert taken(schedule) == "bc"


def test_a_dropped_step_gives_its_room_back_and_lets_nobody_start() -> None:
    """What waits for it waits for ever."""
    schedule = Schedule(Graph(DIAMOND), 1)
    assert schedule.take() == "a"

    schedule.drop("a")

    assert taken(schedule) == "e"
