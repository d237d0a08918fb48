"""The parts of a kernel, put together: their names for people, and their life."""

from __future__ import annotations

import os
import socket

import pytest

from flujo.kernel.ownership.runtime import kernel_id
from kernel.flows import waiting
from kernel.harness import Harness, until


@pytest.mark.parametrize("host", ["box", "a b/c", "..", "x" * 200])
def test_the_id_of_a_kernel_is_a_part_of_file_names(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """It names machine and process, whatever the machine is called."""
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    name = kernel_id("0123456789")

    assert name.endswith(f"-{os.getpid()}-01234567")
    assert not set(name) & set("/ ")
    assert not name.startswith(".")
    assert len(name) < 100


async def test_an_error_inside_a_kernel_comes_out_as_it_is() -> None:
    """Not inside a group, and after the runs were given up in good order."""
    harness = Harness()

    async def life() -> None:
        async with harness.kernel(waiting) as kernel:
            await kernel.start(waiting, run_id="r")
            await until(kernel, "r", "step_waiting")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await life()
    assert harness.summary("r").owner is None
