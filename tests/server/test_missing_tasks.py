"""A run whose text a server cannot rebuild, since a task is missing there: what is asked over the wire is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flujo.backends import open_backend
from flujo.kernel import Kernel, Runs, Workflow
from flujo.kernel.backend import StoredDefinition
from flujo.kernel.errors import DefinitionError
from flujo.workflows import load_workflow_text, task
from flujo.workflows.loading import load_stored_text
from flujo.workflows.registry import TaskCall
from kernel.harness import until
from server.harness import Through

TEXT = "name: flow\nsteps:\n- {name: go, task: wait_signal}\n- {name: next, task: mine}\n"


@task("mine")
async def mine(call: TaskCall) -> str:
    """Say who was here."""
    return "mine"


def with_the_task(stored: StoredDefinition) -> Workflow:
    """What a server makes of a text where the task is installed."""
    return load_stored_text(stored, tasks=[mine])


def kernel_in(folder: Path, load: Callable[[StoredDefinition], Workflow]) -> Kernel:
    """A kernel on the store of the test."""
    return Kernel(open_backend(f"sqlite:{folder}/state.db"), workspaces=folder / "w", load_definition=load)


@asynccontextmanager
async def lacking_the_task(through: Through) -> AsyncIterator[Runs]:
    """The runs of a kernel without the task, one of which, `r`, waits for the signal `go`."""
    async with kernel_in(through.folder, with_the_task) as kernel:
        await kernel.start(load_workflow_text(TEXT, "flow.yaml", tasks=[mine]), run_id="r")
        await until(kernel, "r", "step_waiting", "go")
    async with through(kernel_in(through.folder, load_stored_text)) as runs:
        yield runs


async def test_a_signal_is_stored_and_explained_and_taken_where_the_task_is(through: Through) -> None:
    """The first as the second."""
    async with lacking_the_task(through) as runs:
        sent = [await runs.signal("r", "go", number) for number in (1, 2)]
        (reason,) = (await runs.explain("r")).reasons
    assert sent == ["stored", "stored"]
    assert (reason.why, "there is no task `mine`" in reason.text) == ("unregistered", True)
    assert not any("resume" in command for command in reason.commands)

    async with kernel_in(through.folder, with_the_task) as kernel:
        state = await kernel.wait("r")

    assert (state.status, state.steps["go"].output, state.steps["next"].output) == ("completed", 1, "mine")


async def test_a_pause_is_kept_and_told_with_what_keeps_the_run_besides(through: Through) -> None:
    """No remedy is named that would fail, and an unpause says why it does."""
    async with lacking_the_task(through) as runs:
        await runs.pause("r")
        reason = (await runs.explain("r")).reasons[0]
        with pytest.raises(DefinitionError, match="there is no task `mine`") as refused:
            await runs.unpause("r")
    assert (reason.why, "there is no task `mine`" in reason.text) == ("paused", True)
    assert not any("resume" in command for command in reason.commands)
    assert refused.value.hints

    async with kernel_in(through.folder, with_the_task) as kernel:
        await kernel.unpause("r")
        await kernel.signal("r", "go", 3)
        assert (await kernel.wait("r")).steps["go"].output == 3


OTHERS: dict[str, Callable[[Runs], Awaitable[Any]]] = {
    "cancel": lambda runs: runs.cancel("r"),
    "set": lambda runs: runs.set_variable("r", "x", 1),
}


@pytest.mark.parametrize("what", OTHERS)
async def test_what_needs_no_task_is_recorded(what: str, through: Through) -> None:
    """A cancel, and a variable that the run has when it goes on."""
    async with lacking_the_task(through) as runs:
        await OTHERS[what](runs)
        state = await runs.inspect("r")

    assert state.status == "cancelled" if what == "cancel" else state.variables == {"x": 1}
    async with kernel_in(through.folder, with_the_task) as kernel:
        if what == "cancel":
            await kernel.resume("r")
        await kernel.signal("r", "go")
        state = await kernel.wait("r")
    assert state.status == "completed"
