"""The task `workflow`: a run of another definition, whose end the step waits for.

The interpreter carries it out (`child_workflows.py`), since the step has no body of its own: it is that run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from flujo.workflows.registry import TaskCall, task


def _check(inputs: Mapping[str, Any]) -> dict[str, str]:
    labels = inputs.get("labels", {})
    wrong = [name for name, value in labels.items() if not isinstance(value, str)]
    return {"labels": f"must be texts, and `{wrong[0]}` is none"} if wrong else {}


@task(
    "workflow",
    inputs={
        "workflow": {"type": "string", "minLength": 1},
        "file": {"type": "string", "minLength": 1},
        "inputs": {"type": "object", "default": {}},
        "labels": {"type": "object", "default": {}},
    },
    one_of=[("workflow", "file")],
    spellings={"params": "inputs", "path": "file"},
    needs_workspace=False,
    starts_run=True,
    check=_check,
)
async def workflow(call: TaskCall) -> NoReturn:
    """Run another workflow, registered under a name or in a file beside this one; return its `outputs`."""
    raise AssertionError("the interpreter starts the run")
