"""Every async test runs on asyncio and on trio, unless its module says that its subject only knows one of them."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop a test runs on."""
    name: str = request.param
    return name
