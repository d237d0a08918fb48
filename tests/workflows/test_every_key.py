"""Every key of a step with every task: it is heeded, or refused where it stands.

The rows are made of what is declared: a task without an example fails here, and so does a key that nobody says how to
look at. Tasks of work stand in for themselves with another body; those that the engine carries out are themselves.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.kernel.errors import DefinitionError
from flujo.kernel.execution.current_attempt import Attempt
from flujo.kernel.execution.subprocesses import Children
from flujo.kernel.state import WorkflowState
from flujo.workflows import load_workflow_text
from flujo.workflows.definition_keys import STEP_KEYS
from flujo.workflows.definition_reader import read_definition
from flujo.workflows.registry import BUILT_IN, Task, TaskCall, Tasks
from flujo.workflows.runlog import StepLog
from flujo.workflows.settings_reader import RETRIED_BY
from kernel.harness import Harness, JumpingClock

from .scripted import environment_in, report_nothing

pytestmark = pytest.mark.anyio

INPUTS: dict[str, dict[str, Any]] = {
    "add_numbers": {"a": 1, "b": 2},
    "append_file": {"path": "a", "content": "b"},
    "batch": {"items": [1, 2], "task": {"task": "echo", "inputs": {"message": "x"}}},
    "copy_file": {"source": "a", "destination": "b"},
    "delete_file": {"path": "a"},
    "echo": {"message": "x"},
    "fail": {"message": "x"},
    "http.request": {"url": "http://localhost/"},
    "join_strings": {"strings": ["a"]},
    "list_files": {"path": "."},
    "move_file": {"source": "a", "destination": "b"},
    "noop": {"should_fail": False},
    "notify": {"channel": "log", "message": "x"},
    "print_message": {"message": "x"},
    "print_vars": {"message": "x"},
    "python_code": {"code": "result = 1"},
    "python_function": {"module": "math", "function": "floor", "args": [1.5]},
    "python_module": {"module": "this"},
    "python_script": {"script_path": "a.py"},
    "read_file": {"path": "a"},
    "read_json": {"path": "a"},
    "read_yaml": {"path": "a"},
    "shell": {"command": "true"},
    "sleep": {"seconds": 5},
    "template": {"template": "x"},
    "wait_signal": {"timeout": "5s"},
    "workflow": {"workflow": "child"},
    "write_file": {"path": "a", "content": "b"},
    "write_json": {"path": "a", "data": 1},
    "write_yaml": {"path": "a", "data": 1},
}
"""Inputs with which a step of each task is valid."""

CHILD = "name: child\nsteps:\n- {name: in, task: echo, inputs: {message: x}}\n"
WAITS = ("sleep", "wait_signal")
OF_THE_ENGINE = (*WAITS, "workflow", "batch")
"""Tasks whose steps have no body of their own."""

REFUSED: dict[str, set[str]] = {
    "retry": {*WAITS},
    "timeout": {"workflow"},
    "for_each": {"batch"},
    "progress_update": {*BUILT_IN} - {"batch"},
    "progress_interval": {*BUILT_IN} - {"batch"},
    "env": {*BUILT_IN} - {"shell", "python_module", "python_script"},
    "repeat": {*OF_THE_ENGINE, "fail"},
    "outputs": {*OF_THE_ENGINE, "fail"},
}
"""The tasks that a key says nothing of."""


async def returns(call: TaskCall) -> Any:
    """Do the work at once."""
    return {"given": dict(call.inputs)}


async def fails(call: TaskCall) -> Any:
    """Fail whenever it is tried."""
    raise ValueError("as told")


async def hangs(call: TaskCall) -> Any:
    """Never end."""
    await anyio.sleep_forever()


@dataclass
class Bench:
    """One step `it` of one task, whose work, or that of its items and of its child, `body` does."""

    task: str
    body: Callable[[TaskCall], Awaitable[Any]] = returns
    calls: list[TaskCall] = field(default_factory=list)

    def text(self, key: str, value: Any, *, below: str = "") -> str:
        """A definition whose step `it` has this key on its last line."""
        keys = {"name": "it", "task": self.task, "inputs": INPUTS[self.task]}
        lines = [f"{name}: {json.dumps(written)}" for name, written in keys.items() if name != key]
        step = "\n  ".join([*lines, f"{key}: {json.dumps(value)}"])
        return f"name: flow\nsteps:\n- {step}\n{below}"

    def tasks(self) -> list[Task]:
        """The tasks with another body, which takes note of each call."""

        async def run(call: TaskCall) -> Any:
            self.calls.append(call)
            return await self.body(call)

        found = [task for name in BUILT_IN if name not in OF_THE_ENGINE and (task := Tasks().find(name)) is not None]
        return [task._replace(run=run, needs_workspace=False) for task in found]

    def refusals(self, text: str) -> list[int]:
        """The lines for which a definition is refused."""
        try:
            load_workflow_text(text, "flow.yaml", tasks=self.tasks())
        except DefinitionError as error:
            return [problem.line for problem in error.problems]
        return []

    async def play(self, key: str, value: Any, *, below: str = "") -> WorkflowState:
        """Run a definition to its end."""
        harness, tasks = Harness(JumpingClock()), self.tasks()
        child = load_workflow_text(CHILD, "child.yaml", tasks=tasks)
        flow = load_workflow_text(self.text(key, value, below=below), "flow.yaml", tasks=tasks)
        async with harness.kernel(child, flow) as kernel:
            await kernel.start(flow, run_id="r")
            return await kernel.wait("r")


async def heeds_name(bench: Bench) -> None:
    """The step is recorded under it."""
    assert "mine" in (await bench.play("name", "mine")).steps


async def heeds_task(bench: Bench) -> None:
    """What the task does is done."""
    state = await bench.play("task", bench.task)
    assert bench.calls or state.steps["it"].kind in ("sleep", "signal") or state.steps["it"].until is not None


async def heeds_inputs(bench: Bench) -> None:
    """The body has them."""
    await heeds_given(bench, "inputs")


async def heeds_params(bench: Bench) -> None:
    """They are the inputs by another word: without them the step is refused, or has other ones."""
    bench_text = bench.text("inputs", INPUTS[bench.task]).replace("\n  inputs:", "\n  params:")
    assert not bench.refusals(bench_text)


async def heeds_given(bench: Bench, key: str) -> None:
    """The body has the inputs under this key."""
    await bench.play(key, INPUTS[bench.task])
    for call in bench.calls if bench.task not in OF_THE_ENGINE else ():
        assert INPUTS[bench.task].items() <= dict(call.inputs).items()


async def heeds_description(bench: Bench) -> None:
    """It is for people, whom `run --dry-run` shows it (tests/cli/test_dry_runs.py)."""
    assert not bench.refusals(bench.text("description", "for people"))


async def heeds_depends_on(bench: Bench) -> None:
    """The step waits for a step below it."""
    below = "- {name: below, task: echo, inputs: {message: x}, depends_on: []}\n"
    state = await bench.play("depends_on", ["below"], below=below)
    assert next(iter(state.steps)) == "below"


async def heeds_condition(bench: Bench) -> None:
    """It is skipped."""
    assert (await bench.play("condition", False)).steps["it"].status == "skipped"


async def heeds_retry(bench: Bench) -> None:
    """A failure is tried again, and so is that of an item, or of a child."""
    bench.body = fails
    await bench.play("retry", {"max_attempts": 3, "delay": 0})
    assert len(bench.calls) == 3 * (2 if bench.task == "batch" else 1)


async def heeds_timeout(bench: Bench) -> None:
    """What hangs is ended."""
    bench.body = hangs
    steps = (await bench.play("timeout", "20ms")).steps.values()
    assert {step.error.type for step in steps if step.error is not None} >= {"TimeoutError"}


async def heeds_on_error(bench: Bench) -> None:
    """The run goes on."""
    bench.body = fails
    state = await bench.play("on_error", "continue", below="- {name: below, task: sleep, inputs: {seconds: 1}}\n")
    assert state.steps["below"].status == "completed"


async def heeds_always_run(bench: Bench) -> None:
    """It is performed although the run has failed already."""
    bench.body = fails
    below = "- {name: below, task: sleep, depends_on: [], inputs: {seconds: '{{ 1 / 0 }}'}}\n"
    state = await bench.play("always_run", True, below=below)
    assert state.error is not None
    assert (state.error.step, "it" in state.steps) == ("below", True)


async def heeds_for_each(bench: Bench) -> None:
    """There is an item for each."""
    assert {"it[0]", "it[1]"} <= (await bench.play("for_each", [1, 2])).steps.keys()


async def heeds_progress_update(bench: Bench) -> None:
    """A loop reports no progress."""
    assert (await bench.play("progress_update", True)).steps["it"].progress is not None
    assert (await bench.play("progress_update", False)).steps["it"].progress is None


async def heeds_progress_interval(bench: Bench) -> None:
    """A loop reports as often."""
    definition = read_definition(bench.text("progress_interval", "7s"), "flow.yaml", Tasks())
    assert definition.steps[0].loop is not None
    assert definition.steps[0].loop.report_seconds == 7


async def heeds_env(bench: Bench) -> None:
    """The command has it among its inputs."""
    await bench.play("env", {"A": "b"})
    assert [call.inputs["env"] for call in bench.calls] == [{"A": "b"}]


async def heeds_repeat(bench: Bench) -> None:
    """It is performed as often as it may be until it is so."""
    await bench.play("repeat", {"until": "1 == 2", "interval": "1s", "max": 3})
    assert len(bench.calls) == 3


async def heeds_outputs(bench: Bench) -> None:
    """They are its result."""
    assert [*(await bench.play("outputs", {"mine": "{{ result }}"})).step_outputs["it"]["result"]] == ["mine"]


HEEDED: dict[str, Callable[[Bench], Awaitable[None]]] = {
    key: globals()[f"heeds_{key}"] for key in STEP_KEYS if f"heeds_{key}" in globals()
}


def test_every_task_and_every_key_has_a_row() -> None:
    """A new one has to be looked at."""
    assert [*INPUTS] == sorted(BUILT_IN)
    assert HEEDED.keys() == {*STEP_KEYS}


@pytest.mark.parametrize("key", STEP_KEYS)
async def test_a_key_of_a_step_is_heeded_or_refused_where_it_stands(key: str) -> None:
    """With every task that there is."""
    for name in BUILT_IN:
        bench = Bench(name)
        if name in REFUSED.get(key, ()):
            text = bench.text(key, EXAMPLES[key])
            assert (name, bench.refusals(text)) == (name, [text.count("\n")])
        else:
            await HEEDED[key](bench)


EXAMPLES: dict[str, Any] = {
    "retry": {"max_attempts": 3},
    "timeout": "1s",
    "for_each": [1],
    "progress_update": True,
    "progress_interval": "1s",
    "env": {"A": "b"},
    "repeat": {"until": "result", "max": 3},
    "outputs": {"mine": "{{ result }}"},
}
"""A value of each key that some tasks refuse."""


@pytest.mark.parametrize("key", RETRIED_BY)
def test_what_no_failure_of_a_task_has_is_refused_in_its_retry(key: str) -> None:
    """Nothing would ever be tried again. For all steps it may be said: it is for those that it can be for."""
    retry = {"max_attempts": 3, key: [75 if key == "exit_codes" else 503]}
    for name in {*BUILT_IN} - {*WAITS}:
        bench = Bench(name)
        text = bench.text("retry", retry)
        # `batch` is judged by the task of its items, which is `echo` here
        assert (name, bench.refusals(text)) == (name, [] if name in RETRIED_BY[key] else [text.count("\n")])
        assert not bench.refusals(f"defaults: {json.dumps({'retry': retry})}\n" + bench.text("name", "it"))


def test_a_wait_in_a_batch_is_not_tried_again_either() -> None:
    """It is refused as that of a step is; what holds for all steps leaves it out."""
    waits = "task: batch, inputs: {items: [1], task: {task: wait_signal}}"

    for key in ("retry: 3", "on_error: {action: retry, retry: 3}"):
        assert Bench("batch").refusals(f"name: flow\nsteps:\n- {{name: it, {waits},\n  {key}}}\n") == [4]
    assert not Bench("batch").refusals(f"name: flow\ndefaults: {{retry: 3}}\nsteps:\n- {{name: it, {waits}}}\n")


# -- the inputs of a task ---------------------------------------------------------------------------------------------

HERE = "http://127.0.0.1:9/"  # where nobody listens
FURTHER: dict[str, list[dict[str, Any]]] = {
    "append_file": [{"path": "a", "content": "b", "encoding": "utf-8", "allow_outside": False}],
    "copy_file": [{"source": "a", "destination": "b", "allow_outside": False}],
    "delete_file": [{"path": "a", "missing_ok": True, "allow_outside": False}],
    "http.request": [
        {"url": HERE, "method": "PUT", "params": {"a": "b"}, "headers": {"A": "b"}, "json": 1, "token": "t"},
        {"url": HERE, "data": {"a": "b"}, "auth": {"user": "a", "password": "b"}, "timeout": 1, "max_redirects": 0},
        {"url": HERE, "body": "x", "max_size": 9, "output": "o", "verify": False, "proxy": HERE},
        {"url": HERE, "body_file": "a", "ok_status": [404], "check": True},
    ],
    "join_strings": [{"strings": ["a", "b"], "separator": "-"}],
    "list_files": [{"path": ".", "pattern": "*", "recursive": True, "allow_outside": False}],
    "move_file": [{"source": "a", "destination": "b", "allow_outside": False}],
    "noop": [{"should_fail": False}],
    "notify": [
        {"channel": "webhook", "url": HERE, "method": "PUT", "headers": {"A": "b"}, "payload": {"a": 1}},
        {"channel": "slack", "webhook_url": HERE, "username": "u", "icon_emoji": ":x:", "color": "good"},
        {"channel": "log", "message": "x", "level": "error"},
        {"channel": "file", "message": "x", "file": "n", "append": True, "format": "text"},
    ],
    "python_code": [{"code": "x = 1", "result_variable": "x"}],
    "python_function": [{"module": "math", "function": "floor", "args": [1.5], "kwargs": {}}],
    "python_module": [
        {"module": "nowhere", "args": ["x"], "cwd": ".", "env": {"A": "b"}, "check": True, "timeout": 9,
         "allow_outside": False}
    ],
    "python_script": [
        {"script_path": "a.py", "args": ["x"], "cwd": ".", "env": {"A": "b"}, "check": True, "timeout": 9,
         "allow_outside": False}
    ],
    "read_file": [
        {"path": "a", "encoding": "utf-8", "errors": "strict", "allow_outside": False},
        {"file": "a"},
    ],
    "read_json": [{"path": "a", "encoding": "utf-8", "allow_outside": False}],
    "read_yaml": [{"path": "a", "encoding": "utf-8", "allow_outside": False}],
    "shell": [
        {"command": "exit 4", "working_dir": ".", "env": {"A": "b"}, "stdin": "x", "stdout": "o", "stderr": "e",
         "check": True, "ok_codes": [3], "shell": "bash", "strict": True, "detach": True, "timeout": 9,
         "stop_signal": "SIGINT", "stop_grace": 1, "max_output": 9}
    ],
    "sleep": [{"seconds": 1}, {"duration": "1s"}],
    "template": [{"template": "x", "output": "o", "allow_outside": False}, {"file": "a"}],
    "wait_signal": [{"signal": "go", "timeout": 1}],
    "write_file": [{"path": "a", "content": "b", "encoding": "utf-8", "allow_outside": False}],
    "write_json": [{"path": "a", "data": 1, "encoding": "utf-8", "indent": 2, "allow_outside": False}],
    "write_yaml": [{"path": "a", "data": 1, "encoding": "utf-8", "allow_outside": False}],
}  # fmt: skip
"""Further inputs of tasks that have more of them than a valid step needs."""

OF_THE_READER = ("batch", "workflow")
"""Tasks whose inputs the engine reads itself (test_loops.py, tasks/test_child_workflows.py)."""


class Noted(Mapping[str, Any]):
    """Inputs that note which of them are looked at."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self._inputs = inputs
        self.seen: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.seen.add(name)
        return self._inputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._inputs)

    def __len__(self) -> int:
        return len(self._inputs)


@pytest.mark.parametrize("name", sorted({*BUILT_IN} - {*OF_THE_READER}))
async def test_every_input_of_a_task_is_looked_at(name: str, tmp_path: Path, children: Children) -> None:
    """What a task takes it does something with."""
    task = Tasks().find(name)
    assert task is not None
    (tmp_path / "a.py").write_text("raise SystemExit(3)")
    (tmp_path / "a").write_text("1")
    given: set[str] = set()
    seen: set[str] = set()
    for inputs in (INPUTS[name], *FURTHER.get(name, ())):
        attempt = Attempt("run-1", "uid-1", "step", 1, 1, children, report_nothing)
        noted = Noted(task.checked(inputs))
        with suppress(Exception):  # nobody listens, and one of the files is moved away
            await task.run(
                TaskCall(
                    noted, tmp_path, attempt, environment_in(tmp_path, workflow_name="flow"), StepLog(None, "s", 1)
                )
            )
        given |= inputs.keys()
        seen |= noted.seen

    assert given == {each.name for each in task.inputs}  # an input without an example has to be looked at
    assert seen >= given
