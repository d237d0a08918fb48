"""Sketch in a few words which JSON a JSON Schema accepts: `{"amount": integer, "note"?: string | null}`.

For people who have sent something else. A sketch leaves out what would not fit a sentence, such as patterns and bounds;
one that becomes too long is cut. tests/kernel/test_shapes.py shows one of each kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

LONGEST = 300
DEEPEST = 6

Schema = Mapping[str, Any]


def sketch(schema: Schema) -> str:
    """Return the sketch of a schema."""
    text = _sketch(schema, schema.get("$defs", {}), 0)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _sketch(schema: Any, definitions: Schema, depth: int) -> str:
    if not isinstance(schema, Mapping):
        return "anything"
    if depth > DEEPEST:
        return "…"
    if (reference := schema.get("$ref")) is not None:
        return _sketch(definitions.get(reference.rpartition("/")[2]), definitions, depth + 1)
    if "const" in schema:
        return _written(schema["const"])
    if "enum" in schema:
        return " | ".join(map(_written, schema["enum"]))
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " | ".join(dict.fromkeys(_sketch(each, definitions, depth + 1) for each in schema[choice]))
    match schema.get("type"):
        case "object":
            return "{" + ", ".join(_members(schema, definitions, depth + 1)) + "}"
        case "array":
            return "[" + ", ".join(_items(schema, definitions, depth + 1)) + "]"
        case str() as kind:
            return f"{kind} ({schema['format']})" if "format" in schema else kind
        case _:
            return "anything"


def _members(schema: Schema, definitions: Schema, depth: int) -> Iterator[str]:
    required = schema.get("required", ())
    for name, member in schema.get("properties", {}).items():
        optional = "" if name in required else "?"
        yield f"{_written(name)}{optional}: {_sketch(member, definitions, depth)}"
    if isinstance(rest := schema.get("additionalProperties"), Mapping):
        yield f"…: {_sketch(rest, definitions, depth)}"


def _items(schema: Schema, definitions: Schema, depth: int) -> Iterator[str]:
    for item in schema.get("prefixItems", ()):
        yield _sketch(item, definitions, depth)
    if isinstance(rest := schema.get("items"), Mapping):
        yield f"{_sketch(rest, definitions, depth)}, …"


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
