"""Say errors of the kernel in words for clients: who calls a server has no kernel to open, and no Python to change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flujo.kernel import errors
from flujo.kernel.errors import FlujoError

_KNOWN = 20
"""How many names of workflows a message lists."""


def for_clients(error: FlujoError) -> FlujoError:
    """Return what a client is told: the error itself, or one of the same class in other words."""
    if isinstance(error, errors.KernelClosedError):
        return errors.ServerStoppingError()
    if (reword := _WORDINGS.get(error.__class__)) is None:  # a class below one of these has words of its own
        return error
    message, hints = reword(error)
    told = error.__class__.__new__(error.__class__)
    told.__dict__.update(error.__dict__)
    FlujoError.__init__(told, message, hints)
    return told


def _workflow_not_found(error: Any) -> tuple[str, Sequence[str]]:
    known = ", ".join(error.known[:_KNOWN]) or "none"
    more = f" and {len(error.known) - _KNOWN} more" if len(error.known) > _KNOWN else ""
    return (
        f"the server has no workflow {error.workflow!r}; it has: {known}{more}",
        ["flujoctl serve FILE  # starts a server with it", "or send its definition along: flujoctl run FILE.yaml"],
    )


def _declaration(error: Any) -> tuple[str, Sequence[str]]:
    return error.message.replace("this kernel", "the server"), error.hints


def _value(error: Any) -> tuple[str, Sequence[str]]:
    return error.message, ["send plain JSON, as RFC 8259 has it: no NaN, no infinities, nothing after it"]


_WORDINGS: dict[type[FlujoError], Callable[[Any], tuple[str, Sequence[str]]]] = {
    errors.WorkflowNotFoundError: _workflow_not_found,
    errors.DeclarationError: _declaration,
    errors.InvalidValueError: _value,
}
