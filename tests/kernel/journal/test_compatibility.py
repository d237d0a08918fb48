"""Whether an edited definition still fits a run: only what has completed binds."""

from __future__ import annotations

import pytest

from flujo.kernel.journal.compatibility import differences
from flujo.kernel.state import StepState, StepStatus, WorkflowState

STORED = {"a": "1", "b": "2", "c": "3", "d": "4"}


def a_run(completed: str, **others: StepStatus) -> WorkflowState:
    """A run of the stored plan in which these steps have completed, and others stand elsewhere."""
    state = WorkflowState(run_id="r", uid="u", plan=[list(each) for each in STORED.items()])
    statuses = {**dict.fromkeys(completed, StepStatus.COMPLETED), **others}
    state.steps = {name: StepState(name, status=status) for name, status in statuses.items()}
    return state


def plan(text: str) -> list[tuple[str, str]]:
    """`a b=9 x`: known steps with their stored digest or another one, new steps with a digest of their own."""
    parts = (part.partition("=") for part in text.split())
    return [(name, digest or STORED.get(name, f"new {name}")) for name, _, digest in parts]


@pytest.mark.parametrize(
    ("completed", "edited", "found"),
    [
        ("ab", "a b c d", []),
        ("", "", []),
        ("ab", "a=9 b c d", ["a changed"]),
        ("ab", "a b c=9 d", []),
        ("ab", "a c d", ["b removed"]),
        ("ab", "a b d", []),
        ("ab", "a z=2 c d", ["b renamed"]),
        ("ab", "a b z=3 d", []),
        ("ab", "b a c d", ["a reordered"]),
        ("ab", "a b d c", []),
        ("ab", "a c b d", ["b reordered"]),
        ("abcd", "d a b c", ["a reordered", "b reordered", "c reordered"]),
        ("ab", "x a b c d", ["x inserted"]),
        ("ab", "a x b c d", ["x inserted"]),
        ("ab", "a b x c d", []),
        ("ab", "a b c d x", []),
        ("ab", "b=9 c d", ["b changed", "a removed"]),
        ("abc", "x c=9 b", ["c changed", "a removed", "b reordered", "x inserted"]),
        ("ab", "z=1 x b=9 c", ["b changed", "a renamed", "x inserted"]),
        ("abcd", "", ["a removed", "b removed", "c removed", "d removed"]),
    ],
)
def test_every_edit_of_a_completed_step_is_found_by_name(completed: str, edited: str, found: list[str]) -> None:
    """Changed, removed, renamed, reordered and inserted steps are told apart, all at once, and nothing else is."""
    differing = differences(a_run(completed), plan(edited))

    assert sorted(f"{each.step} {each.change}" for each in differing) == sorted(found)


@pytest.mark.parametrize("status", [status for status in StepStatus if status is not StepStatus.COMPLETED])
def test_steps_that_have_not_completed_are_free(status: StepStatus) -> None:
    """A step that failed, was skipped or cancelled, or has yet to end may change, move or go."""
    state = a_run("a", b=status)

    for edited in ("a b=9 c d", "a c d", "a c b d", "a x b c d", "a z=2"):
        assert differences(state, plan(edited)) == []


GRAPH = {"a": "", "b": "a", "c": "a", "d": "b c", "e": ""}


def a_graph_run(completed: str, edges: dict[str, str] = GRAPH, **others: StepStatus) -> WorkflowState:
    """The same for a graph of these steps."""
    state = a_run(completed, **others)
    state.plan = graph(" ".join(f"{name}:{','.join(edge.split())}" for name, edge in edges.items()))
    return state


def graph(text: str) -> list[list[str]]:
    """`a b:a d=9:b,c`: steps with a digest of their own unless another is given, and what they wait for; `-` says
    that it is nothing."""
    rows: list[list[str]] = []
    for part in text.split():
        step, _, edges = part.partition(":")
        name, _, digest = step.partition("=")
        rows.append([name, digest or f"{name}'s", *(edge.strip("-") for edge in edges.split(",") if edge)])
    return rows


STORED_GRAPH = "a b:a c:a d:b,c e"


@pytest.mark.parametrize(
    ("completed", "edited", "found"),
    [
        ("abcde", STORED_GRAPH, []),
        ("abcde", "e d:c,b c:a b:a a", []),
        ("abcde", "a b=9:a c:a d:b,c e", ["b changed"]),
        ("ab", "a b:a c=9:a d=9:b,c,e e:a", []),
        ("abc", "a b:a c:b d:b,c e", ["c rewired"]),
        ("abc", "a b c:a d:b,c e", ["b rewired"]),
        ("abc", "a b:a,x c:a d:b,c e x", ["b rewired", "x inserted"]),
        ("abcd", "a b:a c:a d:b,c,x e x:y y", ["d rewired", "x inserted", "y inserted"]),
        ("abcd", "a b:a c:a d:b,c e x x2:x x3:d", []),
        ("ad", "a b:a,x c:a d:b,c e x", ["x inserted"]),
        ("abc", "a b:a d:b e", ["c removed"]),
        ("abcd", "a b:a d:b e", ["c removed", "d rewired"]),
        ("abcd", "a z=c's:a b:a d:b,z e", ["c renamed"]),
        ("abcde", "", ["a removed", "b removed", "c removed", "d removed", "e removed"]),
    ],
)
def test_in_a_graph_dependencies_bind_and_the_order_does_not(completed: str, edited: str, found: list[str]) -> None:
    """A new step matters only where something completed depends on it, and a new name is no new step."""
    differing = differences(a_graph_run(completed), graph(edited))

    told = {"its dependencies have changed since it completed": "rewired"}
    assert sorted(f"{each.step} {told.get(each.detail, each.change)}" for each in differing) == sorted(found)


@pytest.mark.parametrize(
    ("stored", "edited", "completed", "found"),
    [
        ("a b c", "a b:a c:b", "abc", []),
        ("a b c", "c:b b:a a", "abc", []),
        ("a b c", "a b:a c:a", "abc", ["c"]),
        ("a b c", "a b:a c:a", "ab", []),
        ("a b:a c:b", "a b c", "abc", []),
        ("a b:a c:a", "a b c", "abc", ["c"]),
        ("a:- b:- c:-", "a b c:b", "ab", []),
        ("a:- b:- c:-", "a b c", "ab", ["b"]),
    ],
)
def test_a_sequence_is_compared_with_a_graph_as_the_chain_it_is(
    stored: str, edited: str, completed: str, found: list[str]
) -> None:
    """Writing the chain out changes nothing; loosening it does, for what has completed."""
    state = a_graph_run(completed)
    state.plan = graph(stored)

    assert [each.step for each in differences(state, graph(edited))] == found


def test_always_running_is_no_difference() -> None:
    """A step may become a clean-up, or cease to be one, whatever it has done."""
    state = a_graph_run("ab")

    assert differences(state, graph("a:* b:a,* c:a d:b,c e")) == []
    state.plan = graph("a b:*")
    assert differences(state, graph("a b")) == []


def test_steps_that_a_resume_invalidates_are_free() -> None:
    """What runs again anyway does not bind."""
    state = a_run("abc")

    assert differences(state, plan("a b=9 x c=9 d"), invalidated=["b", "c"]) == []
    assert [each.step for each in differences(state, plan("a=9 b=9 c d"), invalidated=["b", "c"])] == ["a"]


def test_without_a_plan_there_is_nothing_to_compare() -> None:
    """A Python program has no plan, neither stored nor given."""
    unplanned = WorkflowState(run_id="r", uid="u")

    assert differences(unplanned, plan("a b")) == []
    assert differences(a_run("ab"), None) == []


def test_a_difference_says_what_happened() -> None:
    """The texts name the step, what became of it, and what it seems to be called now."""
    (difference,) = differences(a_run("ab"), plan("a z=2 c d"))

    assert str(difference) == "b: it has completed, and seems to be called 'z' now"
