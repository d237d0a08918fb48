"""The command lines that two earlier tools have promised work as they are written there, on a terminal and off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from acceptance.screen import Screen
from acceptance.terminal import Terminal

WORKFLOW = """\
name: data
params: {k: {type: string, default: old}}
steps:
  - {name: step1, task: echo, inputs: {message: "{{ args.k }}"}}
  - {name: step2, task: shell, inputs: {command: "test -e '{{ workflow_dir }}/mended'"}}
outputs: {said: "{{ steps.step1.result }}"}
"""

SPELLINGS = [
    ("lens delete failed", 0, "deleted"),
    ("lens prune --days-old 30", 0, "0 runs"),
    ("lens prune --days-old 90 --status completed --yes", 0, "0 runs"),
    ("run --resume workflow.yaml", 0, "completed"),
    ("run --resume --from-step step2 workflow.yaml", 0, "completed"),
    ("run --resume --override-params workflow.yaml k=new", 0, "completed"),
    ("run --resume --override-params workflow.yaml", 0, "completed"),
    ("clean --older-than 30d", 0, "0 runs"),
    ("clean --workflow-id failed", 0, "deleted"),
    ("clean --status completed", 0, "1 run "),
    ("lens list", 0, "failed"),
    ("lens show failed", 0, "step2"),
    ("lens stats", 0, "data"),
]


@pytest.fixture
def prepared(terminal: Terminal) -> Terminal:
    """One completed run of another workflow, and one run that has failed in step2 and would go on now."""
    terminal.write("workflow.yaml", WORKFLOW)
    terminal.write("other.yaml", "name: other\nsteps: [{name: a, task: noop}]\n")
    assert terminal.flujoctl("run", "other.yaml", "--id", "done").code == 0
    assert terminal.flujoctl("run", "workflow.yaml", "--id", "failed").code == 1
    terminal.write("mended", "")
    return terminal


@pytest.mark.parametrize(("typed", "code", "told"), SPELLINGS, ids=lambda each: str(each))
def test_a_promised_spelling_works_off_a_terminal(typed: str, code: int, told: str, prepared: Terminal) -> None:
    """Nobody is asked there, and nothing is refused for want of somebody to ask."""
    ended = prepared.flujoctl(*typed.split())

    assert ended.code == code, ended.err
    assert told in ended.out + ended.err


@pytest.fixture
def screen(prepared: Terminal) -> Iterator[Callable[[str], Screen]]:
    """Begin a command on a terminal of its own."""
    opened: list[Screen] = []

    def begin(command: str) -> Screen:
        around: dict[str, Any] = {**prepared.environment, "TERM": "xterm-256color"}
        opened.append(Screen(f"exec {command}", folder=prepared.folder, environment=around))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


@pytest.mark.parametrize(("typed", "code", "told"), SPELLINGS, ids=lambda each: str(each))
def test_a_promised_spelling_works_on_a_terminal(
    typed: str, code: int, told: str, screen: Callable[[str], Screen]
) -> None:
    """A question is answered with yes, where there is one."""
    seen = screen(f"flujoctl {typed}")
    if typed == "clean --status completed":
        seen.wait_for(lambda now: "?" in now.text)
        seen.type("y\n")

    assert seen.end() == code, seen.everything
    assert told in seen.everything


def test_new_values_are_used_and_old_results_kept(prepared: Terminal) -> None:
    """`--override-params k=new`: step1 has completed and keeps what it said; the run has the new input."""
    assert prepared.flujoctl("run", "--resume", "--override-params", "workflow.yaml", "k=new").code == 0

    state = json.loads(prepared.flujoctl("inspect", "failed", "-o", "json").out)

    assert state["inputs"] == {"k": "new"}
    assert state["step_outputs"]["step1"]["result"] == "old"


def test_the_remedies_of_a_mismatch_stand_in_the_promised_order(prepared: Terminal) -> None:
    """Behind what goes on with the run: delete it, prune, a new id, and the store only as a last resort."""
    prepared.write("workflow.yaml", WORKFLOW.replace("{{ args.k }}", "{{ args.k }}!"))

    ended = prepared.flujoctl("resume", "failed", "-v")

    assert ended.code == 4
    assert "StateIncompatibilityError" in ended.err.splitlines()[0]
    wanted = ["--stored", "--from-step", "--accept-changes", "delete", "prune", "--id NEW-ID", "last resort"]
    found = [next(word for word in wanted if word in remedy.partition(" #")[0]) for remedy in ended.remedies]
    assert found == [word for word in wanted if word in found], ended.remedies
    assert found[-4:] == ["delete", "prune", "--id NEW-ID", "last resort"], ended.remedies
