"""Definitions with something changed in them are read or refused, each problem with its place; those that run, end.

`MUTATIONS=20000 pytest tests/workflows/test_mutations.py` tries more of them.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flujo.kernel.errors import DefinitionError, FlujoError
from flujo.kernel.execution.subprocesses import Children
from flujo.workflows.definition_reader import read_definition
from flujo.workflows.definitions import Definition
from flujo.workflows.interpreter import interpret
from flujo.workflows.parameters import check_inputs
from flujo.workflows.registry import BUILT_IN, Task, TaskCall, Tasks

from .scripted import ScriptedContext, environment_in

ROOT = Path(__file__).parents[2]
MUTATIONS = int(os.environ.get("MUTATIONS", "2000"))
GROUPS = 4
RUN_EVERY = 5
"""One in so many of the valid ones is run."""

PIECES = (
    *("{{ ", " }}", "{% if x %}", "{#", "#}", "${#a[@]}", "{{.Names}}", "| from_json", "| nope", "steps.a-b.result"),
    *(
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "|",
        ">",
        "&a ",
        "*a",
        "!!set ",
        "<<: ",
        "\t",
        "\n",
        "  ",
        "#",
        "%",
        "@",
    ),
    *("null", "true", "yes", "1e999", "-.inf", "0x10", "123456789012345678901234567890", "1:30", "2026-01-01", "~"),
    *(
        "1" * 5000,
        "-" + "9" * 4301,
        "0x" + "f" * 5000,
        "1" * 5000 + ".5",
        "1e-400",
        ".inf",
        "0o777",
        "1_000",
        "-0",
        "- - - x",
    ),
    *(
        '"{{ 1e400 }}"',
        '"{{ ' + "9" * 5000 + ' }}"',
        '"{{ 9 ** 9 ** 9 }}"',
        '"{{ [1][9] }}"',
        '"{{ steps }}"',
        '"{{ item.x }}"',
    ),
    *(
        '"{{ args.x.y.z | int }}"',
        "\"{{ '%s%s' % 1 }}\"",
        '"{{ none | tojson }}"',
        '"{% for i in 5 %}{% endfor %}"',
        '"{% set x = %}"',
    ),
    *(
        '"{{ x.__class__ }}"',
        "\"{{ '\\\\ud800' }}\"",
        "{{ x }}: 1",
        "'{{ x }}': {}",
        "{{ {} }}",
        '"{{ range(10**9) | list }}"',
    ),
    *(
        "---\n",
        "...\n",
        "? ",
        "!!binary eA==",
        "!x",
        "\r",
        "\r\n",
        "\x85",
        "\u2028",
        "\x00",
        "%YAML 1.1\n",
        "null: 1",
        "1: 2",
        "[]: x",
    ),
    *("name", "steps", "task", "inputs", "depends_on", "retry", "timeout", "on_error", "next", "condition", "pattern"),
    *("(x+)+y", "(?=a)", "[z-a]", "\\d{9999}", "ä", "😀", "\x07", "\ud800", "\ufeff", "x" * 300, "a" * 5000),
)


def definitions() -> list[str]:
    """What the documentation and the examples show."""
    fenced = re.compile(r"^```yaml(?: file=\S+)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
    pages = [(ROOT / "docs" / page).read_text() for page in ("yaml-workflows.md", "tasks.md")]
    return [
        *(match[1] for page in pages for match in fenced.finditer(page)),
        *(path.read_text() for path in sorted((ROOT / "examples").glob("*.yaml"))),
    ]


def mutated(chance: random.Random, text: str) -> str:
    """The text with one to three things changed."""
    for _ in range(chance.randint(1, 3)):
        text = _changed(chance, text)
    return text


def _changed(chance: random.Random, text: str) -> str:
    at = chance.randrange(len(text) + 1)
    end = at + chance.randint(1, 8)
    lines = text.split("\n")
    line = chance.randrange(len(lines))
    match chance.randrange(7):
        case 0:
            return text[:at] + text[end:]
        case 1:
            return text[:at] + chance.choice(PIECES) + text[at:]
        case 2:
            return text[:at] + chance.choice(PIECES) + text[end:]
        case 3:
            return "\n".join(lines[:line] + lines[line + 1 :])
        case 4:
            return "\n".join(lines[: line + 1] + lines[line:])
        case 5:
            return "\n".join([*lines[:line], " " + lines[line], *lines[line + 1 :]])
    return _with_value_changed(chance, text)


def _with_value_changed(chance: random.Random, text: str) -> str:
    values = list(re.finditer(r"(?<=: )[^\n,}\]]+|(?<=\[)[^\n\]]+", text))
    if not values:
        return text
    value = chance.choice(values)
    return text[: value.start()] + chance.choice(PIECES) + text[value.end() :]


def harmless() -> Iterator[Task]:
    """Tasks of the names of the built-in ones that take the same inputs and do nothing."""

    async def run(call: TaskCall) -> Any:
        return {"stdout": "a\nb\n", "return_code": 0, "count": 3, "by": "ada"}

    for name in BUILT_IN:
        real = Tasks().find(name)
        assert real is not None
        yield Task(name=name, run=run, inputs=real.inputs, one_of=real.one_of, check=real.check, needs_workspace=False)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("group", range(GROUPS))
async def test_a_mutated_definition_is_refused_with_a_place_or_runs(
    group: int, tmp_path: Path, children: Children
) -> None:
    """No change ends in anything but problems with line and column, or in a run that completes or fails."""
    chance = random.Random(group)
    originals, tasks = definitions(), Tasks(harmless())
    valid = 0
    for number in range(MUTATIONS // GROUPS):
        definition, problems = read(mutated(chance, chance.choice(originals)), tasks)
        assert all(re.match(r"f:[1-9]\d*:[1-9]\d*: .", problem) for problem in problems)
        if definition is None:
            continue
        valid += 1
        if valid % RUN_EVERY == 0:
            context = ScriptedContext(environment_in(tmp_path), children, run_id=f"run-{group}-{number}")
            inputs, _ = check_inputs(definition.parameters, {"day": "2026-01-01", "folder": "x"})
            await run(definition, context, inputs)

    assert valid > 0


def read(text: str, tasks: Tasks) -> tuple[Definition | None, list[str]]:
    """The definition in a text, or what is wrong with it."""
    try:
        return read_definition(text, "f", tasks), []
    except DefinitionError as error:
        return None, [str(problem) for problem in error.problems]


async def run(definition: Definition, context: ScriptedContext, inputs: Mapping[str, Any]) -> None:
    """Run a definition to its end, which may be one failure or several."""
    try:
        await interpret(definition, context, inputs)
    except* FlujoError:
        pass
