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
