"""What a fork of a YAML run knows of the files around its definition."""

from __future__ import annotations

from pathlib import Path

import pytest

from flujo.backends import InMemoryBackend
from flujo.kernel import Kernel
from flujo.server.listening import load_stored
from flujo.workflows import load_workflow_text

PARENT = """\
name: parent
params: {data: {type: string, format: path}}
env_files: [settings.env]
steps:
  - {name: child, task: workflow, inputs: {file: child.yaml}}
outputs: {of: "{{ steps.child.result.said }} {{ env.GREETING }} {{ data }}"}
"""

CHILD = """\
name: child
steps: [{name: say, task: echo, inputs: {message: hello}}]
outputs: {said: "{{ steps.say.result }}"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where somebody has a workflow and what it needs, and starts it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "child.yaml").write_text(CHILD)
    (tmp_path / "mine" / "settings.env").write_text("GREETING=good morning\n")
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path / "mine"


async def test_a_fork_finds_what_the_run_has_found_whoever_makes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server has the text of a definition only, and is in another folder: the run says where its files were."""
    workflow = load_workflow_text(PARENT, str(folder / "parent.yaml"))
    async with Kernel(InMemoryBackend(), workspaces=folder / "ws", load_definition=load_stored) as kernel:
        first = await kernel.run(workflow, {"data": "in"}, run_id="first")
        monkeypatch.chdir("/")
        second = await (await kernel.fork("first", from_step="child", new_run_id="second")).result()
        of_first, of_second = await kernel.inspect("first"), await kernel.inspect("second")

    assert first == {"of": f"hello good morning {folder}/in"}
    assert second == first
    places = ("workflow_file", "workflow_dir", "start_dir")
    assert [of_second.environment[key] for key in places] == [of_first.environment[key] for key in places]
