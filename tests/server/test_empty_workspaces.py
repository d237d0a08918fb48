"""A run whose workspace is gone goes on with an empty one if a resume says so, also on a server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flujo.kernel import RunHandle
from flujo.kernel.errors import StepNotFoundError
from flujo.kernel.events import StepWaiting
from flujo.server.listening import load_stored
from flujo.workflows import load_workflow
from kernel.harness import Harness
from server.harness import Through

WORK = """\
name: work
steps:
  - {name: fetch, task: write_file, inputs: {path: page, content: all}}
  - {name: approve, task: wait_signal}
  - {name: count, task: list_files, inputs: {path: .}}
outputs: {found: "{{ steps.count.result }}"}
"""


@pytest.fixture
def through_loss(through: Through, folder: Path) -> tuple[Through, Path]:
    """The way to the runs, and the folder of their workspaces."""
    (folder / "work.yaml").write_text(WORK, encoding="utf-8")
    return through, folder / "w"


async def _until_it_waits(handle: RunHandle) -> None:
    async for event in handle.watch():
        if isinstance(event.fact, StepWaiting):
            return


async def test_it_is_made_where_the_run_goes_on(through_loss: tuple[Through, Path], folder: Path) -> None:
    """A plain resume only pauses the run again; a refused one makes nothing that the next one would work in."""
    through, workspaces = through_loss
    kernel = Harness().kernel(workspaces=workspaces, load_definition=load_stored)
    async with through(kernel) as runs:
        handle = await runs.start(load_workflow(folder / "work.yaml"), run_id="r")
        await _until_it_waits(handle)
        shutil.rmtree(workspaces / "r")
        await runs.signal("r", "approve")
        assert (await runs.wait("r")).paused_reason == "WorkspaceGone"
        with pytest.raises(StepNotFoundError):
            await runs.resume("r", from_step="missing", empty_workspace=True)
        assert not (workspaces / "r").exists()
        await runs.resume("r")
        assert (await runs.wait("r")).paused_reason == "WorkspaceGone"

        await runs.resume("r", empty_workspace=True)

        assert (await runs.result("r"))["found"]["files"] == []
        assert (workspaces / "r").stat().st_mode & 0o777 == 0o700


async def test_one_that_cannot_be_made_is_still_gone(through_loss: tuple[Through, Path], folder: Path) -> None:
    """The run is paused again, and no kernel ends."""
    through, workspaces = through_loss
    kernel = Harness().kernel(workspaces=workspaces, load_definition=load_stored)
    async with through(kernel) as runs:
        handle = await runs.start(load_workflow(folder / "work.yaml"), run_id="r")
        await _until_it_waits(handle)
        shutil.rmtree(workspaces / "r")
        (workspaces / "r").write_text("in the way", encoding="utf-8")
        await runs.signal("r", "approve")
        await runs.wait("r")

        await runs.resume("r", empty_workspace=True)

        assert (await runs.wait("r")).paused_reason == "WorkspaceGone"
