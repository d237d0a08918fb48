"""A handle on a store that passes every call of the port on to another handle.

It is made from the port itself, so a call that the port gets is passed on from its first day. One that was forgotten
would be answered by its default, and what becomes of it when a process dies would never be tried."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from flujo.kernel.backend import StateBackend

Result = TypeVar("Result")


def is_call(member: object) -> bool:
    """True if this member of the port is waited for."""
    return inspect.iscoroutinefunction(member)


def port() -> dict[str, Any]:
    """Return what the port asks of a store, calls and properties, by name."""
    members = {name: member for name, member in vars(StateBackend).items() if not name.startswith("_")}
    return {name: each for name, each in members.items() if callable(each) or isinstance(each, property)}


def _relayed(name: str) -> Callable[..., Any]:
    """Return the method that passes a call on, as the handle's `relay` has it."""

    @functools.wraps(getattr(StateBackend, name))
    async def call(self: RelayBackend, *arguments: Any, **options: Any) -> Any:
        return await self.relay(name, lambda: getattr(self.inner, name)(*arguments, **options))

    call.__isabstractmethod__ = False  # type: ignore[attr-defined]  # `wraps` takes the mark along
    return call


def _asked(name: str, member: object) -> Any:
    """Return the method or property that asks the other handle, which answers at once."""
    if isinstance(member, property):
        return property(lambda self: getattr(self.inner, name))
    return lambda self, *arguments: getattr(self.inner, name)(*arguments)


_members = {name: _relayed(name) if is_call(member) else _asked(name, member) for name, member in port().items()}
_Passing: Any = types.new_class("_Passing", (StateBackend,), exec_body=lambda body: body.update(_members))


class RelayBackend(_Passing):  # type: ignore[misc]  # a class that is made here, from the port
    """Passes every call on to `inner`; `relay` says what happens around each, or instead of it."""

    def __init__(self, inner: StateBackend) -> None:
        self.inner = inner
        self.url = inner.url
        self.path = inner.path
        self.capabilities = inner.capabilities

    async def relay(self, name: str, call: Callable[[], Awaitable[Result]]) -> Result:
        """Do the call of this name."""
        return await call()
