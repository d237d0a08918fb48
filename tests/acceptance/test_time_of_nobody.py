"""Time in which nothing ran counts nowhere: after a SIGKILL, and an hour until somebody goes on."""

from __future__ import annotations

import time

import pytest

from acceptance.terminal import Terminal, kill
from flujo.backends import open_backend
from flujo.kernel import Kernel
from flujo.kernel.clock import SystemClock
from flujo.workflows import load_workflow

NAPS = """\
name: naps
steps:
  - {name: before, task: noop}
  - name: nap
    task: shell
    for_each: {items: [0, 1, 2, 3], max_workers: 4}
    inputs:
      command: "[ {{ item }} = 0 ] || [ -e again ] || { echo up >up; exec sleep 100000; }"
  - {name: beside, task: noop}
"""

HOUR = 3600


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_hour_after_a_kill_counts_in_no_step_and_not_in_the_run(terminal: Terminal) -> None:
    """Neither in the first step that was interrupted, nor in those beside it, nor in the loop and the run."""
    file = terminal.write("naps.yaml", NAPS)
    terminal.fifo("up")
    run = terminal.start("run", "naps.yaml", "--id", "r", "--workspace", ".")
    ups = ""
    while ups.count("up") < 3:
        ups += terminal.read("up")
    while "completed" not in {step["status"] for step in terminal.inspect("r")["steps"] if step["name"] == "nap[0]"}:
        pass
    kill(run)
    terminal.inspect_interrupted("r")
    terminal.write("again", "")

    an_hour_later = SystemClock(wall=lambda: time.time_ns() + HOUR * 10**9)
    store = open_backend(f"sqlite:{terminal.folder}/.flujo/state.db")
    async with Kernel(store, workflows=[load_workflow(file)], clock=an_hour_later, recover=False) as kernel:
        await kernel.resume("r")
        state = await kernel.wait("r")

    assert state.status == "completed", state.error
    assert (state.finished_at or 0) - state.created_at > HOUR * 10**6
    spent = {step.name: step.active_seconds for step in state.steps.values()}
    assert {f"nap[{index}]" for index in range(4)} < spent.keys()
    assert {name: seconds for name, seconds in spent.items() if seconds > HOUR / 2} == {}
    assert [state.steps[f"nap[{index}]"].attempt for index in range(4)] == [1, 2, 2, 2]
    assert state.active_seconds < HOUR / 2
