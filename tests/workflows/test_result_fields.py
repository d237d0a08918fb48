"""Fields of results that templates ask for, held against what tasks return, before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel.errors import DefinitionError
from flujo.workflows import TaskCall, load_workflow_text, task

STEPS = """
  - {name: sh, task: shell, inputs: {command: ls}}
  - {name: text, task: read_file, inputs: {path: a}}
  - {name: data, task: read_json, inputs: {path: a}}
  - {name: code, task: python_code, inputs: {code: "result = {}"}}
  - {name: each, task: shell, for_each: [1], inputs: {command: ls}}
  - {name: sum, task: add_numbers, inputs: {a: 1, b: 2}}
  - {name: mine, task: mine}
"""


@task("mine", result={"type": "object", "properties": {"size": {"type": "integer"}}})
async def mine(call: TaskCall) -> Any:
    """Return a size."""
    return {"size": 1}


def problems(template: str) -> list[str]:
    """What is wrong with a definition that uses a template behind all these steps."""
    text = f"name: flow\nsteps:{STEPS}  - {{name: last, task: echo, inputs: {{message: {template!r}}}}}\n"
    try:
        load_workflow_text(text, "flow.yaml", tasks=[mine])
    except DefinitionError as error:
        return [problem.message for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ steps.sh.result.output }}", "has no `output`; it has: return_code, stdout, stdout_cut"),
        ("{{ steps.sh.result.stdot }}", "the result of `sh`, of task `shell`, has no `stdot`; it has: "),
        ("{{ steps['sh']['result']['stdot'] | trim }}", "has no `stdot`; it has: return_code, stdout,"),
        ("{{ 'x' if steps.sh.result.exit_code == 0 else 'y' }}", "has no `exit_code`"),
        ("{{ steps.data.result.name }}", "has no `name`; it has: path, data"),
        ("{{ steps.each.result.stdout }}", "has no `stdout`; it has: results, processed, failed, stats"),
        ("{{ steps.sum.result.total }}", "has no `total`: it is a number, `steps.sum.result`"),
        ("{{ steps.mine.result.sise }}", "has no `sise`; it has: size"),
    ],
)
def test_a_field_that_no_result_has_is_told(template: str, told: str) -> None:
    """With what there is, or what was meant."""
    (problem,) = problems(template)

    assert told in problem


@pytest.mark.parametrize(
    "template",
    [
        "{{ steps.sh.result.stdout }}",
        "{{ steps.sh.result.stdout_cut | default('') }}",
        "{{ steps.sh.result.nothing | default('x') }}",
        "{{ steps.sh.result.nothing is defined }}",
        "{{ steps.sh.result.get('nothing') }}",
        "{{ steps.sh.result.items() | list }}",
        "{{ steps.text.result.splitlines() }}",
        "{{ steps.text.result.content | default(steps.text.result) }}",
        "{{ steps.data.result.data.name }}",
        "{{ steps.code.result.anything }}",
        "{{ steps.each.result.stats.failed }}",
        "{{ steps.mine.result.size }}",
        "{{ steps.sh.result[args.which] }}",
    ],
)
def test_a_field_that_may_be_there_is_left_alone(template: str) -> None:
    """Also one that is asked for first, and what no task has said anything about."""
    assert problems(template) == []


def test_a_step_with_outputs_has_these_and_nothing_else() -> None:
    """What its task returns is not seen any more."""
    text = (
        "name: x\nsteps:\n"
        "  - {name: a, task: shell, inputs: {command: x}, outputs: {size: '{{ result.stdout | int }}'}}\n"
        "  - {name: b, task: echo, inputs: {message: '{{ steps.a.result.size }}'}}\n"
        "  - {name: c, task: echo, inputs: {message: '{{ steps.a.result.stdout }}'}}\n"
    )

    with pytest.raises(DefinitionError) as refused:
        load_workflow_text(text, "f")

    assert [str(problem) for problem in refused.value.problems] == [
        "f:5:45: the result of `a`, of task `shell`, has no `stdout`; it has: size"
    ]
