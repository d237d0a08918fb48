"""Plans: sequences and graphs of named steps, what waits for what, and which step a key belongs to."""

from __future__ import annotations

import pytest

from flujo.kernel.journal.plans import (
    ALWAYS,
    NOTHING,
    Plan,
    clean_ups,
    dependencies,
    dependents,
    digests,
    followers,
    is_graph,
    planned_name,
    reached,
)

SEQUENCE = [["a", "1"], ["b", "2"], ["tidy", "3", ALWAYS]]
GRAPH = [["a", "1"], ["b", "2", "a"], ["c", "3", "a"], ["d", "4", "b", "c"], ["e", "5"], ["tidy", "6", ALWAYS]]
LOOSE = [["a", "1", NOTHING], ["b", "2", NOTHING]]


@pytest.mark.parametrize(("plan", "graph"), [(SEQUENCE, False), (GRAPH, True), (LOOSE, True), ([], False)])
def test_a_plan_is_a_graph_if_a_step_names_what_it_waits_for(plan: Plan, graph: bool) -> None:
    """Naming nothing counts; a clean-up alone does not."""
    assert is_graph(plan) is graph


def test_steps_of_a_sequence_wait_for_the_one_before() -> None:
    """The first one waits for none."""
    assert dependencies(SEQUENCE) == {"a": frozenset(), "b": {"a"}, "tidy": {"b"}}


def test_steps_of_a_graph_wait_for_those_they_name() -> None:
    """Neither the mark of a clean-up nor that of nothing is the name of a step."""
    assert dependencies(GRAPH) == {
        "a": frozenset(),
        "b": {"a"},
        "c": {"a"},
        "d": {"b", "c"},
        "e": frozenset(),
        "tidy": frozenset(),
    }
    assert dependencies(LOOSE) == {"a": frozenset(), "b": frozenset()}


def test_digests_and_clean_ups_are_columns_of_the_plan() -> None:
    """Digests keep the order of the plan."""
    assert list(digests(SEQUENCE).items()) == [("a", "1"), ("b", "2"), ("tidy", "3")]
    assert [set(clean_ups(plan)) for plan in (SEQUENCE, GRAPH, LOOSE)] == [{"tidy"}, {"tidy"}, set()]


@pytest.mark.parametrize(("step", "found"), [("a", "abcd"), ("b", "bd"), ("d", "d"), ("e", "e")])
def test_what_depends_on_a_step_is_found_along_all_ways(step: str, found: str) -> None:
    """Directly or not, each once, itself included."""
    assert dependents(GRAPH, step) == set(found)


def test_followers_are_dependencies_the_other_way_round() -> None:
    """Also of a step that is only waited for."""
    assert followers({"b": ["a"], "c": ["a", "b"]}) == {"b": ["c"], "c": [], "a": ["b", "c"]}


def test_what_is_reached_in_a_circle_is_reached_once() -> None:
    """A graph that is not checked yet may have one."""
    assert reached("a", {"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == {"a", "b", "c"}


@pytest.mark.parametrize("key", ["fetch", "fetch#2", "fetch[17]", "fetch[0]/inner", "fetch/inner#3"])
def test_a_key_belongs_to_the_step_it_begins_with(key: str) -> None:
    """Whatever repetition, item or branch follows."""
    assert planned_name(key) == "fetch"
