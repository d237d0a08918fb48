"""From YAML to a workflow of the kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flujo.kernel.errors import DefinitionError, InvalidInputError
from flujo.kernel.programs import RunStart, Workflow
from flujo.workflows import load_workflow, load_workflow_text
from flujo.workflows.loading import warnings_in

TEXT = """\
name: flow
version: "3"
timeout: 1h
labels: {team: a}
params:
  day: {type: string, required: true}
  count: {type: integer, default: 2}
steps:
  - name: one
    task: echo
    inputs: {message: "{{ env.FLUJO_TEST_SET }} {{ env.FLUJO_TEST_UNSET | default('') }}"}
  - name: two
    task: python_code
    inputs: {code: "result = env.get('FLUJO_TEST_CODE')"}
"""


def test_a_file_becomes_a_workflow(tmp_path: Path) -> None:
    """With all the kernel needs: text, digests, limits."""
    (tmp_path / "flow.yaml").write_text(TEXT)

    workflow = load_workflow(tmp_path / "flow.yaml")

    assert (workflow.name, workflow.version, workflow.timeout_seconds) == ("flow", "3", 3600)
    assert workflow.labels == {"team": "a"}
    assert workflow.definition is not None
    assert (workflow.definition.workflow, workflow.definition.version) == ("flow", "3")
    assert workflow.definition.text == TEXT
    assert workflow.plan is not None
    assert [name for name, _ in workflow.plan] == ["one", "two"]


def test_a_stored_text_becomes_the_same_workflow(tmp_path: Path) -> None:
    """What recovery loads has the digests of what was started, wherever it came from."""
    (tmp_path / "flow.yaml").write_text(TEXT)
    first = load_workflow(str(tmp_path / "flow.yaml"))
    assert first.definition is not None

    again = load_workflow_text(first.definition.text, "elsewhere/flow.yaml")

    assert again.definition == first.definition
    assert again.plan == first.plan
    assert load_workflow(TEXT).definition == first.definition


def test_the_environment_is_what_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable the definition mentions, in templates and code, unless it is not set."""
    monkeypatch.setenv("FLUJO_TEST_SET", "yes")
    monkeypatch.setenv("FLUJO_TEST_CODE", "code")
    monkeypatch.delenv("FLUJO_TEST_UNSET", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.yaml").write_text(TEXT)
    workflow = load_workflow("flow.yaml")
    assert workflow.environment is not None

    recorded = workflow.environment(RunStart("r1", 1_700_000_000_000_000, 4, tmp_path / "ws" / "r1"))

    assert recorded == {
        "workspace": str(tmp_path / "ws" / "r1"),
        "log_file": str(tmp_path / "ws" / "r1.log"),
        "timestamp": "2023-11-14T22:13:20+00:00",
        "run_number": 4,
        "start_dir": str(tmp_path),
        "workflow_file": str(tmp_path / "flow.yaml"),
        "workflow_dir": str(tmp_path),
        "env": {"FLUJO_TEST_CODE": "code", "FLUJO_TEST_SET": "yes"},
    }


def test_a_workspace_of_the_users_own_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log stays beside the folder flujo would have made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLUJO_TEST_SET", "yes")
    workflow = load_workflow(TEXT, workspace="mine")
    assert workflow.environment is not None

    recorded = workflow.environment(RunStart("r1", 0, 1, tmp_path / "ws" / "r1"))

    assert recorded["workspace"] == str(tmp_path / "mine")
    assert recorded["log_file"] == str(tmp_path / "ws" / "r1.log")


@pytest.mark.parametrize("load", [load_workflow, lambda text: load_workflow_text(text, "workflow.yaml")])
def test_a_text_without_a_file_names_none(
    load: Callable[[str], Workflow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resume would run whatever lies under that name in the folder where it happens to be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLUJO_TEST_SET", "yes")
    workflow = load(TEXT)
    assert workflow.environment is not None

    recorded = workflow.environment(RunStart("r1", 0, 1, tmp_path / "ws" / "r1"))

    assert workflow.file is None
    assert not {"workflow_file", "workflow_dir"} & recorded.keys()


def test_a_variable_that_every_run_needs_is_asked_for_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is recorded at the start, so no resume could bring it back."""
    monkeypatch.delenv("FLUJO_TEST_SET", raising=False)
    workflow = load_workflow(TEXT)
    assert workflow.environment is not None

    with pytest.raises(InvalidInputError) as raised:
        workflow.environment(RunStart("r1", 0, 1, tmp_path / "ws" / "r1"))

    assert list(raised.value.problems) == ["env.FLUJO_TEST_SET"]
    assert "is not set; set it, or write `env.FLUJO_TEST_SET | default('')`" in str(raised.value)
    assert raised.value.hints == ("export FLUJO_TEST_SET=…",)


@pytest.mark.parametrize(
    ("step", "missing"),
    [
        ("inputs: {message: '{{ p }}'}", ["p"]),
        ("inputs: {message: 'x {{ args.p }} {{ q }}'}", ["p", "q"]),
        ("inputs: {message: '{{ [p, 1] | length }}'}", ["p"]),
        ("condition: p == 1, inputs: {message: x}", ["p"]),
        ("inputs: {message: '{{ with_default }} {{ required }} {{ args }}'}", []),
        ("inputs: {message: '{{ p | default(1) }} {{ args.get(\"q\") }}'}", []),
        ("inputs: {message: '{{ q if p is defined else 0 }}'}", []),
        ("inputs: {message: '{% for each in [] %}{{ p }}{% endfor %}'}", []),
        ("condition: required == 2, inputs: {message: '{{ p }}'}", []),
        ("for_each: '{{ [] }}', inputs: {message: '{{ p }}'}", []),
        ("for_each: '{{ q }}', inputs: {message: '{{ p }}'}", ["q"]),
        ("inputs: {message: x}, on_error: {action: continue, message: '{{ p }}'}", []),
        ("inputs: {message: '{{ neither }} {{ args.undeclared }}'}", ["undeclared"]),
    ],
)
def test_a_parameter_that_every_run_needs_is_asked_for_before_the_first_step(
    step: str, missing: list[str], tmp_path: Path
) -> None:
    """One without a default that is used as it is; what may never be rendered asks for nothing."""
    declared = "{p: , q: , neither: 3, with_default: {default: 1}, required: {required: true}}"
    workflow = load_workflow(f"name: x\nparams: {declared}\nsteps: [{{name: a, task: echo, {step}}}]\n")
    assert workflow.environment is not None
    inputs = workflow.check_inputs({"required": 1})

    try:
        workflow.environment(RunStart("r1", 0, 1, tmp_path / "ws" / "r1", inputs))
        problems: dict[str, str] = {}
    except InvalidInputError as refusal:
        problems = dict(refusal.problems)

    assert sorted(problems) == missing
    assert all("has no value and no default: give one" in problem for problem in problems.values())


def test_a_valid_file_has_warnings(tmp_path: Path) -> None:
    """What is allowed and may not be meant, with its place."""
    text = TEXT + "    condition: day == 'x'\noutputs: {two: '{{ steps.two.result }}'}\n"
    (tmp_path / "flow.yaml").write_text(text)

    assert [str(warning) for warning in warnings_in(tmp_path / "flow.yaml")] == [
        f"{tmp_path}/flow.yaml:16:16: step `two` may have no result, since its condition may be false: "
        "write `steps.two.… | default(…)`"
    ]


def test_inputs_are_completed_and_checked() -> None:
    """Texts are read, defaults fill in, and every problem has its field."""
    workflow = load_workflow(TEXT)

    assert workflow.check_inputs({"day": "x", "count": "5"}) == {"day": "x", "count": 5}
    assert workflow.check_inputs({"day": "x"}) == {"day": "x", "count": 2}
    with pytest.raises(InvalidInputError) as raised:
        workflow.check_inputs({"count": "many", "dya": "x"})
    assert raised.value.problems == {
        "dya": "there is no parameter `dya`; did you mean `day`?",
        "day": "is required",
        "count": 'must be an integer, not "many"',
    }


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, or no text."""
    (tmp_path / "bytes.yaml").write_bytes(b"name: x\nsteps: \xff\n")

    with pytest.raises(DefinitionError, match=r"missing\.yaml: there is no such file$"):
        load_workflow(tmp_path / "missing.yaml")
    with pytest.raises(DefinitionError, match="Is a directory"):
        load_workflow(tmp_path)
    with pytest.raises(DefinitionError, match=r"bytes\.yaml:2:1: the file is not UTF-8 text$"):
        load_workflow(tmp_path / "bytes.yaml")


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    """Some editors write one."""
    (tmp_path / "flow.yaml").write_text(TEXT, encoding="utf-8-sig")

    assert load_workflow(tmp_path / "flow.yaml").name == "flow"


def test_problems_carry_the_name_of_their_source() -> None:
    """A text is called what its source says."""
    with pytest.raises(DefinitionError, match=r"^<stdin>:1:1: `steps` is missing$"):
        load_workflow("name: x\n", source="<stdin>")
