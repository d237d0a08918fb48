"""A value becomes the same text wherever it becomes one, and reads back equal."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from flujo.kernel.execution.current_attempt import Attempt
from flujo.kernel.execution.subprocesses import Children
from flujo.workflows.registry import TaskCall, Tasks
from flujo.workflows.runlog import StepLog
from flujo.workflows.templates import render
from flujo.workflows.texts import as_text

from .scripted import environment_in, report_nothing

VALUES = 2_000
BATCH = 100

POSITIONS = {
    "between texts": "<{{ v[N] }}>",
    "beside another": "<{{ v[N] }}{{ '' }}>",
    "the operator ~": "{{ '<' ~ v[N] ~ '>' }}",
    "the filter string": "<{{ v[N] | string }}>",
    "the filter join": "{{ ['<', v[N], '>'] | join }}",
    "the filter replace": "{{ '<x>' | replace('x', v[N]) }}",
    "the filter default": "<{{ missing | default(v[N]) }}>",
    "the filter trim": "<{{ v[N] | trim }}>",
    "the filter tojson": "<{{ v[N] | tojson | fromjson | string }}>",
    "the filter map": "<{{ [v[N]] | map('string') | first }}>",
    "a loop": "{% for x in [v[N]] %}<{{ x }}>{% endfor %}",
    "a macro": "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(v[N]) }}",
    "a block": "{% set b %}{{ v[N] }}{% endset %}<{{ b }}>",
    "a filter block": "<{% filter string %}{{ v[N] }}{% endfilter %}>",
    "base64": "<{{ v[N] | b64encode | b64decode }}>",
    "a percent-encoded text": "<{{ v[N] | string | urlencode }}>",
    "a format": "{{ '<%s>' | format(v[N]) }}",
    "a format by name": "{{ '<%(x)s>' | format(x=v[N]) }}",
    "the operator %": "{{ '<%s>' % (v[N],) }}",
    "a format method": "{{ '<{}>'.format(v[N]) }}",
    "a format method by name": "{{ '<{x!r}>'.format(x=v[N]) }}",
    "a dictionary's text": "<{{ {'x': v[N]} | string }}>",
}


def drawn(count: int, seed: int) -> list[Any]:
    """JSON values of every shape, always the same ones."""
    chance = random.Random(seed)
    texts = ["", "a b", "true", "null", "3", '{"a": 1}', "'\"\\", "ä€😀", "a\nb\t", "<&>", "%s {x} {{ y }}", "  x  "]
    leaves: list[Callable[[], Any]] = [
        lambda: None,
        lambda: chance.random() < 0.5,
        lambda: chance.choice([0, -1, 7, 2**53 + 1, -(2**63), 10**30]),
        lambda: chance.choice([0.5, -0.0, 1e22, 1e-7, 1.0, 123456789.125, 5e-324]),
        lambda: chance.choice(texts),
        lambda: "".join(chr(chance.choice([chance.randint(32, 126), chance.randint(160, 0x2FFF)])) for _ in range(9)),
    ]

    def value(depth: int) -> Any:
        kind = chance.randrange(len(leaves) + (2 if depth < 3 else 0))
        if kind < len(leaves):
            return leaves[kind]()
        items = [value(depth + 1) for _ in range(chance.randrange(4))]
        return items if kind == len(leaves) else {f"k{number} ä": item for number, item in enumerate(items)}

    return [value(0) for _ in range(count)]


def read_back(text: str, value: Any, position: str) -> Any:
    """What somebody reads who is handed the text."""
    if position == "a dictionary's text":
        return json.loads(text)["x"]
    if position == "a percent-encoded text":
        text = unquote(text)
    return text if isinstance(value, str) else json.loads(text)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("position", POSITIONS)
async def test_a_value_reads_back_equal_from_every_template(position: str) -> None:
    """A text is itself, anything else JSON: false is false, null is null, and 1.0 does not become 1."""
    values = drawn(VALUES, seed=4)
    if position == "the filter trim":
        values = [value.strip() if isinstance(value, str) else value for value in values]
    for start in range(0, VALUES, BATCH):
        batch = values[start : start + BATCH]
        templates = [POSITIONS[position].replace("N", str(number)) for number in range(BATCH)]

        for text, value in zip(await render(templates, {"v": batch}), batch, strict=True):
            assert text[0] + text[-1] == "<>"
            back = read_back(text[1:-1], value, position)
            assert back == value
            assert as_text(back) == as_text(value)  # not 1 for true, nor 1 for 1.0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_value_reads_back_equal_from_commands_and_files(tmp_path: Path, children: Children) -> None:
    """An argument, a variable, standard input, a file and a message hold the same text."""
    program = (
        "import json, os, sys\n"
        "print(json.dumps([sys.argv[1:], [os.environ[f'V{n}'] for n in range(100)], sys.stdin.read()]))"
    )
    for start in range(0, VALUES, BATCH):
        values = drawn(VALUES, seed=5)[start : start + BATCH]
        texts = [f"x{{{{ v[{number}] }}}}" for number in range(BATCH)]
        inputs = await render(
            {
                "command": [sys.executable, "-c", program, *texts],
                "env": {f"V{number}": text for number, text in enumerate(texts)},
                "stdin": "\0".join(texts),
            },
            {"v": values},
        )
        result = await call(children, tmp_path, "shell", **inputs)
        arguments, variables, stdin = json.loads(result["stdout"])
        expected = [f"x{as_text(value)}" for value in values]

        assert arguments == expected
        assert variables == expected
        assert stdin.split("\0") == expected

    for value in drawn(200, seed=6):
        await call(children, tmp_path, "write_file", path="f", content=value)
        assert await call(children, tmp_path, "read_file", path="f") == as_text(value)
        assert await call(children, tmp_path, "template", template=value) == as_text(value)


async def call(children: Children, folder: Path, name: str, **inputs: Any) -> Any:
    """What a task returns."""
    task = Tasks().find(name)
    assert task is not None
    attempt = Attempt("run-1", "uid-1", "step", 1, 1, children, report_nothing)
    return await task.run(
        TaskCall(task.checked(inputs), folder, attempt, environment_in(folder), StepLog(None, "s", 1))
    )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"command": ["ls", ["a", "b"]]}, r'part 2 of `command` is a list, not a text: \["a", "b"\]; make one of it'),
        ({"command": ["ls", None]}, "part 2 of `command` is null, not a text: null; give it a `default`"),
        ({"command": "ls", "env": {"A": {}}}, "`A` in `env` is a mapping, not a text: {}; make one of it with `join"),
    ],
)
async def test_a_list_where_one_text_belongs_says_where_it_stands(
    children: Children, tmp_path: Path, inputs: dict[str, Any], message: str
) -> None:
    """One argument is one text; two of them are not made one without a word."""
    with pytest.raises(TypeError, match=message):
        await call(children, tmp_path, "shell", **inputs)
