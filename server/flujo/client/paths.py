"""Which field of a request an error is about, as google.rpc.BadRequest names it: by a path that the request has.

The kernel names what is wrong by words of its own, such as `step name`, and a Python argument, such as `parent_run_id`.
A request may have that field under another name, or in its filter. An error about nothing that the request has names no
field (tests/server/test_errors.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from google.protobuf.descriptor import Descriptor

from flujo.kernel import errors
from flujo.kernel.errors import FlujoError

_PATHS: Mapping[str, Sequence[str]] = {
    "run id": ("new_run_id", "run_id"),
    "workflow name": ("workflow",),
    "workflow": ("workflow", "filter.workflow"),
    "step name": ("name", "step", "from_step"),
    "variable name": ("name",),
    "label": ("labels", "filter.labels"),
    "labels": ("labels", "filter.labels"),
    "run status": ("filter.statuses",),
    "run statuses": ("filter.statuses",),
    "status to prune by": ("filter.statuses",),
    "choice of runs": ("filter",),
    "limit": ("page_size", "max_runs"),
    "signal name": ("name",),
    "page": ("page_token",),
    "event number": ("after_seq",),
    "the inputs": ("inputs",),
    "the payload": ("payload",),
    "the output": ("output",),
    "the value": ("value",),
    "the document": ("chunk",),
    "source": ("workflow",),
    "definition": ("definition",),
    "older_than_seconds": ("older_than",),
    "window_seconds": ("window",),
    "time_budget_seconds": ("time_budget",),
}
"""What the kernel calls something, and the paths under which a request may have it, the likeliest first."""

_VALUES = ("inputs", "payload", "output", "value", "skip")
"""Where a request may have JSON."""


def wrong_fields(error: FlujoError, request: Descriptor | None) -> Iterator[tuple[str, str]]:
    """Yield the wrong fields that an error tells of, each with a sentence; without a request, by their own names."""
    for what, sentence in _told(error):
        if request is None:
            yield what.replace(" ", "_"), sentence
        elif (path := _path(what, request)) is not None:
            yield path, sentence


def _told(error: FlujoError) -> Iterable[tuple[str, str]]:
    match error:
        case errors.InvalidInputError():
            return [("inputs", f"{name}: {problem}") for name, problem in error.problems.items()]
        case errors.DefinitionError():
            return [("definition", str(problem)) for problem in error.problems]
        case errors.StepChoiceError():
            return [(error.field, error.problem)]
        case errors.InvalidExportError():
            return [("chunk", error.message)]
        case errors.InvalidNameError():
            return [(error.what, error.message)]
        case errors.PayloadTooLargeError():
            return [(error.what, error.message)]
        case errors.InvalidValueError():
            return [(error.path, error.message)]
        case _:
            return []


def _path(what: str, request: Descriptor) -> str | None:
    words = [what, what.replace(" ", "_"), *_PATHS.get(what, ())]
    if what.startswith("labels."):
        words += _PATHS["labels"]
    elif what.startswith("the output of "):
        words.append("skip")
    elif what.startswith("$"):
        words += _VALUES
    words += [f"filter.{word}" for word in words]
    return next((word for word in words if has_path(request, word)), None)


def has_path(request: Descriptor, path: str) -> bool:
    """True if a message has a field at this path, in which a list may have an index, as in `retry[3]`."""
    message: Descriptor | None = request
    for part in path.split("."):
        field = None if message is None else message.fields_by_name.get(re.sub(r"\[\d+\]$", "", part))
        if field is None:
            return False
        message = field.message_type
    return True
