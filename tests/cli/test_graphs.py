"""flujoctl graph: what it draws of files and runs, and that every drawing says the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.conftest import Flujoctl
from flujo.cli import graphs
from flujo.cli.svg import as_svg

SVG = "{http://www.w3.org/2000/svg}"

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


def test_a_picture_shows_boxes_and_arrows(files: Path, flujoctl: Flujoctl) -> None:
    """Of a file without states, of a run with them; a clean-up stands below all."""
    (files / "fan.yaml").write_text(GRAPH.replace("name: fan", "name: 'a <b> & \"c\"'"))
    assert flujoctl("run", "fan.yaml", "--id", "r").code == 1

    drawn = ElementTree.fromstring(flujoctl("graph", "fan.yaml", "--format", "svg").out)
    of_run = ElementTree.fromstring(flujoctl("graph", "r", "--format", "svg").out)

    assert drawn.findtext(f"{SVG}title") == 'a <b> & "c"'
    assert [each.findtext(f"{SVG}title") for each in drawn.findall(f"{SVG}g")] == ["a", "b", "c", "d", "tidy"]
    assert len(drawn.findall(f"{SVG}path")) == 4
    tops = [int(each.find(f"{SVG}rect").attrib["y"]) for each in drawn.findall(f"{SVG}g")]  # type: ignore[union-attr]
    assert tops[1] == tops[2]
    assert tops[0] < tops[1] < tops[3] < tops[4]
    told = [each.findtext(f"{SVG}title") for each in of_run.findall(f"{SVG}g")]
    assert (told[0], told[2]) == ("a: completed", "c: failed")


def test_a_flow_of_a_file_is_drawn(files: Path, flujoctl: Flujoctl) -> None:
    """The default one without being named; a run has its steps already."""
    (files / "two.yaml").write_text(f"{SEQUENCE}flows: {{default: f, definitions: [f: [two]]}}\n")

    assert flujoctl("graph", "two.yaml").out == "  1. two\n"
    assert flujoctl("graph", "two.yaml", "--flow", "all").out.splitlines() == ["  1. one", "  2. two"]
    wrong = flujoctl("graph", "two.yaml", "--flow", "g")
    assert (wrong.code, "there is no flow `g`; there are: all, f" in wrong.err) == (2, True)
    assert flujoctl("run", "two.yaml", "--id", "r").code == 0
    of_run = flujoctl("graph", "r", "--flow", "f")
    assert (of_run.code, "--flow goes with a file" in of_run.err) == (2, True)


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="*"), min_size=1, max_size=8)


def overlapping(picture: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """The boxes of one layer that cover each other, and those that stand outside of the picture."""
    found: list[tuple[float, float, float]] = []
    for box in picture.iterfind(f"{SVG}g/{SVG}rect"):
        y, x, width = (float(box.attrib[name]) for name in ("y", "x", "width"))
        if x < 0 or x + width > float(picture.attrib["width"]) + 1:
            yield "outside", str(x)
        found.append((y, x, x + width))
    for (y, _, end), (other, start, _) in pairwise(sorted(found)):
        if y == other and start < end:
            yield str(end), str(start)


@given(st.lists(names, min_size=1, max_size=8, unique=True), st.data())
def test_every_drawing_has_all_steps_and_all_arrows(steps: Sequence[str], data: st.DataObject) -> None:
    """Whatever the names hold: quotes, brackets, line ends, other scripts."""
    before = [data.draw(st.sets(st.sampled_from(steps[:place]))) if place else {""} for place in range(len(steps))]
    plan = [(name, "digest", *others) for name, others in zip(steps, before, strict=True)]
    words = st.sampled_from(["completed", "failed"])
    statuses: Mapping[str, str] = data.draw(st.dictionaries(st.sampled_from(steps), words))

    nodes = graphs.of_plan(plan, statuses)
    picture = ElementTree.fromstring(as_svg(nodes, steps[0]))
    mermaid, dot = graphs.as_mermaid(nodes), graphs.as_dot(nodes, steps[0])

    arrows = sum(len(node.waits_for) for node in nodes)
    assert [node.name for node in nodes] == list(steps)
    assert len(re.findall(r"^    s\d+ --> s\d+$", mermaid, re.M)) == arrows
    assert len(re.findall(r'^    s\d+\["[^"]*"\]$', mermaid, re.M)) == len(steps)
    quoted = r'"(?:[^"\\]|\\.)*"'
    assert len(re.findall(rf"^    {quoted} -> {quoted};$", dot, re.M)) == arrows
    assert len(re.findall(rf"^    {quoted} \[label={quoted}, fillcolor={quoted}\];$", dot, re.M)) == len(steps)
    assert len(picture.findall(f"{SVG}path")) == arrows
    assert len(picture.findall(f"{SVG}g")) == len(steps)
    assert not list(overlapping(picture))
    depths = {node.name: node.depth for node in nodes}
    assert all(node.depth > depths[other] for node in nodes for other in node.waits_for)


def test_a_plan_of_thousands_of_steps_is_drawn() -> None:
    """No recursion is deep enough for a chain of them."""
    plan = [(f"s{n}", "d", *([f"s{n - 1}"] if n else [""])) for n in range(5000)]

    assert graphs.of_plan(plan[::-1], {})[0].depth == 4999


def test_a_picture_of_many_steps_is_drawn() -> None:
    """A chain of thousands, and a step that waits for hundreds at every depth."""
    chain = [(f"s{n}", "d", *([f"s{n - 1}"] if n else [""])) for n in range(3000)]
    assert as_svg(graphs.of_plan(chain, {}), "chain").count("<g>") == 3000

    crowded = [*chain[:300], ("end", "d", *(f"s{n}" for n in range(300)))]
    assert as_svg(graphs.of_plan(crowded, {}), "crowded").count('<path d="M') == 299 + 300 + 1
