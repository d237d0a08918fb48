"""Runs of a text that has no file, in a folder where somebody has planted files of its name: none of them is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.backends import open_backend
from flujo.kernel import Kernel
from flujo.workflows import load_workflow
from flujo.workflows.loading import load_stored_text

from .conftest import Flujoctl

TEXT = """
name: flow
steps:
- {name: go, task: wait_signal}
- {name: check, task: shell, inputs: {command: "test -e ok"}}
- {name: end, task: echo, inputs: {message: "THE TEXT [{{ workflow_file }}]"}}
"""


@pytest.fixture(params=["flow", "workflow"])
def name(request: pytest.FixtureRequest, folder: Path) -> str:
    """The name of a run of this text that waits, beside files that claim to be it."""
    named = TEXT.replace("flow", str(request.param), 1)
    for each in ("flow", "workflow"):
        (folder / f"{each}.yaml").write_text(named.replace("THE TEXT", "PLANTED"))

    async def start() -> None:
        backend = open_backend("sqlite:.flujo/state.db")
        async with Kernel(backend, workspaces=folder / ".flujo" / "workspaces") as kernel:
            await kernel.start(load_workflow(named), run_id="r")

    anyio.run(start)
    return str(request.param)


def said(flujoctl: Flujoctl, run_id: str = "r") -> Any:
    """What the last step of a run has said."""
    state = json.loads(flujoctl("inspect", run_id, "-o", "json").out)
    return state["step_outputs"]["end"]["result"]


def test_every_way_on_goes_on_with_the_text(name: str, folder: Path, flujoctl: Flujoctl) -> None:
    """A signal, a resume, a retry, a resume from a step and a fork."""
    flujoctl("signal", "r", "go")
    assert flujoctl("resume", "r").code == 1
    (folder / ".flujo" / "workspaces" / "r" / "ok").touch()

    assert flujoctl("retry", "r").code == 0
    assert said(flujoctl) == "THE TEXT []"
    assert flujoctl("resume", "r", "--from-step", "end").code == 0
    assert said(flujoctl) == "THE TEXT []"
    assert flujoctl("fork", "r", "--from-step", "end", "--id", "f").code == 0
    assert said(flujoctl, "f") == "THE TEXT []"


def test_nothing_is_said_of_a_file_that_there_never_was(name: str, flujoctl: Flujoctl) -> None:
    """`diff` asks for one."""
    ended = flujoctl("diff", "r")

    assert ended.code == 3
    assert "run 'r' was started from a text that has no file" in ended.err
    assert "flujoctl diff r FILE" in ended.err


def test_a_name_that_looks_like_a_path_is_none(folder: Path) -> None:
    """A workflow that a store has by name is started from its text alone."""
    (folder / "flow.yaml").write_text(TEXT.replace("THE TEXT", "PLANTED"))
    workflow = load_workflow(TEXT.replace("flow", f"{folder}/flow", 1))
    assert workflow.definition is not None

    assert load_stored_text(workflow.definition).file is None
