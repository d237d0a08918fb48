"""The JSON Schema (2020-12) of a definition, for editors: made of the keys the reader knows and of what tasks declare.

It accepts every definition the reader accepts. What it cannot say, such as which steps there are, only the reader does.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from flujo.kernel.errors import DeclarationError
from flujo.kernel.programs import KEYS as RETENTION_KEYS
from flujo.kernel.programs import Overlap

from . import meanings
from .definition_keys import (
    DEFAULTS_KEYS,
    ERROR_HANDLING_KEYS,
    FLOWS_KEYS,
    IMPORT_KEYS,
    LOOP_KEYS,
    ON_ERROR_KEYS,
    PROGRESS_KEYS,
    REPEAT_KEYS,
    RETRY_KEYS,
    STEP_KEYS,
    TOP_KEYS,
)
from .parameters import TYPES, Parameter, keywords_of
from .reading import NUMBERS
from .registry import Task, Tasks
from .tasks.batch import batch

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_BOOLEAN: Schema = {"type": "boolean"}
_SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_TEXTS: Schema = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_DURATION: Schema = {"type": ["string", "number"], "minimum": 0, "description": "90, 90s, 1h30m, 2w or PT1H30M"}
_TEMPLATE: Schema = {"type": "string", "pattern": r"\{\{|\{%"}
_ANY: Schema = {}


def schema_of_definitions(tasks: Tasks | None = None) -> Schema:
    """Return the schema of a workflow file whose steps call these tasks, by default those there are."""
    known = _found(tasks or Tasks())
    return {
        "$schema": DIALECT,
        "title": "A flujo workflow",
        "type": "object",
        "properties": _told(_only(TOP_KEYS, _TOP), meanings.TOP),
        "required": ["name"],
        "anyOf": [{"required": ["steps"]}, {"required": ["imports"]}],
        "additionalProperties": False,
        "$defs": {
            "step": _step(known),
            "retry": _RETRY,
            "on_error": _ON_ERROR,
            "parameter": _parameter_schema(),
            **{f"task.{task.name}": _inputs_of(task) for task in known},
        },
    }


def schema_of(parameter: Parameter) -> Schema:
    """Return what a value may be, in the words of JSON Schema."""
    given = keywords_of(parameter)
    return given if parameter.items is None else {**given, "items": _or_template(schema_of(parameter.items))}


def _found(tasks: Tasks) -> list[Task]:
    """Return the tasks that can be imported, each by one name."""
    found: dict[str, Task] = {}
    for name in tasks.names():
        try:
            task = tasks.find(name)
        except DeclarationError:
            continue
        if task is not None:
            found.setdefault(name, task)
    return [task for name, task in found.items() if name == task.name]


def _only(keys: Iterable[str], schemas: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the schemas of these keys: a key without one is a mistake here, which a test finds."""
    return {key: schemas[key] for key in keys}


def _told(schemas: Mapping[str, Schema], told: Mapping[str, str]) -> dict[str, Schema]:
    """Return the schemas with what their keys mean, which editors show."""
    return {key: {**schema, "description": told[key]} for key, schema in schemas.items()}


def _mapping(keys: Iterable[str], schemas: Mapping[str, Schema], **more: Any) -> Schema:
    """Return the schema of a mapping; what has no value in one is not given."""
    properties = {key: _or_nothing(schema) for key, schema in _only(keys, schemas).items()}
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


def _or_template(schema: Schema) -> Schema:
    """Return the schema of a value that may be written as a template, which stands for a value of any type."""
    return schema if not schema else {"anyOf": [schema, _TEMPLATE]}


def _or_nothing(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _number(key: str) -> Schema:
    return schema_of(NUMBERS[key])


# -- steps ------------------------------------------------------------------------------------------------------------


def _step(tasks: Iterable[Task]) -> Schema:
    names = sorted(task.name for task in tasks)
    by_task = [
        {
            "if": {"properties": {"task": {"const": task.name}}, "required": ["task"]},
            "then": {"properties": {"inputs": _ref(f"task.{task.name}"), "params": _ref(f"task.{task.name}")}},
        }
        for task in tasks
    ]
    return {
        "type": "object",
        "properties": _told({**_only(STEP_KEYS, _STEP), "task": {"anyOf": [{"enum": names}, _TEXT]}}, meanings.STEP),
        "required": ["task"],
        "additionalProperties": False,
        "allOf": by_task,
    }


def _inputs_of(task: Task) -> Schema:
    """Return the schema of what stands under `inputs` or `params`: what is required may be under the other one."""
    inputs = {each.name: _or_template(schema_of(each)) for each in task.inputs}
    if task is batch:  # which the reader looks at itself: what has no value is not given
        inputs = {name: _or_nothing(schema) for name, schema in inputs.items()}
    spellings = {spelling: inputs[meant] for spelling, meant in task.spellings.items() if meant in inputs}
    return {
        "type": ["object", "null"],
        "description": (inspect.getdoc(task.run) or "").partition("\n\n")[0],
        "properties": {**inputs, **spellings, **{key: _STEP[key] for key in PROGRESS_KEYS}},
        **({} if task.takes_any_input else {"additionalProperties": False}),
    }


_RULES: Schema = {**_TEXTS, "description": "regular expressions for what a failure says"}

_RETRY: Schema = {
    "anyOf": [
        {"type": ["integer", "null"], "minimum": 0, "description": "the number of further attempts"},
        _mapping(
            RETRY_KEYS,
            {
                "max_attempts": _number("max_attempts"),
                "delay": _DURATION,
                "backoff": _number("backoff"),
                "max_delay": _DURATION,
                "jitter": _number("jitter"),
                "on_error": _TEXTS,
                "on_status": {"type": ["array", "string", "integer"]},
                "exit_codes": {"type": ["array", "integer"], "items": {"type": "integer"}},
                "on_text": _RULES,
                "give_up_on": _TEXTS,
                "give_up_on_text": _RULES,
                "max_elapsed": _DURATION,
            },
        ),
    ]
}

_ON_ERROR: Schema = {
    "anyOf": [
        {"enum": ["fail", "continue", None]},
        _mapping(
            ON_ERROR_KEYS,
            {
                "action": {"enum": ["fail", "continue", "retry"]},
                "retry": _number("retry"),
                "delay": _DURATION,
                "next": {"type": "string", "description": "the step to go on with"},
                "then": {"const": "fail", "description": "fail in the end"},
                "message": _TEXT,
            },
        ),
    ]
}

_LOOP: Schema = {
    "anyOf": [
        {"type": "array"},
        _TEMPLATE,
        _mapping(
            LOOP_KEYS,
            {
                "items": {"anyOf": [{"type": "array"}, _TEMPLATE]},
                "arg_name": _TEXT,
                "max_workers": _or_template(_number("max_workers")),
                "chunk_size": _or_template(_number("chunk_size")),
            },
        ),
        {"type": "null"},
    ]
}

_STEP: dict[str, Schema] = {
    "name": {"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_.\-]{0,99}$"},
    "task": _TEXT,
    "inputs": {"type": ["object", "null"]},
    "params": {"type": ["object", "null"]},
    "description": _TEXT,
    "depends_on": {"anyOf": [_TEXTS, {"type": "null"}]},
    "condition": {"type": ["string", "boolean", "null"]},
    "retry": _ref("retry"),
    "timeout": {"anyOf": [_DURATION, {"type": "null"}]},
    "on_error": _ref("on_error"),
    "always_run": {"type": ["boolean", "null"]},
    "for_each": _LOOP,
    "progress_update": {"type": ["boolean", "null"]},
    "progress_interval": {"anyOf": [_DURATION, {"type": "null"}]},
    "env": {"anyOf": [{"type": "object"}, _TEMPLATE]},
    "outputs": {"type": ["object", "null"]},
    "repeat": _or_nothing(
        _mapping(REPEAT_KEYS, {"until": _TEXT, "interval": _DURATION, "max": _number("max")}, required=["until"])
    ),
}

# -- the top level ----------------------------------------------------------------------------------------------------


def _parameter_schema() -> Schema:
    kinds = {"enum": list(TYPES)}
    keywords: dict[str, Schema] = {
        "type": {"anyOf": [kinds, {"type": "array", "items": kinds, "minItems": 1}]},
        "required": _BOOLEAN,
        "default": _ANY,
        **{key: {"type": "array"} for key in ("enum", "allowedValues")},
        **{key: {"type": "number"} for key in ("minimum", "maximum")},
        **{key: {"type": "integer", "minimum": 0} for key in ("minLength", "maxLength", "minItems", "maxItems")},
        "pattern": _TEXT,
        "items": _ref("parameter"),
        "format": {"enum": ["duration", "path"]},
        "description": _TEXT,
    }
    return {"type": "object", "properties": keywords, "additionalProperties": False}


_SETTINGS: Schema = {
    "type": ["object", "null"],
    "properties": {
        "max_jumps": _number("max_jumps"),
        "clean_up_timeout": _DURATION,
        "max_workers": {"anyOf": [_number("max_workers"), {"type": "null"}]},
        "timeout": {"anyOf": [_DURATION, {"type": "null"}]},
        "shell": _TEXT,
        "on_overlap": {"enum": [*Overlap, None], "description": "what a run does that is started beside another one"},
        "error_handling": {
            "anyOf": [
                _mapping(
                    ERROR_HANDLING_KEYS,
                    {"undefined_variables": {"enum": ["strict", "error", "fail"]}, "show_available": {"const": True}},
                ),
                {"type": "null"},
            ]
        },
    },
}

_STEPS: Schema = {
    "anyOf": [
        {"type": "array", "minItems": 1, "items": {"allOf": [_ref("step"), {"required": ["name"]}]}},
        {"type": "object", "minProperties": 1, "additionalProperties": _ref("step")},
    ]
}

_FLOW: Schema = {"type": "object", "additionalProperties": {"type": "array", "items": _TEXT, "minItems": 1}}
_IMPORT: Schema = {"anyOf": [_TEXT, _mapping(IMPORT_KEYS, {"path": _TEXT}, required=["path"])]}
_AGE: Schema = {"anyOf": [_DURATION, {"type": "null"}]}

_TOP: dict[str, Schema] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 200},
    "description": _TEXT,
    "version": _TEXT,
    "params": {
        "type": ["object", "null"],
        "additionalProperties": {
            "anyOf": [_ref("parameter"), {"type": ["string", "number", "boolean", "array", "null"]}]
        },
    },
    "secrets": {"anyOf": [_TEXTS, {"type": "null"}]},
    "steps": _STEPS,
    "outputs": {"type": ["object", "null"]},
    "labels": {"type": ["object", "null"], "additionalProperties": _SCALAR},
    "timeout": {"anyOf": [_DURATION, {"type": "null"}]},
    "max_parallel": {"anyOf": [_number("max_parallel"), {"type": "null"}]},
    "settings": _SETTINGS,
    "retention": {
        "anyOf": [
            _mapping(RETENTION_KEYS, {**dict.fromkeys(RETENTION_KEYS, _AGE), "last": _number("last")}),
            {"type": "null"},
        ]
    },
    "flows": {
        "anyOf": [
            _mapping(
                FLOWS_KEYS,
                {"default": _TEXT, "definitions": {"anyOf": [_FLOW, {"type": "array", "items": _FLOW}]}},
                required=["definitions"],
            ),
            {"type": "null"},
        ]
    },
    "imports": {"anyOf": [_IMPORT, {"type": "array", "items": _IMPORT}, {"type": "null"}]},
    "defaults": {
        "anyOf": [
            _mapping(DEFAULTS_KEYS, {"retry": _ref("retry"), "timeout": _DURATION, "on_error": _ref("on_error")}),
            {"type": "null"},
        ]
    },
    "env": {"type": ["object", "null"], "additionalProperties": _SCALAR},
    "env_files": {"anyOf": [_TEXTS, {"type": "null"}]},
}
