"""`diff`: the text of a definition that has changed, and two runs, line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flujo.cli import comparing
from flujo.kernel import WorkflowState

from .conftest import Copied, Flujoctl

GREETING = """\
name: greeting
params: {{who: {{type: string, default: world}}}}
steps:
  - name: lines
    task: python_code
    inputs:
      code: |
        result = "first\\n" + args["who"] + "\\nlast"
  - {{name: numbers, task: python_code, inputs: {{code: "result = {{'n': 1, 'who': args['who']}}"}}}}
  - {{name: end, task: {end}}}
"""


@pytest.fixture
def two_runs(copied: Copied, flujoctl: Flujoctl) -> Flujoctl:
    """The commands, where two runs of a workflow were given different inputs, and the second one an edited text."""
    copied(fill)
    return flujoctl


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs."""
    Path("greeting.yaml").write_text(GREETING.format(end="noop"))
    flujoctl("run", "greeting.yaml", "who=Ada", "--id", "one", "-q")
    Path("greeting.yaml").write_text(GREETING.format(end="fail, inputs: {message: no}"))
    flujoctl("run", "greeting.yaml", "who=Bob", "--id", "two", "-q")


def test_two_runs_are_compared_text_by_text(two_runs: Flujoctl) -> None:
    """Inputs, definitions, outputs and what became of each step; what is equal is left out."""
    shown = two_runs("diff", "one", "two")

    assert shown.code == 0
    parts = {part.splitlines()[0]: part.splitlines()[2:] for part in shown.out.split("\n\n")}
    assert parts["--- one inputs.who"][1:] == ["-Ada", "+Bob"]
    assert parts["--- one steps.lines.output"][1:] == [" first", "-Ada", "+Bob", " last"]
    assert '-  "who": "Ada"' in parts["--- one steps.numbers.output"]
    assert "-  - {name: end, task: noop}" in parts["--- one definition"]
    assert parts["--- one status"][1:] == ["-completed", "+failed"]
    assert "--- one steps.lines.status" not in parts
    assert "--- one workflow" not in parts


def test_a_run_does_not_differ_from_itself(two_runs: Flujoctl) -> None:
    """In words, and as an empty array."""
    assert two_runs("diff", "one", "one").out == "runs one and one do not differ\n"
    assert json.loads(two_runs("diff", "one", "one", "-o", "json").out) == []


def test_differences_of_runs_are_objects_for_programs(two_runs: Flujoctl) -> None:
    """With the lines in `detail`."""
    found = {each["step"]: each for each in json.loads(two_runs("diff", "one", "two", "-o", "json").out)}

    assert found["inputs.who"] == {"step": "inputs.who", "change": "changed", "detail": "@@ -1 +1 @@\n-Ada\n+Bob"}
    assert found["steps.end.error"]["change"] == "inserted"


def test_the_text_of_an_edited_definition_is_shown_line_by_line(two_runs: Flujoctl) -> None:
    """Also where the edit does not matter to the run: only completed steps bind."""
    fits = two_runs("diff", "two", "greeting.yaml")
    contradicts = two_runs("diff", "one")

    assert len(fits.out.splitlines()) == 1
    assert fits.out.endswith("greeting.yaml fits everything that has completed of run two\n")
    assert contradicts.code == 4
    assert contradicts.out.splitlines()[0] == "--- run one"
    assert "-  - {name: end, task: noop}" in contradicts.out.splitlines()
    assert "+  - {name: end, task: fail, inputs: {message: no}}" in contradicts.out.splitlines()


@pytest.mark.parametrize("other", ["three", "three.yaml", "no/such"])
def test_neither_a_file_nor_a_run(two_runs: Flujoctl, other: str) -> None:
    """Is said as such, with 3."""
    ended = two_runs("diff", "one", other)

    assert ended.code == 3
    assert f"there is no file '{other}'" in ended.err


def test_a_long_difference_is_cut() -> None:
    """Nobody reads thousands of lines on a terminal."""
    lines = list(comparing.line_by_line("", "\n".join(map(str, range(10_000)))))

    assert len(lines) == comparing.LINES + 1
    assert lines[-1] == "…"


def test_what_a_run_lacks_is_told() -> None:
    """A step, a label or an output that only one of them has."""
    one = WorkflowState(run_id="a", uid="a", labels={"team": "x"})
    other = WorkflowState(run_id="b", uid="b")

    found = list(comparing.differences(comparing.facts_of(one, None), comparing.facts_of(other, None)))

    assert [(each.step, each.change) for each in found] == [("labels.team", "removed")]
