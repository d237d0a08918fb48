"""Python that never ends and whose kernel is killed: nothing of it is alive when a later kernel begins."""

from __future__ import annotations

import sys

import pytest

from acceptance.terminal import Terminal, kill
from workflows.endless import definition, each_way

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@each_way
def test_nothing_of_it_is_alive_when_a_later_kernel_begins(step: str, way: str, terminal: Terminal) -> None:
    """After a SIGKILL of the one that has started it."""
    terminal.fifo("up")
    terminal.write("f.yaml", definition(terminal.folder, step, way))
    run = terminal.start("run", "f.yaml", "--id", "r", "--workspace", ".")
    terminal.read("up")
    kill(run)
    terminal.inspect_interrupted("r")
    (terminal.folder / "up").unlink()

    resumed = terminal.flujoctl("resume", "r")

    assert resumed.code == 0, resumed
    assert (terminal.folder / "found").read_text() == "[]"
