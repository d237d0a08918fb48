"""Who asks, as a server knows it: the principal, which facts record beside the name that a caller claims (`by`).

A server enters `acting_as` around each call. The kernel asks `principal` where it makes a fact of a request. What a
program does is nobody's request: tasks of a kernel begin with the context variables of the kernel, and not with those
of the caller who started the run (tests/kernel/test_principals.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_acting: ContextVar[str | None] = ContextVar("flujo_principal", default=None)


def principal() -> str | None:
    """Return who asks; None where nobody but the owner of the process can."""
    return _acting.get()


@contextmanager
def acting_as(name: str | None) -> Iterator[None]:
    """Record what is asked inside the block as asked by this principal."""
    token = _acting.set(name)
    try:
        yield
    finally:
        _acting.reset(token)
