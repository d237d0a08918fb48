"""Convert what is told of tasks to messages and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from flujo.v1 import workflow_service_pb2 as pb

from .limits import shorten

BUILT_IN = "flujo"
"""The source of tasks that come with flujo."""


class ServedTask(NamedTuple):
    """A task of a server. `inputs` and `result` are in the words of JSON Schema, with `required` for an input that a
    step has to give; `one_of` are groups of inputs of which exactly one is needed, `spellings` other words for inputs.
    Of a task that is installed there and cannot be used, `summary` says why."""

    name: str
    source: str
    summary: str
    inputs: Mapping[str, Mapping[str, Any]]
    one_of: Sequence[Sequence[str]]
    further_inputs: bool
    spellings: Mapping[str, str]
    result: Mapping[str, Any]


class Described(Protocol):
    """What a task is, as the place says where tasks are found."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def one_of(self) -> Sequence[Sequence[str]]: ...
    @property
    def further_inputs(self) -> bool: ...
    @property
    def spellings(self) -> Mapping[str, str]: ...
    @property
    def result(self) -> Mapping[str, Any]: ...


def to_task(task: Described) -> pb.Task:
    """Return the message of a task."""
    made = pb.Task(
        name=task.name,
        built_in=task.source == BUILT_IN,
        summary=task.summary,
        inputs=[_to_input(name, schema) for name, schema in task.inputs.items()],
        one_of=[pb.TaskInputGroup(inputs=group) for group in task.one_of],
        further_inputs=task.further_inputs,
        spellings=task.spellings,
        result_schema=json.dumps(task.result) if task.result else "",
    )
    shorten(made)
    return made


def from_task(message: pb.Task) -> ServedTask:
    """Return the task in a message."""
    return ServedTask(
        message.name,
        BUILT_IN if message.built_in else "installed",
        message.summary,
        {each.name: _from_input(each) for each in message.inputs},
        [list(group.inputs) for group in message.one_of],
        message.further_inputs,
        dict(message.spellings),
        json.loads(message.result_schema or "{}"),
    )


def _to_input(name: str, schema: Mapping[str, Any]) -> pb.TaskInput:
    rest = {word: value for word, value in schema.items() if word != "required"}
    return pb.TaskInput(name=name, schema=json.dumps(rest), required=bool(schema.get("required")))


def _from_input(message: pb.TaskInput) -> Mapping[str, Any]:
    schema: dict[str, Any] = json.loads(message.schema or "{}")
    return {**schema, "required": True} if message.required else schema
