"""A run whose text cannot be rebuilt here, since a task is missing: what is asked of it is kept for who can go on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flujo.kernel import Kernel, Observer, Workflow
from flujo.kernel.backend import StoredDefinition
from flujo.kernel.errors import DefinitionError
from flujo.workflows import load_workflow_text
from kernel.harness import until
from workflows.played import PlayHarness

TEXT = "name: flow\nsteps:\n- {name: go, task: wait_signal}\n- {name: next, task: play}\n"


def without_the_task(stored: StoredDefinition) -> Workflow:
    """What a kernel makes of the text that does not have the task `play`."""
    return load_workflow_text(stored.text, "flow.yaml")


def with_a_broken_package(stored: StoredDefinition) -> Workflow:
    """What a kernel makes of it whose loader fails in a way that nobody has foreseen."""
    raise RuntimeError("half installed")


async def waiting_run() -> PlayHarness:
    """A run that waits for the signal `go`."""
    harness = PlayHarness()
    workflow = harness.load_text(TEXT)
    async with harness.kernel(workflow) as kernel:
        await kernel.start(workflow, run_id="r")
        await until(kernel, "r", "step_waiting", "go")
    return harness


loaders = pytest.mark.parametrize(
    ("load", "problem"),
    [
        (without_the_task, "there is no task `play`"),
        (with_a_broken_package, "RuntimeError: half installed"),
    ],
    ids=["missing", "broken"],
)


@loaders
async def test_every_signal_is_stored(load: Callable[[StoredDefinition], Workflow], problem: str) -> None:
    """The first as the second, and the run goes on with both where its task is there."""
    harness = await waiting_run()
    async with harness.kernel(load_definition=load) as kernel:
        first = await kernel.signal("r", "go", 1)
        second = await kernel.signal("r", "go", 2)
        (reason,) = (await kernel.explain("r")).reasons
    assert (first, second) == ("stored", "stored")
    assert reason.why == "unregistered"
    assert reason.text.startswith("no process runs it, and its definition cannot be used here: ")
    assert problem in reason.text
    assert not any("resume" in command for command in reason.commands)

    state = await harness.recover()

    assert (state.status, state.steps["go"].output) == ("completed", 1)
    assert [signal.payload for signal in state.signals["go"]] == ["2"]


ASKED: dict[str, Callable[[Kernel], Awaitable[Any]]] = {
    "pause": lambda kernel: kernel.pause("r"),
    "set_variable": lambda kernel: kernel.set_variable("r", "x", 1),
    "cancel": lambda kernel: kernel.cancel("r"),
}


@loaders
@pytest.mark.parametrize("what", ASKED)
async def test_what_else_is_asked_needs_no_task_either(
    what: str, load: Callable[[StoredDefinition], Workflow], problem: str
) -> None:
    """It is recorded by the kernel that is asked."""
    harness = await waiting_run()
    seq = harness.journal_state().seq
    async with harness.kernel(load_definition=load) as kernel:
        await ASKED[what](kernel)

    assert harness.journal_state().seq > seq


async def test_who_only_looks_sees_it_as_well() -> None:
    """An observer that knows how texts are loaded."""
    harness = await waiting_run()

    async with harness.backend() as backend:
        observer = Observer(backend, load_definition=without_the_task)
        assert "there is no task `play`" in (await observer.explain("r")).reasons[0].text
    with pytest.raises(DefinitionError):
        async with harness.kernel(load_definition=without_the_task, recover=False) as kernel:
            await kernel.resume("r")
