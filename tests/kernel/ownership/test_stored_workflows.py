"""Workflows that a store has by name: any kernel of the store starts them."""

from __future__ import annotations

import pytest

from flujo.kernel import Context, workflow
from flujo.kernel.api import PutOutcome
from flujo.kernel.errors import DeclarationError, WorkflowFixedError, WorkflowNotFoundError
from flujo.workflows import load_workflow_text
from kernel.flows import doubling
from kernel.harness import Harness

TEXT = "name: greeting\nsteps: [{name: say, task: noop}]\noutputs: {it: one}"


def load(stored):  # type: ignore[no-untyped-def]
    """What a server loads definitions with."""
    return load_workflow_text(stored.text, "stored.yaml")


async def test_a_kernel_starts_what_another_one_has_put() -> None:
    """Without being told: the store knows. What is put last counts, and what is deleted is not started any more."""
    harness = Harness()
    one = harness.kernel(doubling, load_definition=load)
    other = harness.kernel(doubling, load_definition=load)
    async with one, other:
        first = load_workflow_text(TEXT, "greeting.yaml")
        assert await one.put_workflow(first) is PutOutcome.CREATED
        assert await other.put_workflow(first) is PutOutcome.UNCHANGED
        assert await other.run("greeting") == {"it": "one"}
        second = load_workflow_text(TEXT.replace("one", "two"), "greeting.yaml")
        assert await other.put_workflow(second) is PutOutcome.REPLACED
        assert await one.run("greeting") == {"it": "two"}
        assert [each.workflow for each in await one.stored_workflows()] == ["greeting"]
        await one.delete_workflow("greeting")
        with pytest.raises(WorkflowNotFoundError):
            await other.start("greeting")


async def test_a_program_starts_a_stored_workflow_as_its_child() -> None:
    """By its name, as one that the kernel was given."""

    @workflow()
    async def parent(ctx: Context) -> object:
        return await ctx.run_child("greeting")

    async with Harness().kernel(parent, load_definition=load) as kernel:
        await kernel.put_workflow(load_workflow_text(TEXT, "greeting.yaml"))

        assert await kernel.run("parent") == {"it": "one"}


async def test_what_a_kernel_was_given_stays_as_it_is() -> None:
    """Nothing takes its place, and a program is nothing that a store can hold."""
    async with Harness().kernel(doubling, load_definition=load) as kernel:
        with pytest.raises(WorkflowFixedError):
            await kernel.put_workflow(load_workflow_text("name: doubling\nsteps: [{name: a, task: noop}]", "x.yaml"))
        with pytest.raises(WorkflowFixedError):
            await kernel.delete_workflow("doubling")
        with pytest.raises(DeclarationError):
            await kernel.put_workflow(doubling)
