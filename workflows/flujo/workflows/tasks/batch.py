"""The task `batch`: another task once per item of a list. The interpreter performs it (`loops.py`), so that each item
is a step of its own; its declaration is what is known of it besides."""

from __future__ import annotations

from typing import Any

from flujo.workflows.registry import TaskCall, task


@task(
    "batch",
    inputs={
        "items": {"type": "array", "required": True},
        "task": {"type": ["object", "string"], "required": True},
        "arg_name": {"type": "string", "default": "item", "pattern": r"^[A-Za-z_]\w*$"},
        "max_workers": {"type": "integer", "minimum": 1},
        "chunk_size": {"type": "integer", "minimum": 1},
    },
    needs_workspace=False,
)
async def batch(call: TaskCall) -> Any:
    """Call a task for each item of a list; return `{results, processed, failed, stats}`."""
    raise AssertionError("the interpreter performs batches")
