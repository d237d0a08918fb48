"""The interpreter runs steps in order, judges conditions once, and takes the same path on replay."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from flujo.kernel.errors import StepFailed
from flujo.kernel.execution.subprocesses import Children
from flujo.workflows.definition_reader import read_definition
from flujo.workflows.interpreter import interpret
from flujo.workflows.registry import TaskCall, Tasks, task
from flujo.workflows.templates import TemplateError
from workflows.scripted import Crash, Record, ScriptedContext, environment_in

calls: list[Any] = []


@task("note")
async def note(call: TaskCall) -> Any:
    calls.append(dict(call.inputs))
    if "raise" in call.inputs:
        raise {"OSError": OSError, "ValueError": ValueError}[call.inputs["raise"]]("as told")
    return call.inputs.get("value")


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@pytest.fixture
def context(children: Children, tmp_path: Path) -> ScriptedContext:
    return ScriptedContext(environment_in(tmp_path), children)


async def run(context: ScriptedContext, steps: str, *, top: str = "", inputs: dict[str, Any] | None = None) -> Any:
    text = f"name: flow\n{dedent(top)}steps:\n{indent(dedent(steps), '  ')}"
    return await interpret(read_definition(text, "f", Tasks([note])), context, inputs or {})


async def test_steps_run_in_order_and_see_what_came_before(context: ScriptedContext) -> None:
    """Results keep their types on the way from step to step and into the outputs."""
    output = await run(
        context,
        """
        - {name: a, task: note, inputs: {value: [1, "{{ n }}"]}}
        - {name: b, task: note, inputs: {value: "{{ steps.a.result }}", text: "got {{ steps.a.result[1] }}"}}
        """,
        top="params: {n: {}}\noutputs: {all: '{{ steps.b.result }}', attempt: '{{ steps.b.attempt }}'}\n",
        inputs={"n": 5},
    )

    assert context.started == ["a", "b"]
    assert calls == [{"value": [1, 5]}, {"value": [1, 5], "text": "got 5"}]
    assert output == {"all": [1, 5], "attempt": 1}


async def test_without_outputs_the_output_is_null(context: ScriptedContext) -> None:
    """A definition says what its runs return, or they return nothing."""
    assert await run(context, "- {name: a, task: note, inputs: {value: 5}}") is None


async def test_every_promised_name_is_there(context: ScriptedContext, tmp_path: Path) -> None:
    """The names templates see, and that a parameter never hides one of them."""
    context.environment = {**context.environment, "env": {"HOME": "/home/x"}}
    names = (
        "[workspace, run_number, timestamp, workflow_name, workflow_file, workflow_dir, start_dir, env.HOME, "
        "settings.colour, workflow.name, workflow.version, run.id, run.number, error, day, args.day, args.env]"
    )
    top = "params: {day: {}, env: {}}\nversion: '2'\nsettings: {colour: red}\noutputs: {all: '{{ NAMES }}'}\n"
    output = await run(
        context,
        "- {name: a, task: noop}",
        top=top.replace("NAMES", names),
        inputs={"day": "monday", "env": "mine"},
    )

    assert output["all"] == [
        *(str(tmp_path / "workspaces" / "run-1"), 7, "2026-11-22T02:15:00+00:00", "flow"),
        *(str(tmp_path / "flow.yaml"), str(tmp_path), str(tmp_path), "/home/x", "red"),
        *("flow", "2", "run-1", 7, None, "monday", "monday", "mine"),
    ]  # fmt: skip


async def test_a_false_condition_skips_its_step(context: ScriptedContext) -> None:
    """A skipped step is recorded as one, is not defined, and its status answers."""
    output = await run(
        context,
        """
        - {name: a, task: note, condition: n > 5}
        - {name: b, task: note, condition: "{{ n == 5 }}", inputs: {value: "{{ steps.a is defined }}"}}
        """,
        top="params: {n: {}}\noutputs: {a: '{{ steps.a.status }}', b: '{{ steps.b.result }}'}\n",
        inputs={"n": 5},
    )

    assert context.records["a"].status == "skipped"
    assert context.records["a"].reason == "its condition is false"
    assert output == {"a": "skipped", "b": False}


async def test_a_condition_of_no_truth_fails_its_step(context: ScriptedContext) -> None:
    """The failure is the step's own, names the value, and the task is not called."""
    with pytest.raises(StepFailed, match="gave 5, which is neither true nor false") as raised:
        await run(context, "- {name: a, task: note, condition: n, retry: 3}", top="params: {n: {}}\n", inputs={"n": 5})

    assert (raised.value.step, raised.value.type, raised.value.attempt) == ("a", "ConditionError", 1)
    assert calls == []


async def test_a_value_that_cannot_be_rendered_fails_its_step_once(context: ScriptedContext) -> None:
    """It is not retried: the names it needs are recorded and stay what they are."""
    with pytest.raises(StepFailed, match="there is no `x`") as raised:
        await run(context, "- {name: a, task: note, retry: 3, inputs: {value: '{{ args.n.x }}'}}",
                  top="params: {n: {}}\n", inputs={"n": {"y": 1}})  # fmt: skip

    assert (raised.value.type, raised.value.attempt) == ("TemplateError", 1)
    assert calls == []


async def test_inputs_are_checked_again_once_rendered(context: ScriptedContext) -> None:
    """What a template gives must fit what the task declares."""
    with pytest.raises(StepFailed, match="`command` must be a string or an array or an object, not null") as raised:
        await run(context, "- {name: a, task: shell, inputs: {command: '{{ n }}'}}",
                  top="params: {n: {}}\n", inputs={"n": None})  # fmt: skip

    assert raised.value.type == "TaskInputError"


async def test_outputs_that_cannot_be_rendered_fail_the_run(context: ScriptedContext) -> None:
    """They belong to no step."""
    with pytest.raises(TemplateError, match="step `a` was skipped"):
        await run(context, "- {name: a, task: note, condition: false}", top="outputs: {a: '{{ steps.a.result }}'}\n")


async def test_retry_and_timeout_reach_the_kernel(context: ScriptedContext) -> None:
    """The policy decides by the name of the error, the timeout is in seconds."""
    with pytest.raises(StepFailed) as raised:
        await run(
            context,
            """
            - {name: a, task: note, timeout: 1m}
            - {name: b, task: note, inputs: {raise: OSError}, retry: {max_attempts: 3, on_error: [OSError]}}
            """,
        )

    assert context.started == ["a", "b", "b", "b"]
    assert raised.value.attempt == 3
    assert context.timeouts == {"a": 60, "b": None}


async def test_continue_goes_on_after_a_failure(context: ScriptedContext) -> None:
    """Later steps see that it failed and why; `error` is the last failure."""
    output = await run(
        context,
        """
        - {name: a, task: note, inputs: {raise: ValueError}, on_error: continue}
        - {name: b, task: note, inputs: {value: "{{ steps.a.status }}: {{ steps.a.error.type }}"}}
        """,
        top="outputs: {b: '{{ steps.b.result }}', error: '{{ error }}', a: '{{ steps.a.result is defined }}'}\n",
    )

    assert output == {
        "b": "failed: ValueError",
        "error": {"step": "a", "type": "ValueError", "message": "as told"},
        "a": False,
    }


async def test_a_replay_takes_the_same_path_without_calling_anything(context: ScriptedContext) -> None:
    """Outcomes, skips and handled failures are handed out again, and the output is the same."""
    steps = """
        - {name: a, task: note, inputs: {raise: ValueError}, on_error: continue}
        - {name: b, task: note, condition: "false"}
        - {name: c, task: note, inputs: {value: [1, "{{ steps.a.error.message }}"]}}
        """
    top = "outputs: {c: '{{ steps.c.result }}', b: '{{ steps.b.status }}', at: '{{ steps.c.attempt }}'}\n"
    first = await run(context, steps, top=top)
    again = context.again()
    calls.clear()

    assert await run(again, steps, top=top) == first
    assert again.started == []
    assert calls == []


async def test_a_condition_is_not_judged_again_once_its_step_has_begun(context: ScriptedContext) -> None:
    """After a crash in its body the step goes on, even if the definition has changed its mind since."""
    context.crash_in = "a"
    with pytest.raises(Crash):
        await run(context, "- {name: a, task: note, condition: true, inputs: {value: 1}}")

    again = context.again()
    await run(again, "- {name: a, task: note, condition: false, inputs: {value: 1}}")

    assert context.records["a"].status == "completed"


async def test_a_condition_that_fails_still_fails_after_a_crash(context: ScriptedContext) -> None:
    """A step whose condition has no truth never calls its task, however often the kernel dies."""
    steps, top = "- {name: a, task: note, condition: n}", "params: {n: {}}\n"
    context.crash_in = "a"
    with pytest.raises(Crash):
        await run(context, steps, top=top, inputs={"n": 5})

    with pytest.raises(StepFailed, match="neither true nor false"):
        await run(context.again(), steps, top=top, inputs={"n": 5})
    assert calls == []


async def test_a_skipped_step_stays_skipped_until_a_new_generation(context: ScriptedContext) -> None:
    """A verdict is kept; a step that is pending again is judged again."""
    top = "params: {n: {}}\n"
    steps = "- {name: a, task: note, condition: n > 5}"
    await run(context, steps, top=top, inputs={"n": 1})
    await run(context.again(), steps, top=top, inputs={"n": 9})
    assert context.records["a"].status == "skipped"

    context.records["a"] = Record()
    await run(context.again(), steps, top=top, inputs={"n": 9})
    assert context.records["a"].status == "completed"


async def test_a_step_somebody_skipped_with_an_output_has_a_result(context: ScriptedContext) -> None:
    """Its condition is not judged, its result is what was given, its status tells."""
    context.records["a"] = Record("skipped", output_json='{"x": 1}')

    output = await run(
        context,
        "- {name: a, task: note, condition: 'nonsense' }".replace("nonsense", "run.id == 5 // 0"),
        top="outputs: {x: '{{ steps.a.result.x }}', status: '{{ steps.a.status }}'}\n",
    )

    assert output == {"x": 1, "status": "skipped"}


async def test_the_workspace_is_made_when_a_task_first_needs_it(context: ScriptedContext, tmp_path: Path) -> None:
    """Private to its owner, and not there for tasks that touch no files."""
    workspace = tmp_path / "workspaces" / "run-1"
    await run(context, "- {name: a, task: noop}")
    assert not workspace.exists()

    await run(context.again(), "- {name: b, task: note}")
    assert workspace.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        ("{name: w, task: wait_signal, timeout: 5s}", 5),
        ("{name: w, task: wait_signal, timeout: 5s, inputs: {timeout: 9s}}", 5),
        ("{name: w, task: wait_signal, timeout: 9s, inputs: {timeout: 5s}}", 5),
        ("{name: w, task: wait_signal}", None),
        ("{name: w, task: sleep, timeout: 9s, inputs: {duration: 5s}}", 5),
    ],
)
async def test_the_timeout_of_a_step_ends_its_wait(context: ScriptedContext, step: str, seconds: float | None) -> None:
    """Whichever of two is shorter."""
    await run(context, f"- {step}\n")

    assert context.waits["w"].seconds == seconds


async def test_a_sleep_that_is_longer_than_the_timeout_fails_at_once(context: ScriptedContext) -> None:
    """Nothing else could come of it."""
    with pytest.raises(StepFailed, match="a wait of 60 s is longer than the step's timeout of 5 s") as raised:
        await run(context, "- {name: w, task: sleep, timeout: 5s, inputs: {seconds: 60}}\n")

    assert raised.value.type == "TimeoutError"


async def test_a_default_covers_the_whole_chain(context: ScriptedContext) -> None:
    """Of a step that was skipped, and of one that has failed under `continue`."""
    output = await run(
        context,
        """
        - {name: skipped, task: note, condition: false}
        - {name: failed, task: note, on_error: continue, inputs: {raise: OSError}}
        """,
        top="""
        outputs:
          skipped: "{{ steps.skipped.result.stdout | default('n') }}"
          failed: "{{ steps.failed.result.stdout[0].strip() | upper | default('n') }}"
          error: "{{ steps.failed.error.type }}"
        """,
    )

    assert output == {"skipped": "n", "failed": "n", "error": "OSError"}


async def test_a_variable_that_was_not_set_says_that_it_stays_so(context: ScriptedContext) -> None:
    """A resume does not read it again."""
    with pytest.raises(StepFailed, match=r"`TOKEN` was not set when this run was started, and stays so: start it anew"):
        await run(context, "- {name: a, task: note, inputs: {x: '{{ env.TOKEN }}'}}\n")


async def test_a_path_counts_from_where_the_run_was_started(context: ScriptedContext, tmp_path: Path) -> None:
    """Not from the workspace, in which a person has nothing."""
    output = await run(
        context,
        "- {name: a, task: noop}\n",
        top="""
        params:
          folder: {type: string, format: path}
          other: {format: path}
          absent: {format: path}
          several: {type: array, items: {type: string, format: path}}
        outputs: {a: '{{ folder }}', b: '{{ args.other }}', c: '{{ several }}'}
        """,
        inputs={"folder": "data", "other": "/etc", "several": ["x/../y", "/z"]},
    )

    assert output == {"a": f"{tmp_path}/data", "b": "/etc", "c": [f"{tmp_path}/y", "/z"]}
