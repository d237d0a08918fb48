"""Runs of a text that has no file, by every way to a kernel, where somebody has planted files of its name: beside the
server, beside the client and in the workspace. None of them is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from flujo.backends import InMemoryBackend
from flujo.kernel import Kernel
from flujo.server.listening import load_stored
from flujo.workflows import load_workflow

from .harness import Through

TEXT = """
name: flow
steps:
- {name: go, task: wait_signal}
- {name: check, task: shell, inputs: {command: "test -e ok"}}
- {name: end, task: echo, inputs: {message: "THE TEXT [{{ workflow_file }}{{ workflow_dir }}]"}}
outputs: {said: "{{ steps.end.result }}"}
"""

CALLS_A_FILE = """
name: flow
steps:
- {name: child, task: workflow, inputs: {file: child.yaml}}
"""


@pytest.fixture
def planted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of client and server, with files that claim to be the run's own; and as workspaces are made."""
    plant(folder)
    monkeypatch.chdir(folder)
    return folder


def plant(folder: Path) -> None:
    """Put files of every name there."""
    for name in ("flow", "workflow", "child"):
        (folder / f"{name}.yaml").write_text(TEXT.replace("flow", name, 1).replace("THE TEXT", "PLANTED"))


@pytest.mark.parametrize("name", ["flow", "workflow", "flow.yaml", "./flow"])
async def test_every_way_on_goes_on_with_the_text(name: str, planted: Path, through: Through) -> None:
    """A signal, a resume, a retry, a resume from a step and a fork, whatever the workflow is called."""
    workflow = load_workflow(TEXT.replace("flow", name, 1))
    kernel = Kernel(InMemoryBackend(), workspaces=planted / "ws", load_definition=load_stored)
    async with through(kernel) as runs:
        await runs.start(workflow, run_id="r")
        await runs.signal("r", "go")
        await runs.wait("r")
        workspace = planted / "ws" / "r"
        plant(workspace)
        await (await runs.resume("r")).wait()
        (workspace / "ok").touch()

        said = [(await (await runs.resume("r")).result())["said"]]
        said.append((await (await runs.resume("r", from_step="end")).result())["said"])
        said.append((await (await runs.fork("r", from_step="end", new_run_id="f")).result())["said"])
        environment = (await runs.inspect("f")).environment

    assert said == ["THE TEXT []"] * 3
    assert "workflow_file" not in environment


async def test_a_child_of_a_text_is_not_looked_for_beside_anybody(planted: Path, through: Through) -> None:
    """Its path counts from the file of the workflow, and there is none."""
    kernel = Kernel(InMemoryBackend(), workspaces=planted / "ws", load_definition=load_stored)
    async with through(kernel) as runs:
        await runs.start(load_workflow(CALLS_A_FILE), run_id="r")
        state = await runs.wait("r")

    assert state.error is not None
    assert state.error.type == "ChildFileError"
    assert "'child.yaml' counts from the file of this workflow, and it has none" in state.error.message
