"""Which event loop this is, for the parts that know only one."""

from __future__ import annotations

import asyncio

from .errors import UnsupportedEventLoopError


def require_asyncio(what: str) -> None:
    """Raise UnsupportedEventLoopError unless `what` is used on asyncio.

    asyncio itself is asked: trio need not be installed, and may be a guest of its loop."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        raise UnsupportedEventLoopError(what, "trio", ("asyncio",))
