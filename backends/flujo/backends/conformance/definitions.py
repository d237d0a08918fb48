"""Definitions that come with their runs."""

from __future__ import annotations

from flujo.kernel.backend import (
    StoredDefinition,
)
from flujo.kernel.errors import (
    WorkflowNotFoundError,
)

from .harness import Harness, behaviour, raising
from .values import create, creation

DEFINITION = StoredDefinition("digest", "report", "1", "name: report\nsteps: []\n")


@behaviour
async def a_definition_is_stored_with_its_run(harness: Harness) -> None:
    """The definition of a creation is found by its digest, with or without a version."""
    one = await harness.open("one")
    unversioned = StoredDefinition("other", "report", None, "ü")
    await create(one, creation("a", brings=DEFINITION), creation("b", brings=unversioned))

    assert await one.get_definition("digest") == DEFINITION
    assert await one.get_definition("other") == unversioned


@behaviour
async def a_definition_is_stored_once(harness: Harness) -> None:
    """Many runs may bring the same definition, in one batch and in several."""
    one = await harness.open("one")
    for batch in range(2):
        await create(one, *(creation(f"run{batch}-{number}", brings=DEFINITION) for number in range(3)))

    assert await one.get_definition("digest") == DEFINITION


@behaviour
async def a_refused_creation_brings_no_definition(harness: Harness) -> None:
    """The definition of a refused creation is not stored."""
    one = await harness.open("one")
    await create(one, creation("a"))
    await one.append([creation("a", brings=DEFINITION)])

    with raising(WorkflowNotFoundError):
        await one.get_definition("digest")


@behaviour
async def an_unknown_definition_is_an_error(harness: Harness) -> None:
    """Asking for a digest that is not stored raises WorkflowNotFoundError."""
    one = await harness.open("one")

    with raising(WorkflowNotFoundError):
        await one.get_definition("digest")


@behaviour
async def a_definition_is_there_for_everybody(harness: Harness) -> None:
    """Another handle, and one that opens later, finds a definition too, whatever became of the run that brought it."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", None, brings=DEFINITION))
    reader = await harness.open(None)
    assert await reader.get_definition("digest") == DEFINITION
    await one.close()

    assert await (await harness.open("two")).get_definition("digest") == DEFINITION
    assert await reader.load("a") == summary


@behaviour
async def large_definitions_are_kept(harness: Harness) -> None:
    """A definition of a mebibyte of any script comes back unchanged."""
    one = await harness.open("one")
    large = StoredDefinition("large", "report", "2", "größe: 走る\n" * (1 << 16))
    await create(one, creation("a", brings=large))

    assert await one.get_definition("large") == large


@behaviour
async def definitions_are_told_apart(harness: Harness) -> None:
    """Definitions are told apart by their digests, and each keeps its workflow, version and text."""
    one = await harness.open("one")
    several = [StoredDefinition(f"digest{n}", f"report{n}", str(n) if n % 2 else None, f"n: {n}\n") for n in range(5)]
    await create(one, *(creation(f"run{n}", brings=each) for n, each in enumerate(several)))

    assert [await one.get_definition(each.digest) for each in several] == several


@behaviour
async def a_workflow_is_stored_under_its_name(harness: Harness) -> None:
    """What is put last under a name is what everybody finds there, under the digest of its text; what it replaces is
    returned. A definition that a run has stored stays what it was."""
    one = await harness.open("one")
    await create(one, creation("a", brings=DEFINITION))
    first = StoredDefinition("whatever", "report: ä/Ö", None, "name: first\n")
    second = first._replace(version="2", text="name: zweite\nsteps: [ü]\n")

    assert await one.put_workflow(first) is None
    assert await one.put_workflow(second) == first.of_its_text()
    for each in (one, await harness.open("two"), await harness.open(None)):
        assert await each.get_workflow(first.workflow) == second.of_its_text()
        assert await each.get_definition("digest") == DEFINITION


@behaviour
async def workflows_are_listed_by_their_names(harness: Harness) -> None:
    """Whatever runs have stored is not among them."""
    one = await harness.open("one")
    await create(one, creation("a", brings=DEFINITION))
    put = [StoredDefinition("d", name, "1", f"name: {name}\n") for name in ("b", "a", "Z", "report", "ä")]
    for each in put:
        await one.put_workflow(each)

    names = ["Z", "a", "b", "report", "ä"]
    assert [each.workflow for each in await one.stored_workflows()] == names
    assert {each.text for each in await one.stored_workflows()} == {each.text for each in put}


@behaviour
async def a_deleted_workflow_is_gone_for_everybody(harness: Harness) -> None:
    """Deleting it once more is an error, and so is asking for it; another of its kind stays."""
    one = await harness.open("one")
    for name in ("report", "Report"):
        await one.put_workflow(StoredDefinition("d", name, "1", f"name: {name}\n"))
    await one.delete_workflow("report")

    for each in (one, await harness.open("two")):
        with raising(WorkflowNotFoundError):
            await each.get_workflow("report")
        with raising(WorkflowNotFoundError):
            await each.delete_workflow("report")
        assert [found.workflow for found in await each.stored_workflows()] == ["Report"]
