"""Steps that are runs of another definition, run by `flujoctl run`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Kernel, RunFailed
from flujo.workflows import TaskCall, load_workflow, task
from workflows.tasks.conftest import Runs

CALL = '- {name: call, task: workflow, inputs: {file: child.yaml, inputs: {n: "{{ 2 }}", who: Ada}}}'


def child(runs: Runs, steps: str, top: str = "") -> None:
    """The file `child.yaml`, which takes a number and a name and returns both."""
    text = (
        "name: child\nparams:\n  n: {type: integer, required: true}\n  who: {type: string, default: nobody}\n"
        f"{top}outputs: {{n: '{{{{ n }}}}', said: \"{{{{ steps.say.result | default('nothing') }}}}\"}}\nsteps:\n"
    )
    (runs.folder / "child.yaml").write_text(text + textwrap.indent(textwrap.dedent(steps).strip(), "  ") + "\n")


def test_values_go_down_and_up_with_their_types(runs: Runs) -> None:
    """The outputs of the child are the result; it is a run of its own, whose parent is known."""
    child(runs, "- {name: say, task: echo, inputs: {message: '{{ who }} {{ n + 1 }}'}}")

    results = runs.results(CALL + "\n- {name: after, task: echo, inputs: {message: '{{ steps.call.result.n + 1 }}'}}")

    assert results == {"call": {"n": 2, "said": "Ada 3"}, "after": 3}
    state = runs.state("r.call")
    assert (state["workflow"], state["parent_run_id"], state["status"]) == ("child", "r", "completed")


def test_a_child_whose_steps_are_skipped_has_not_failed(runs: Runs) -> None:
    """Nor has its parent."""
    child(runs, "- {name: say, task: echo, condition: n > 5, inputs: {message: much}}")

    assert runs.results(CALL) == {"call": {"n": 2, "said": "nothing"}}


def test_a_step_whose_condition_is_false_starts_nothing(runs: Runs) -> None:
    """It is skipped as any other."""
    child(runs, "- {name: say, task: echo, inputs: {message: x}}")

    assert runs.results(CALL.replace("task:", "condition: false, task:")) == {}
    assert runs.flujoctl("list", "-o", "name").out.split() == ["r"]


def test_the_failure_of_a_child_is_that_of_its_step(runs: Runs) -> None:
    """With the id of the child and the type of its error; the resume of the parent resumes it."""
    child(
        runs,
        """
        - {name: once, task: shell, inputs: {command: "echo once >> ../../../began"}}
        - {name: say, task: shell, inputs: {command: "test -e ../../../there && echo found"}}
        """,
    )

    assert runs.error(CALL)[0] == "ShellError"
    assert "run r.call failed: " in runs.state()["error"]["message"]
    (runs.folder / "there").write_text("")

    ended = runs.flujoctl("resume", "r")

    assert ended.code == 0, ended
    assert runs.state()["step_outputs"]["call"]["result"]["said"]["stdout"] == "found\n"
    assert (runs.folder / "began").read_text() == "once\n"


def test_a_failure_of_a_child_can_be_gone_on_after(runs: Runs) -> None:
    """By the rules of any step."""
    child(runs, "- {name: say, task: fail, inputs: {message: no luck}}")

    results = runs.results(
        CALL.replace("task:", "on_error: continue, task:")
        + "\n- {name: after, task: echo, inputs: {message: '{{ steps.call.error.type }}'}}"
    )

    assert results["after"] == "TaskFailed"


def test_a_retry_resumes_the_child(runs: Runs) -> None:
    """What it has completed is not run again."""
    child(
        runs,
        """
        - {name: once, task: shell, inputs: {command: "echo once >> ../../../began"}}
        - {name: say, task: shell, inputs: {command: "echo try >> ../../../began; test $(wc -l < ../../../began) = 3"}}
        """,
    )

    runs.results(CALL.replace("task:", "retry: {max_attempts: 2, delay: 0}, task:"))

    assert (runs.folder / "began").read_text() == "once\ntry\ntry\n"


def test_a_child_of_a_child_runs(runs: Runs) -> None:
    """Its file counts from that of the child."""
    (runs.folder / "sub").mkdir()
    (runs.folder / "sub/inner.yaml").write_text(
        "name: inner\noutputs: {at: '{{ workflow_dir }}'}\nsteps: [{name: a, task: noop}]\n"
    )
    (runs.folder / "sub/outer.yaml").write_text(
        "name: outer\noutputs: {inner: '{{ steps.in.result }}'}\n"
        "steps: [{name: in, task: workflow, inputs: {file: inner.yaml}}]\n"
    )

    results = runs.results("- {name: out, task: workflow, inputs: {file: sub/outer.yaml}}")

    assert results == {"out": {"inner": {"at": str(runs.folder / "sub")}}}


@pytest.mark.parametrize(
    ("step", "type", "told"),
    [
        ("{file: '{{ args.gone }}'}", "DefinitionError", "nowhere.yaml: there is no such file; it was looked for as /"),
        ("{file: '{{ args.bad }}'}", "DefinitionError", "bad.yaml:2:1: "),
        ("{file: '{{ args.fine }}'}", "InvalidInputError", "n: is required"),
        ("{file: child.yaml, inputs: {n: '{{ args.bad }}'}}", "InvalidInputError", "must be an integer"),
        ("{workflow: stranger}", "WorkflowNotFoundError", "stranger"),
        ("{file: '{{ args.none }}'}", "TaskInputError", "`file` must be a string, not null"),
    ],
)
def test_a_child_that_cannot_be_started_fails_its_step(step: str, type: str, told: str, runs: Runs) -> None:
    """And says why; the run can be resumed once that is mended."""
    child(runs, "- {name: say, task: echo, inputs: {message: x}}")
    (runs.folder / "bad.yaml").write_text("name: bad\nstep: []\nsteps: []\n")

    found, message = runs.error(
        f"- {{name: call, task: workflow, inputs: {step}}}",
        top="params: {none: {default: null}, gone: nowhere.yaml, bad: bad.yaml, fine: child.yaml}",
    )

    assert (found, told in message) == (type, True), message


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("{file: nowhere.yaml}", ["flow.yaml:3:24: nowhere.yaml: there is no such file"]),
        (
            "{file: bad.yaml}",
            [
                "flow.yaml:3:24: bad.yaml: this workflow has problems, which follow",
                "bad.yaml:2:1: the top level has no key `step`; did you mean `steps`?",
                "bad.yaml:3:8: `steps` must have at least one step",
            ],
        ),
        ("{file: child.yaml}", ["flow.yaml:3:24: `child` needs the input `n`"]),
        ("{path: child.yaml, params: {who: x}}", ["flow.yaml:3:24: `child` needs the input `n`"]),
        ("{file: child.yaml, inputs: {n: many}}", ['`child` takes another input: `n` must be an integer, not "many"']),
        ("{file: sub/outer.yaml}", ["sub/outer.yaml:2:26: gone.yaml: there is no such file"]),
    ],
)
def test_what_can_be_told_of_a_child_beforehand_is(step: str, told: list[str], runs: Runs) -> None:
    """With the place in the file where it is named, and in its own."""
    child(runs, "- {name: say, task: echo, inputs: {message: x}}")
    (runs.folder / "bad.yaml").write_text("name: bad\nstep: []\nsteps: []\n")
    (runs.folder / "sub").mkdir()
    (runs.folder / "sub/outer.yaml").write_text(
        "name: outer\nsteps: [{name: in, task: workflow, inputs: {file: gone.yaml}}]\n"
    )

    err = runs.refusal(f"- {{name: call, task: workflow, inputs: {step}}}")

    assert [line for line in told if line not in err] == [], err


def test_a_child_whose_file_was_missing_runs_after_a_resume(runs: Runs) -> None:
    """Its step has failed as a step, and is a run afterwards."""
    named = CALL.replace("child.yaml", "'{{ args.which }}'").replace(
        "task:", "retry: {max_attempts: 3, delay: 0}, task:"
    )
    runs.error(named, top="params: {which: child.yaml}")
    child(runs, "- {name: say, task: echo, inputs: {message: x}}")

    assert runs.flujoctl("resume", "r").code == 0
    assert runs.state()["step_outputs"]["call"]["result"] == {"n": 2, "said": "x"}


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("inputs: {}", "needs exactly one of the inputs `workflow` and `file`"),
        ("inputs: {file: a, workflow: b}", "needs exactly one of the inputs `workflow` and `file`"),
        ("inputs: {file: /a, labels: {team: 1}}", "`labels` must be texts, and `team` is none"),
        ("for_each: [1], timeout: 5s, inputs: {file: a}", "a workflow has a `timeout` of its own"),
        ("timeout: 5s, inputs: {file: /a}", "a workflow has a `timeout` of its own, at the top of its file"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(step: str, told: str, runs: Runs) -> None:
    """With its position."""
    assert told in runs.refusal(f"- {{name: call, task: workflow, {step}}}")


EACH = """\
- name: each
  task: batch
  on_error: fail
  inputs:
    items: [1, 2, 3]
    max_workers: 1
    arg_name: number
    task: {task: workflow, inputs: {file: child.yaml, inputs: {n: "{{ number }}", who: "{{ item * 2 }}"}}}
"""


def test_a_workflow_is_run_for_each_item_of_a_loop(runs: Runs) -> None:
    """Each is a run of its own, and an item's result are its outputs."""
    child(runs, "- {name: say, task: echo, inputs: {message: '{{ who }}'}}")

    results = runs.results(EACH.replace("who: ", "who: n").replace('n"{{', '"n{{'))

    assert results["each"]["results"] == [{"n": n, "said": f"n{2 * n}"} for n in (1, 2, 3)]
    listed = runs.flujoctl("list", "-o", "name").out.split()
    assert len(listed) == 4
    assert {runs.state(run_id)["parent_run_id"] for run_id in listed if run_id != "r"} == {"r"}


def test_a_resume_goes_on_with_the_child_that_has_failed(runs: Runs) -> None:
    """The others are not run again, and what it has completed itself stays."""
    child(
        runs,
        """
        - {name: once, task: shell, inputs: {command: "echo once {{ n }} >> ../../../began"}}
        - {name: say, task: shell, inputs: {command: "test {{ n }} != 2 || test -e ../../../there"}}
        """,
    )
    assert runs.error(EACH.replace(', who: "{{ item * 2 }}"', ""))[0] == "ItemsFailed"
    assert (runs.folder / "began").read_text() == "once 1\nonce 2\n"
    (runs.folder / "there").write_text("")

    ended = runs.flujoctl("resume", "r")

    assert ended.code == 0, ended
    assert (runs.folder / "began").read_text() == "once 1\nonce 2\nonce 3\n"


def test_a_child_that_cannot_be_started_fails_its_item(runs: Runs) -> None:
    """With the reason, in the place of its item."""
    child(runs, "- {name: say, task: echo, inputs: {message: x}}")
    steps = EACH.replace("on_error: fail", "on_error: continue").replace(
        "file: child.yaml", "file: \"{{ 'child' if item != 2 else 'no' }}.yaml\""
    )

    results = runs.results(steps.replace(', who: "{{ item * 2 }}"', ""))

    assert [result is None for result in results["each"]["results"]] == [False, True, False]
    (failed,) = results["each"]["failed"]
    assert (failed["item"], failed["type"].rpartition(".")[2]) == (2, "DefinitionError")
    assert "there is no such file" in failed["error"]


def test_a_file_that_names_itself_comes_to_an_end(runs: Runs) -> None:
    """With a message that says what it does, in the innermost run and so in all of them."""
    (runs.folder / "child.yaml").write_text(
        "name: child\nsteps: [{name: in, task: workflow, inputs: {file: child.yaml}}]\n"
    )

    type, message = runs.error("- {name: call, task: workflow, inputs: {file: child.yaml}}")

    assert type == "ChildDepthError"
    assert "there are 20 runs above this one" in message
    assert len(runs.flujoctl("list", "-o", "name").out.split()) == 21


def begun(runs: Runs) -> subprocess.Popen[bytes]:
    """A parent in a process of its own, whose child waits in a step."""
    fifo = runs.folder / "fifo"
    os.mkfifo(fifo)
    child(runs, f"- {{name: say, task: shell, inputs: {{command: 'echo begun > {fifo}; exec sleep 600'}}}}")
    (runs.folder / "flow.yaml").write_text(f"name: flow\nsteps:\n  {CALL}\n")
    command = [sys.executable, "-m", "flujoctl", "run", "flow.yaml", "--id", "r"]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    assert fifo.read_text() == "begun\n"
    return running


def test_a_cancel_of_the_parent_cancels_the_child(runs: Runs) -> None:
    """Its command ends, too."""
    running = begun(runs)

    runs.flujoctl("cancel", "r")

    assert running.wait(60) == 8
    assert [runs.state(run_id)["status"] for run_id in ("r", "r.call")] == ["cancelled", "cancelled"]


def test_a_killed_parent_goes_on_with_its_child_in_another_process(runs: Runs) -> None:
    """By the text that the child has stored: its file is gone."""
    running = begun(runs)
    running.send_signal(signal.SIGKILL)
    running.wait(60)
    (runs.folder / "child.yaml").unlink()
    (runs.folder / "fifo").unlink()
    (runs.folder / "fifo").write_text("")
    sleep = runs.folder / "bin" / "sleep"
    sleep.parent.mkdir()
    sleep.write_text("#!/bin/sh\necho slept\n")
    sleep.chmod(0o755)

    path = f"{sleep.parent}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "flujoctl", "resume", "r"]
    resumed = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60)

    assert resumed.returncode == 0, resumed
    assert runs.state()["step_outputs"]["call"]["result"]["said"]["stdout"] == "slept\n"


async def test_a_registered_workflow_is_called_by_its_name(tmp_path: Path) -> None:
    """And a child may use the tasks that its parent was given."""

    @task("double", inputs={"n": {"type": "integer"}})
    async def double(call: TaskCall) -> int:
        return int(call.inputs["n"]) * 2

    inner = load_workflow(
        "name: inner\nparams: {n: {type: integer}}\noutputs: {n: '{{ steps.a.result }}'}\n"
        "steps: [{name: a, task: double, inputs: {n: '{{ n }}'}}]\n",
        tasks=[double],
    )
    (tmp_path / "same.yaml").write_text(
        "name: same\noutputs: {n: '{{ steps.a.result }}'}\nsteps: [{name: a, task: double, inputs: {n: 5}}]\n"
    )
    (tmp_path / "outer.yaml").write_text(
        "name: outer\noutputs: {a: '{{ steps.a.result.n }}', b: '{{ steps.b.result.n }}'}\nsteps:\n"
        "  - {name: a, task: workflow, inputs: {workflow: inner, params: {n: 4}, labels: {team: x}}}\n"
        "  - {name: b, task: workflow, inputs: {file: same.yaml}}\n"
    )
    outer = load_workflow(tmp_path / "outer.yaml", tasks=[double], workspace=tmp_path / "w")

    async with Kernel(InMemoryBackend(), workflows=[inner, outer]) as kernel:
        output: Any = await kernel.run(outer, {}, run_id="r")
        labels = (await kernel.inspect("r.a")).labels

    assert output == {"a": 8, "b": 10}
    assert labels == {"team": "x"}


async def test_a_definition_without_a_file_cannot_name_one_beside_it(tmp_path: Path) -> None:
    """It says so, and takes an absolute path."""
    (tmp_path / "child.yaml").write_text("name: child\nsteps: [{name: a, task: noop}]\n")
    flow = "name: flow\nsteps:\n  - {{name: a, task: workflow, inputs: {{file: {}}}}}\n"

    async with Kernel(InMemoryBackend()) as kernel:
        await kernel.run(load_workflow(flow.format(tmp_path / "child.yaml"), workspace=tmp_path), {})
        await kernel.start(load_workflow(flow.format("child.yaml"), workspace=tmp_path), {}, run_id="r")
        state = await kernel.wait("r")

    assert state.error is not None
    assert state.error.message == (
        "'child.yaml' counts from the file of this workflow, and it has none; give an absolute path"
    )


async def test_a_registered_workflow_keeps_the_secrets_of_its_parent_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in a file does: what it prints, returns, fails with and has been started with."""
    monkeypatch.setenv("TOKEN", "t0ken-of-the-parent")
    inner = load_workflow(
        "name: inner\nparams: {key: {}}\n"
        "outputs: {said: '{{ steps.a.result.stdout }}', env: '{{ env.TOKEN | default(0) }}'}\n"
        "steps: [{name: a, task: shell, inputs: {command: 'echo \"$TOKEN\" \"$1\"', env: {KEY: '{{ key }}'}}}]\n",
        workspace=tmp_path / "w",
    )
    outer = load_workflow(
        "name: outer\nsecrets: [TOKEN]\noutputs: {one: '{{ steps.a.result }}', each: '{{ steps.b.result.results }}'}\n"
        "steps:\n"
        "  - {name: a, task: workflow, inputs: {workflow: inner, params: {key: '{{ secrets.TOKEN }}'}}}\n"
        "  - {name: b, task: workflow, for_each: [1], inputs: {workflow: inner, params: {key: x}}}\n",
        workspace=tmp_path / "w",
    )

    async with Kernel(InMemoryBackend(), workflows=[inner, outer]) as kernel:
        output: Any = await kernel.run(outer, {}, run_id="r")
        states = [await kernel.inspect(run_id) for run_id in ("r", "r.a")]

    assert output == {"one": {"said": "*** \n", "env": 0}, "each": [{"said": "*** \n", "env": 0}]}
    assert states[1].inputs == {"key": "***"}
    for state in states:
        assert "t0ken-of-the-parent" not in json.dumps([state.to_dict(), dict(state.environment)])


async def test_registered_workflows_that_name_each_other_come_to_an_end(tmp_path: Path) -> None:
    """After so many runs above one another that files would."""
    text = "name: {}\nsteps: [{{name: a, task: workflow, inputs: {{workflow: {}}}}}]\n"
    one, two = (load_workflow(text.format(*names), workspace=tmp_path) for names in (("one", "two"), ("two", "one")))

    async with Kernel(InMemoryBackend(), workflows=[one, two]) as kernel:
        with pytest.raises(RunFailed, match="there are 20 runs above this one"):
            await kernel.run(one, {}, run_id="r")
