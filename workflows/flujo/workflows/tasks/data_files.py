"""Tasks that read and write data in files of the workspace: read_json, write_json, read_yaml, write_yaml.

Paths are confined, and files written whole, as `files.py` has it. YAML is read as strictly as workflows are: duplicate
keys, tags and alias bombs are refused with their line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import yaml

from flujo.kernel.errors import FlujoError
from flujo.workflows.blocking import may_block
from flujo.workflows.document_writer import quoting
from flujo.workflows.documents import Problems, read_document
from flujo.workflows.registry import TaskCall, task

from .files import FILE, FILE_PATH, OUTPUT_FILE, OUTSIDE, TEXT, WRITTEN, inside, read_text, written

_READ = {"type": "object", "properties": {"path": {"type": "string"}, "data": {}}}

_WRITING = {**FILE_PATH, "data": {"required": True}, **TEXT, **OUTSIDE}


class DataFileError(FlujoError, ValueError):
    """A file does not hold what its task reads."""

    reason = "INVALID_FIELD"
    type = "DataFileError"


@task("read_json", inputs={**FILE_PATH, **TEXT, **OUTSIDE}, spellings=FILE, result=_READ)
async def read_json(call: TaskCall) -> dict[str, Any]:
    """Return {path, data}: what the JSON in a file says."""

    def read(_: object) -> dict[str, Any]:
        path = inside(call, call.inputs["path"])
        return {"path": str(path), "data": _json_in(path, read_text(path, call.inputs["encoding"]))}

    return await may_block(read)


@task("read_yaml", inputs={**FILE_PATH, **TEXT, **OUTSIDE}, spellings=FILE, result=_READ)
async def read_yaml(call: TaskCall) -> dict[str, Any]:
    """Return {path, data}: what the YAML in a file says, which is one document of at most 256 KiB."""

    def read(_: object) -> dict[str, Any]:
        path = inside(call, call.inputs["path"])
        problems = Problems(str(path))
        root = read_document(read_text(path, call.inputs["encoding"]), problems)
        problems.raise_if_any()
        return {"path": str(path), "data": None if root is None else root.plain()}

    return await may_block(read)


@task(
    "write_json",
    inputs={**_WRITING, "indent": {"type": "integer", "minimum": 0, "maximum": 16, "default": 2}},
    spellings=OUTPUT_FILE,
    result=WRITTEN,
)
async def write_json(call: TaskCall) -> dict[str, Any]:
    """Write `data` to a file as JSON; return {path, size}."""
    indent = call.inputs["indent"] or None
    text = json.dumps(call.inputs["data"], ensure_ascii=False, allow_nan=False, indent=indent)
    return await written(call, f"{text}\n")


@task("write_yaml", inputs=_WRITING, spellings=OUTPUT_FILE, result=WRITTEN)
async def write_yaml(call: TaskCall) -> dict[str, Any]:
    """Write `data` to a file as YAML, its keys in their order; return {path, size}."""
    dumper = quoting(getattr(yaml, "CSafeDumper", yaml.SafeDumper))

    def dump(_: object) -> str:
        text: str = yaml.dump(call.inputs["data"], Dumper=dumper, sort_keys=False, allow_unicode=True)
        return text

    return await written(call, await may_block(dump))


def _json_in(path: Path, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise DataFileError(f"{path}:{error.lineno}:{error.colno}: this is not JSON: {error.msg}") from None
    except RecursionError:
        raise DataFileError(f"{path}: this JSON nests too deeply") from None
    except ValueError as error:
        raise DataFileError(f"{path}: this is not JSON: {error}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")
