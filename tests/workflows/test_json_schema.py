"""The JSON Schema for editors: it takes what the reader takes, and refuses what nobody means."""

from __future__ import annotations

import random
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from flujo.kernel.errors import DefinitionError
from flujo.workflows.definition_reader import read_definition
from flujo.workflows.documents import Problems, read_document
from flujo.workflows.json_schema import DIALECT, schema_of_definitions
from flujo.workflows.parameters import KEYWORDS
from flujo.workflows.registry import Tasks
from workflows.test_docs import blocks
from workflows.test_mutations import definitions, mutated

STARTERS = sorted((Path(__file__).parents[2] / "cli" / "flujo" / "cli" / "starters").glob("*.yaml"))
HEAD = "name: x\nsteps:\n  - {name: a, task: noop}\n"


@cache
def validator() -> Any:
    """What checks values against the schema; it has been checked itself."""
    kind = import_module("jsonschema").Draft202012Validator
    schema = schema_of_definitions()
    kind.check_schema(schema)
    return kind(schema)


def value_of(text: str) -> Any:
    """A YAML text as an editor sees it."""
    problems = Problems("x.yaml")
    root = read_document(text, problems)
    problems.raise_if_any()
    assert root is not None
    return root.plain()


def complaints(text: str) -> list[str]:
    """What the schema says of a text."""
    return [error.message for error in validator().iter_errors(value_of(text))]


@pytest.mark.parametrize(("place", "text"), blocks(), ids=lambda value: value if ".md:" in value[:40] else "")
def test_every_definition_of_the_docs_fits(place: str, text: str) -> None:
    """As the reader takes them."""
    assert complaints(text) == []


@pytest.mark.parametrize("text", [*definitions(), *(path.read_text() for path in STARTERS)])
def test_every_example_fits(text: str) -> None:
    """And every file to start from."""
    assert complaints(text) == []


def test_whatever_the_reader_accepts_fits() -> None:
    """Tried with changed definitions: an editor must not complain of what runs."""
    chance = random.Random(7)
    accepted = 0
    texts = definitions()
    while accepted < 300:
        text = mutated(chance, chance.choice(texts))
        try:
            read_definition(text, "x.yaml", Tasks())
        except DefinitionError:
            continue
        accepted += 1
        assert complaints(text) == [], text


@pytest.mark.parametrize(
    "text",
    [
        "steps: []\n",
        "name: x\n",
        "name: x\nsteps: []\n",
        f"{HEAD}stepz: 1\n",
        f"{HEAD}timeout: []\n",
        f"{HEAD}max_parallel: 0\n",
        f"{HEAD}params: {{a: {{type: text}}}}\n",
        f"{HEAD}params: {{a: {{typ: string}}}}\n",
        f"{HEAD}flows: {{default: x}}\n",
        f"{HEAD}flows: {{definitions: [{{x: a}}]}}\n",
        f"{HEAD}imports: [{{file: x}}]\n",
        f"{HEAD}settings: {{on_overlap: wait}}\n",
        f"{HEAD}defaults: {{retires: 1}}\n",
        f"{HEAD}env: [A]\n",
        "name: x\nsteps: [{name: a}]\n",
        "name: x\nsteps: [{task: noop}]\n",
        "name: x\nsteps: [{name: 2a, task: noop}]\n",
        "name: x\nsteps: [{name: a, task: noop, wenn: x}]\n",
        "name: x\nsteps: [{name: a, task: noop, retry: {tries: 3}}]\n",
        "name: x\nsteps: [{name: a, task: noop, retry: -1}]\n",
        "name: x\nsteps: [{name: a, task: noop, on_error: ignore}]\n",
        "name: x\nsteps: [{name: a, task: noop, on_error: {then: stop}}]\n",
        "name: x\nsteps: [{name: a, task: echo, inputs: {mesage: x}}]\n",
        "name: x\nsteps: [{name: a, task: shell, inputs: {command: 3}}]\n",
        "name: x\nsteps: {a: {task: shell, params: {check: 'no'}}}\n",
    ],
)
def test_mistakes_are_complained_of(text: str) -> None:
    """Those an editor can know of."""
    assert complaints(text) != []


def test_it_says_which_dialect_it_is_and_knows_all_keywords_of_parameters() -> None:
    """Editors ask for the first; the second is declared twice."""
    schema = schema_of_definitions()

    assert schema["$schema"] == DIALECT
    assert schema["$defs"]["parameter"]["properties"].keys() == KEYWORDS.keys()


def test_every_key_says_what_it_means() -> None:
    """As an editor shows it to who points at the key: at the top and of a step."""
    schema = schema_of_definitions()

    for properties in (schema["properties"], schema["$defs"]["step"]["properties"]):
        assert all(each["description"] for each in properties.values())
