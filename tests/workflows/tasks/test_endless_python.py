"""Python that never ends, whatever it is doing: when it has been ended nothing of it is alive, and the loop went on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from acceptance.terminal import is_alive
from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Kernel, Workflow
from flujo.workflows import load_workflow
from workflows.endless import definition, each_way
from workflows.stalls import watched

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

MAX_STALL = 0.5
"""Processor time, in seconds, that may pass while the event loop does not come round: whoever ran one of these programs
in the loop would take all there is."""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


def a_kernel(workflow: Workflow, folder: Path) -> Kernel:
    """A kernel for a workflow, with its logs in a folder."""
    return Kernel(InMemoryBackend(), workflows=[workflow], workspaces=folder / "logs")


@each_way
async def test_nothing_of_it_is_alive_when_the_next_attempt_begins(step: str, way: str, workspace: Path) -> None:
    """After a timeout; the event loop goes on meanwhile."""
    text = definition(workspace, step, way, "timeout: 1s\n    retry: {max_attempts: 30, delay: 1ms}")
    workflow = load_workflow(text, workspace=workspace)
    async with a_kernel(workflow, workspace) as kernel, watched() as seen:
        await kernel.start(workflow, run_id="r")
        state = await kernel.wait("r")

    assert state.status == "completed", state.error
    assert (workspace / "found").read_text() == "[]"
    assert seen.stall < MAX_STALL


@each_way
async def test_nothing_of_it_is_alive_when_its_run_is_cancelled(step: str, way: str, workspace: Path) -> None:
    """The run has ended when all of it has."""
    os.mkfifo(workspace / "up")
    workflow = load_workflow(definition(workspace, step, way), workspace=workspace)
    async with a_kernel(workflow, workspace) as kernel, watched() as seen:
        await kernel.start(workflow, run_id="r")
        await anyio.to_thread.run_sync((workspace / "up").read_text)
        await kernel.cancel("r")
        state = await kernel.wait("r")

    assert state.status == "cancelled"
    begun = map(int, (workspace / "begun").read_text().split())
    assert not any(map(is_alive, begun))
    assert seen.stall < MAX_STALL
