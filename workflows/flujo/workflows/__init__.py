"""How work is described: YAML definitions, templates, the interpreter that runs them, and the built-in tasks.

    from flujo.workflows import load_workflow, task

Nothing here is imported before it is used: `import flujo.workflows` costs neither PyYAML nor Jinja2.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .loading import load_workflow as load_workflow
    from .loading import load_workflow_text as load_workflow_text
    from .registry import Task as Task
    from .registry import TaskCall as TaskCall
    from .registry import task as task

_HOMES = {
    "load_workflow": "loading",
    "load_workflow_text": "loading",
    "Task": "registry",
    "TaskCall": "registry",
    "task": "registry",
}

__all__ = ["Task", "TaskCall", "load_workflow", "load_workflow_text", "task"]


if not TYPE_CHECKING:  # a type checker would take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
