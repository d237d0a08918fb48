"""Definitions with something changed in them, typed at a terminal: no internal error, and each problem has its place.

`make mutations` tries 20,000 of them; `make test` a few.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from cli.conftest import Flujoctl
from flujo.workflows.registry import Task, Tasks
from workflows.test_mutations import definitions, harmless, mutated

MUTATIONS = int(os.environ.get("MUTATIONS", "240"))
GROUPS = 4
INPUTS = ("day=2026-01-01", "folder=x", "whom=ada")
EXPECTED = {"validate": (0, 2), "run": (0, 1, 2, 7)}
"""How each command may end: a run also with 1, when it has failed, and with 7, when it waits."""

PLACED = re.compile(r"  .+|mutated\.yaml:[1-9]\d*:[1-9]\d*: .+")


@pytest.fixture
def without_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that take the inputs of the real ones and do nothing: a changed command could do anything."""
    tasks: dict[str, Task] = {each.name: each for each in harmless()}
    monkeypatch.setattr(Tasks, "find", lambda self, name: tasks.get(name))
    return


@pytest.mark.parametrize("group", range(GROUPS))
def test_no_definition_is_an_internal_error(
    group: int, flujoctl: Flujoctl, folder: Path, without_effects: None
) -> None:
    """Neither for `validate` nor for `run`, whose runs lie in a store on a disk; both refuse the same ones."""
    chance = random.Random(1000 + group)
    originals = [
        re.sub(r"interval: [\w.]+", "interval: 1ms", each) for each in definitions()
    ]  # nobody waits for a poll
    codes: set[int] = set()
    for number in range(MUTATIONS // GROUPS):
        text = mutated(chance, chance.choice(originals))
        (folder / "mutated.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))

        validated = flujoctl("validate", "mutated.yaml")
        ran = flujoctl("run", "mutated.yaml", "--no-wait", "--id", f"r{number}", *given(text))

        assert validated.code in EXPECTED["validate"], (group, number, validated, text)
        assert ran.code in EXPECTED["run"], (group, number, ran, text)
        codes.add(ran.code)
        if validated.code == 2:
            assert ran.code == 2
            assert are_placed(validated.out), (group, number, validated, text)
            assert are_placed(ran.err), (group, number, ran, text)

    assert codes >= {0, 2}


def given(text: str) -> list[str]:
    """Inputs for the parameters that a text seems to have."""
    return [each for each in INPUTS if re.search(rf"^  {each.partition('=')[0]}:", text, re.MULTILINE)]


def are_placed(printed: str) -> bool:
    """True if every problem stands behind its file, line and column."""
    problems = [line for line in printed.splitlines() if not line.startswith(("error[", "try: ", "warning: "))]
    return bool(problems) and all(PLACED.fullmatch(line) for line in problems)
