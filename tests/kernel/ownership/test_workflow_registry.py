"""The workflows a kernel knows, and what becomes of runs of others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flujo.backends.memory import InMemoryBackend, MemoryStore
from flujo.kernel import Context, Kernel, StoredDefinition, Workflow, WorkflowState, workflow
from flujo.kernel.errors import (
    CorruptStoreError,
    DeclarationError,
    StateIncompatibilityError,
    StoreError,
    WorkflowNotFoundError,
)
from flujo.kernel.events import Fact, RunCreated
from flujo.kernel.ownership.workflow_registry import WorkflowRegistry
from kernel.flows import doubling, waiting
from kernel.harness import Harness, crash
from kernel.journal.histories import done, history


async def test_a_run_whose_workflow_is_not_registered_waits_for_it() -> None:
    """A kernel without the workflow leaves the run alone, and one that has it goes on with it."""
    harness = Harness()
    async with harness.kernel(waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        crash(kernel)
    before = harness.summary("r")

    async with harness.kernel(doubling):
        unchanged = harness.summary("r")
    async with harness.kernel(waiting) as kernel:
        await kernel.signal("r", "go", 1)
        output = await kernel.result("r")

    assert unchanged == before
    assert output == 1


async def test_two_programs_of_one_name_are_refused() -> None:
    """A kernel that has a workflow refuses another program under its name: a stored run could not tell them apart."""

    @workflow(name="same")
    async def first(ctx: Context) -> int:
        return 1

    @workflow(name="same")
    async def second(ctx: Context) -> int:
        return 2

    async with Harness().kernel(first) as kernel:
        with pytest.raises(DeclarationError, match="another workflow called 'same'"):
            await kernel.start(second)

        assert await kernel.run(first) == 1


def written(digest: str, plan: list[tuple[str, ...]]) -> Workflow:
    """A workflow called `flow` that was read from a text with this digest."""
    return replace(flow, definition=StoredDefinition(digest, "flow", None, digest), plan=plan)


@workflow(name="flow")
async def flow(ctx: Context) -> None:
    pass


OLD, NEW = written("old", [("a", "1")]), written("new", [("a", "2")])
RECORDED = RunCreated("flow", "{}", definition="old", plan=[["a", "1"]])


@pytest.mark.parametrize(
    ("registered", "loads", "created", "found"),
    [
        ([OLD], True, RECORDED, OLD),  # the same text
        ([NEW], True, RECORDED, "rebuilt from old"),  # another text is registered: the run keeps its own
        ([], True, RECORDED, "rebuilt from old"),
        ([NEW], False, RECORDED, StateIncompatibilityError),  # and cannot be rebuilt
        ([], False, RECORDED, WorkflowNotFoundError),
        ([flow], True, RunCreated("flow", "{}"), flow),  # a program in Python has no text
        ([], True, RunCreated("flow", "{}"), WorkflowNotFoundError),
    ],
)
async def test_a_stored_run_goes_on_with_the_workflow_it_began_with(
    registered: list[Workflow], loads: bool, created: Fact, found: Any
) -> None:
    """The registered one where it is the same, or else the text the run has stored; never silently with another."""
    rebuilt = replace(OLD, version="rebuilt from old")
    registry = WorkflowRegistry(registered, (lambda text: replace(rebuilt, definition=text)) if loads else None)
    store = MemoryStore()
    async with Kernel(InMemoryBackend(store), [OLD], load_definition=lambda text: OLD) as kernel:
        await kernel.run(OLD)
        state = history(created, *done("a"))
        if isinstance(found, type):
            with pytest.raises(found):
                await registry.for_run(state, kernel.backend)
            return
        workflow = await registry.for_run(state, kernel.backend)

    assert found in (workflow, workflow.version)


@pytest.mark.parametrize(
    ("registered", "finds", "found"),
    [([], flow, flow), ([], None, WorkflowNotFoundError), ([flow], OLD, flow)],
    ids=["found", "not found", "registered"],
)
async def test_a_program_that_was_not_given_is_found_by_what_its_run_has_recorded(
    registered: list[Workflow], finds: Workflow | None, found: Any
) -> None:
    """One that was given comes first: whoever gave it has chosen."""
    asked: list[str] = []

    def load_program(state: WorkflowState) -> Workflow | None:
        asked.append(state.workflow)
        return finds

    registry = WorkflowRegistry(registered, None, load_program)

    try:
        answer: Any = await registry.for_run(history(RunCreated("flow", "{}")), InMemoryBackend())
    except WorkflowNotFoundError as error:
        answer = type(error)

    assert answer is found
    assert asked == ([] if registered else ["flow"])


async def test_a_resume_with_another_text_stores_it() -> None:
    """Or else nobody could go on with the run later."""

    @workflow(name="flow")
    async def fails(ctx: Context) -> None:
        raise ValueError("no")

    first, second = (
        replace(fails, definition=StoredDefinition(text, "flow", None, text), plan=[("a", "1")])
        for text in ("old", "new")
    )
    async with Harness().kernel(first) as kernel:
        await kernel.start(first, run_id="r")
        await kernel.wait("r")
        await kernel.resume("r", workflow=second)
        await kernel.wait("r")

        assert (await kernel.backend.get_definition("new")).text == "new"


class Unwilling(InMemoryBackend):
    """Raises an error whenever it is asked for a definition."""

    def __init__(self, error: Exception) -> None:
        super().__init__(MemoryStore())
        self.error = error

    async def get_definition(self, digest: str) -> StoredDefinition:
        raise self.error


@pytest.mark.parametrize(
    ("error", "obstacle"),
    [
        (CorruptStoreError("s", "a text was changed"), "s: the store is damaged: a text was changed"),
        (WorkflowNotFoundError("flow", []), str(WorkflowNotFoundError("flow", []))),
        (ValueError("no text"), "ValueError: no text"),
        (StoreError("s", "the disk is gone"), None),
    ],
)
async def test_what_keeps_a_run_from_going_on_is_told(error: Exception, obstacle: str | None) -> None:
    """A store that does not answer is none of that: it says nothing about the run."""
    registry = WorkflowRegistry([], lambda text: OLD)
    state = history(RECORDED, *done("a"))
    backend = Unwilling(error)
    if obstacle is None:
        with pytest.raises(StoreError, match="the disk is gone"):
            await registry.obstacle(state, backend)
    else:
        assert await registry.obstacle(state, backend) == obstacle


def test_what_may_go_on_here_has_a_name_or_a_text() -> None:
    """Others are not claimed by this kernel."""
    registry = WorkflowRegistry([flow], None)

    assert registry.may_know("flow", None)
    assert registry.may_know("other", "digest")
    assert not registry.may_know("other", None)


def test_a_name_that_is_not_registered_is_refused_with_those_that_are() -> None:
    """In the order of the alphabet."""
    with pytest.raises(WorkflowNotFoundError, match="doubling, flow"):
        WorkflowRegistry([flow, doubling], None).resolve("other")


async def test_two_workflows_of_one_name_are_refused_when_a_kernel_is_made() -> None:
    """The last one does not win in silence; the same one twice is one."""

    @workflow(name="same")
    async def first(ctx: Context) -> int:
        return 1

    @workflow(name="same")
    async def second(ctx: Context) -> int:
        return 2

    with pytest.raises(DeclarationError, match="another workflow called 'same'"):
        Harness().kernel(first, second)
    assert list(Harness().kernel(first, first).workflows) == ["same"]
