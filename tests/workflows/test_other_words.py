"""What people write as other systems call it: one mistake is one error, which says the word used here."""

from __future__ import annotations

import pytest

from flujo.kernel.errors import DefinitionError
from flujo.workflows import load_workflow_text
from flujo.workflows.other_systems import INPUTS_OF_OTHER_SYSTEMS
from flujo.workflows.registry import Tasks


def problems(text: str) -> list[str]:
    """What is wrong with a definition."""
    with pytest.raises(DefinitionError) as refused:
        load_workflow_text(text, "flow.yaml")
    return [problem.message for problem in refused.value.problems]


def of_a_step(step: str) -> list[str]:
    """What is wrong with a definition of this step."""
    return problems(f"name: flow\nsteps:\n- {{{step}}}\n")


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("if: x", "`condition: EXPRESSION`"),
        ("when: x", "`condition: EXPRESSION`"),
        ("script: x", "`task: shell` with `inputs: {command: …}`"),
        ("run: x", "`task: shell` with `inputs: {command: …}`"),
        ("working_dir: x", "`working_dir` is an input of task `shell`; put it under `inputs`"),
        ("needs: []", "`depends_on: [STEP]`"),
        ("continueOn: x", "`on_error: continue`"),
        ("foreach: [1]", "`for_each: LIST`"),
        ("matrix: {a: [1]}", "`for_each: LIST`, with an item for each combination"),
        ("env: [A=b]", '`env` must be an object, not ["A=b"]; write {A: "b"}'),
        ("env: {A: [b]}", '`A` in `env` is a list, not a text: ["b"]'),
        ("env: {A: null}", "`A` in `env` is null, not a text"),
        ("dependsOn: [nobody]", "`depends_on: [STEP]`"),
        ("upstream: [nobody]", "`depends_on: [STEP]`"),
        ("withItems: [1]", "`for_each: LIST`"),
        ("retryStrategy: {limit: 3}", "`retry: {max_attempts: N, delay: 5s}`"),
        ("repeatPolicy: {repeat: true}", "`repeat: {until: EXPRESSION, interval: 10s}`"),
        ("bash_command: x", "`task: shell` with `inputs: {command: …}`"),
        ("operator: x", "`task: NAME`"),
    ],
)
def test_a_key_of_a_step_by_another_word(key: str, written: str) -> None:
    """Each with what to write, whatever else follows from it."""
    assert any(written in each for each in of_a_step(f"name: a, task: shell, inputs: {{command: ls}}, {key}"))


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("chdir: /tmp", "`working_dir: FOLDER`"),
        ("args: [x]", "`command: [PROGRAM, ARGUMENT, …]`"),
        ("image: x", "`command: [docker, run, --rm, IMAGE, …]`"),
        ("script: x", "`command: TEXT`"),
        ("user: root", "`command: [sudo, -u, USER, …]`"),
        ("retries: 3", "`retry: N` beside `task`"),
        ("environment: {A: b}", "`env: {NAME: VALUE}`"),
        ("pipefail: true", "`strict: true`"),
        ("register: x", "nothing: what it prints is `steps.NAME.result.stdout`"),
        ("retry: 3", "`retry` belongs to the step"),
    ],
)
def test_an_input_of_a_command_by_another_word(given: str, written: str) -> None:
    """One error, with what to write."""
    (problem,) = of_a_step(f"name: a, task: shell, inputs: {{command: ls, {given}}}")

    assert written in problem


@pytest.mark.parametrize(
    "step",
    [
        "name: a, task: shell, inputs: {cmd: ls}",
        "name: a, task: shell, inputs: {comand: ls}",
        "name: a, task: shell, command: ls",
        "name: a, taks: shell, inputs: {command: ls}",
        "nam: a, task: shell, inputs: {command: ls}",
        "id: a, task: shell, inputs: {command: ls}",
        "name: a, task: shell, with: {command: ls}",
        "name: a, uses: shell, inputs: {command: ls}",
        "name: a, task: write_file, inputs: {path: a, text: b}",
        "name: a, task: copy_file, inputs: {src: a, destination: b}",
        "name: a, task: http.request, inputs: {uri: 'http://localhost/'}",
        "name: a, task: shell, inputs: {command: ls}, repeat: {while: result}",
        "name: a, task: shell, foreach: [1], inputs: {command: 'ls {{ item }}'}",
        "name: a, task: shell, with_items: '{{ [1] }}', inputs: {command: 'ls {{ item }}'}",
        "name: a, task: shell, matrix: {a: [1]}, inputs: {command: 'ls {{ item }}'}",
        "name: a, task: shell, for_each: {in: [1]}, inputs: {command: 'ls {{ item }}'}",
        "name: a, task: shell, for_each: {itmes: [1]}, inputs: {command: 'ls {{ item }}'}",
        "name: a, task: shell, for_each: {item: [1]}, inputs: {command: 'ls {{ item }}'}",
        "name: a, task: shell, for_each: {items: [1], as: x}, inputs: {command: 'ls {{ x }}'}",
        "name: a, task: shell, for_each: {items: [1], item: x}, inputs: {command: 'ls {{ x }}'}",
        "name: a, task: shell, for_each: {items: [1], argname: x}, inputs: {command: 'ls {{ x }}'}",
        "name: a, task: batch, inputs: {list: [1], task: {task: echo, inputs: {message: x}}}",
        "name: a, task: batch, inputs: {itmes: [1], task: {task: echo, inputs: {message: x}}}",
        "name: a, task: batch, inputs: {items: [1], as: x, task: {task: echo, inputs: {message: '{{ x }}'}}}",
    ],
)
def test_one_mistake_in_a_step_is_one_error(step: str) -> None:
    """What would be missing without the word that is meant is not told besides."""
    assert len(of_a_step(step)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "nme: x\nsteps: [{name: a, task: noop}]\n",
        "name: x\nstps: [{name: a, task: noop}]\n",
        "name: x\njobs: {a: {task: noop}}\n",
        "name: x\nparms: {day: x}\nsteps: [{name: a, task: echo, inputs: {message: '{{ day }}'}}]\n",
        "name: x\ninputs: {day: x}\nsteps: [{name: a, task: echo, inputs: {message: '{{ day }}'}}]\n",
        "name: x\nsteps:\n- {id: a, task: noop}\n- {name: b, task: echo, inputs: {message: '{{ steps.a.result }}'}}\n",
        "name: x\nsteps:\n- {name: a, task: echo, needs: [b], inputs: {message: '{{ steps.b.result }}'}}\n"
        "- {name: b, task: noop, depends_on: []}\n",
    ],
)
def test_one_mistake_in_a_file_is_one_error(text: str) -> None:
    """Also where other steps rest on it."""
    assert len(problems(text)) == 1


def test_other_words_are_none_of_those_that_are_used_here() -> None:
    """A word for an input that the task takes would never be told."""
    for name, words in INPUTS_OF_OTHER_SYSTEMS.items():
        task = Tasks().find(name)
        assert task is not None
        assert not [word for word in words if task.input(word) is not None]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("BashOperator", "`shell`"), ("EmptyOperator", "`noop`"), ("HttpSensor", "`http.request`"), ("email", "`notify`")],
)
def test_a_task_by_another_word(name: str, meant: str) -> None:
    """Those of Airflow as well."""
    assert f"there is no task `{name}`; it is {meant} here" in of_a_step(f"name: a, task: {name}")


@pytest.mark.parametrize(
    ("member", "told"),
    [
        ("parameters.msg", "`workflow` has no `parameters`; it has: name, version, file, dir; write `args.NAME` for a"),
        ("uid", "`workflow` has no `uid`; it has: name, version, file, dir"),
    ],
)
def test_what_a_workflow_has_not_is_told_before_a_run(member: str, told: str) -> None:
    """Argo's names; it was found out as the step ran."""
    (found,) = of_a_step(f"name: a, task: echo, inputs: {{message: '{{{{ workflow.{member} }}}}'}}")
    assert found.startswith(told)


def test_the_name_of_a_workflow_by_another_word() -> None:
    """One error, and none of a name that is missing."""
    assert problems("dag_id: x\nsteps: [{name: a, task: noop}]\n") == [
        "the top level has no key `dag_id`; write `name`"
    ]
