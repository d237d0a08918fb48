"""A pytest plugin. It is not loaded by itself: name it in the conftest.py at the root of your tests.

pytest_plugins = ["flujo.kernel.testing.plugin"]

def test_reminder(virtual_time):
    assert virtual_time.run_workflow(reminder, {"days": 30}) == "sent"
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import pytest

from flujo.kernel.programs import Workflow

from .crashes import Crashes, crash_at_every_checkpoint, run_workflow
from .virtual import Loop, VirtualClock, run_virtually

Result = TypeVar("Result")


class VirtualTime:
    """What the fixture gives: this package's functions, on one event loop."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def clock(self) -> VirtualClock:
        """Return a clock for a kernel."""
        return VirtualClock()

    def run(self, function: Callable[..., Awaitable[Result]], *args: Any) -> Result:
        """As run_virtually."""
        return run_virtually(partial(function, *args), loop=self.loop)

    def run_workflow(self, workflow: Workflow, inputs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """As run_workflow."""
        return run_workflow(workflow, inputs, loop=self.loop, **options)

    def crash_at_every_checkpoint(
        self, workflow: Workflow, inputs: Mapping[str, Any] | None = None, **options: Any
    ) -> Crashes:
        """As crash_at_every_checkpoint."""
        return crash_at_every_checkpoint(workflow, inputs, loop=self.loop, **options)


@pytest.fixture
def virtual_time() -> VirtualTime:
    """Virtual time on asyncio. Override it to return `VirtualTime("trio")` for the other loop."""
    return VirtualTime("asyncio")
