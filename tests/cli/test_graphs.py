"""flujoctl graph: what it draws of files and runs, and that every drawing says the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.conftest import Flujoctl
from flujo.cli import graphs

GRAPH = """\
name: fan
steps:
  - {name: a, task: echo, inputs: {message: x}}
  - {name: b, depends_on: [a], task: echo, inputs: {message: x}}
  - {name: c, depends_on: [a], task: shell, inputs: {command: "false"}}
  - {name: d, depends_on: [b, c], task: echo, inputs: {message: x}}
  - {name: tidy, always_run: true, task: echo, inputs: {message: x}}
"""

SEQUENCE = """\
name: two
steps:
  - {name: one, task: echo, inputs: {message: x}}
  - {name: two, task: echo, inputs: {message: x}}
"""

PROGRAM = """\
from flujo.kernel import Context, workflow

async def load(n: int) -> int:
    return n

@workflow
async def deciding(ctx: Context) -> int:
    for n in range(2):
        await ctx.step(load, n)
    return 1
"""


@pytest.fixture
def files(folder: Path) -> Path:
    """A graph, a sequence and a program."""
    (folder / "fan.yaml").write_text(GRAPH)
    (folder / "two.yaml").write_text(SEQUENCE)
    (folder / "program_of_graph_tests.py").write_text(PROGRAM)
    return folder


def test_a_graph_is_indented_by_what_waits_for_what(files: Path, flujoctl: Flujoctl) -> None:
    """Each step names what it waits for, and a clean-up that it waits for the end."""
    assert flujoctl("graph", "fan.yaml").out.splitlines() == [
        "a",
        "  b    after a",
        "  c    after a",
        "    d  after b, c",
        "tidy   however the run ends",
    ]


def test_a_sequence_is_numbered(files: Path, flujoctl: Flujoctl) -> None:
    """There is nothing else to say of it."""
    assert flujoctl("graph", "two.yaml").out.splitlines() == ["  1. one", "  2. two"]


def test_a_run_is_drawn_with_the_state_of_each_step(files: Path, flujoctl: Flujoctl) -> None:
    """Those that have not begun have none."""
    assert flujoctl("run", "fan.yaml", "--id", "r").code == 1

    told = json.loads(flujoctl("graph", "r", "-o", "json").out)
    drawn = flujoctl("graph", "r").out.splitlines()

    states = {step["name"]: step["status"] for step in told["steps"]}
    assert (states["a"], states["c"], states["tidy"]) == ("completed", "failed", "completed")
    assert told["workflow"] == "fan"
    assert drawn[2].split() == ["c", "failed", "after", "a"]


def test_a_program_is_drawn_by_what_it_has_done(files: Path, flujoctl: Flujoctl) -> None:
    """Nobody knows what it will do, so its file alone cannot be drawn."""
    assert flujoctl("run", "program_of_graph_tests.py:deciding", "--id", "p").code == 0

    assert flujoctl("graph", "p").out.splitlines() == ["  1. load    completed", "  2. load#2  completed"]


@pytest.mark.parametrize(
    ("target", "code", "says"),
    [
        ("absent", 3, "there is no file absent, and no run 'absent' in sqlite:.flujo/state.db"),
        ("absent.yaml", 3, "no file"),
        ("broken.yaml", 2, "broken.yaml:1:1"),
    ],
)
def test_what_cannot_be_drawn_says_why(target: str, code: int, says: str, files: Path, flujoctl: Flujoctl) -> None:
    """As every command does."""
    assert flujoctl("run", "two.yaml").code == 0
    (files / "broken.yaml").write_text("nonsense\n")

    ended = flujoctl("graph", target)

    assert (ended.code, says in ended.err) == (code, True)


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="*"), min_size=1, max_size=8)


@given(st.lists(names, min_size=1, max_size=8, unique=True), st.data())
def test_every_drawing_has_all_steps_and_all_arrows(steps: Sequence[str], data: st.DataObject) -> None:
    """Whatever the names hold: quotes, brackets, line ends, other scripts."""
    before = [data.draw(st.sets(st.sampled_from(steps[:place]))) if place else {""} for place in range(len(steps))]
    plan = [(name, "digest", *others) for name, others in zip(steps, before, strict=True)]
    words = st.sampled_from(["completed", "failed"])
    statuses: Mapping[str, str] = data.draw(st.dictionaries(st.sampled_from(steps), words))

    nodes = graphs.of_plan(plan, statuses)
    mermaid, dot = graphs.as_mermaid(nodes), graphs.as_dot(nodes, steps[0])

    arrows = sum(len(node.waits_for) for node in nodes)
    assert [node.name for node in nodes] == list(steps)
    assert len(re.findall(r"^    s\d+ --> s\d+$", mermaid, re.M)) == arrows
    assert len(re.findall(r'^    s\d+\["[^"]*"\]$', mermaid, re.M)) == len(steps)
    quoted = r'"(?:[^"\\]|\\.)*"'
    assert len(re.findall(rf"^    {quoted} -> {quoted};$", dot, re.M)) == arrows
    assert len(re.findall(rf"^    {quoted} \[label={quoted}, fillcolor={quoted}\];$", dot, re.M)) == len(steps)
    depths = {node.name: node.depth for node in nodes}
    assert all(node.depth > depths[other] for node in nodes for other in node.waits_for)


def test_a_plan_of_thousands_of_steps_is_drawn() -> None:
    """No recursion is deep enough for a chain of them."""
    plan = [(f"s{n}", "d", *([f"s{n - 1}"] if n else [""])) for n in range(5000)]

    assert graphs.of_plan(plan[::-1], {})[0].depth == 4999
