"""A graph from YAML survives the death of its kernel at every await and at every write.

It has what a replay could get wrong: steps side by side that end in one tick, a limit, a retry, a handled failure with
the steps it leaves out, rounds, a condition, a clean-up, and a jump back and rounds in a sequence beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio.lowlevel
import pytest

from flujo.kernel.execution.current_attempt import current_attempt
from flujo.workflows import load_workflow
from flujo.workflows.registry import TaskCall, task
from simulation.clock import Loop
from simulation.scenario import Plan, Scenario
from simulation.sweep import sweep
from simulation.world import Fault, current_life


@pytest.fixture(autouse=True)
def threads_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time does not wait for threads, such as the one that waits for a worker that evaluates a template."""

    async def run_sync(function: Callable[..., Any], *args: Any, **_: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr("anyio.to_thread.run_sync", run_sync)


@task("work", needs_workspace=False)
async def work(call: TaskCall) -> str:
    """Takes a while, fails in the attempts and under the keys it is told to, and returns its key."""
    body = await current_life().body(call.inputs.get("seconds", 0.2))
    if body.attempt in call.inputs.get("fails", ()) or body.step in call.inputs.get("keys", ()):
        raise ConnectionError("as told")
    return current_attempt().step


GRAPH = load_workflow(
    """\
name: graph
max_parallel: 3
steps:
  - {name: a, task: work}
  - {name: b, task: work, depends_on: []}
  - {name: slow, task: work, depends_on: [], inputs: {seconds: 2}}
  - {name: c, task: work, depends_on: [a, b], inputs: {fails: [1]}, on_error: {action: retry, retry: 1, delay: 0.3}}
  - {name: bad, task: work, depends_on: [a], inputs: {keys: [bad]}, on_error: {next: fix}}
  - {name: lost, task: work, depends_on: [bad]}
  - {name: fix, task: work, inputs: {text: "{{ error.step }} {{ error.message }}"}}
  - {name: never, task: work, depends_on: [b], condition: steps.b.result != 'b'}
  - {name: ask, task: work, depends_on: [b], repeat: {until: "result == 'ask[2]'", interval: 300ms}}
  - {name: join, task: work, depends_on: [c, lost, fix, never, ask]}
  - {name: tidy, task: work, always_run: true}
outputs:
  fixed:
    results: ["{{ steps.a.result }}", "{{ steps.c.result }}", "{{ steps.fix.result }}", "{{ steps.join.result }}"]
    statuses: "{% for name in steps %}{{ name }}={{ steps[name].status }} {% endfor %}"
    rounds: "{{ steps.ask.result }}"
    attempts: ["{{ steps.c.attempt > 1 }}", "{{ steps.bad.error.type }}", "{{ error.step }}"]
  order: "{{ {} }}"
""",
    tasks=[work],
)

LOOP = load_workflow(
    """\
name: loop
steps:
  - {name: prepare, task: work}
  - {name: try, task: work, inputs: {keys: [try, try#2]}, on_error: {next: prepare}}
  - {name: ask, task: work, repeat: {until: "result == 'ask#3'", interval: 300ms}}
  - {name: done, task: work}
outputs: {fixed: "{{ steps.prepare.result }} {{ steps.try.result }} {{ steps.done.result }}", order: "{{ {} }}"}
""",
    tasks=[work],
)

SCENARIO = Scenario("graph", [Plan("graph-1", GRAPH, {}), Plan("loop-1", LOOP, {})])

PARTS = 8
"""Of the ticks: one test that dies at each of them would be the last to end, long after all others."""

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


@pytest.mark.parametrize("part", range(PARTS))
@loops
def test_crash_at_every_await(loop: Loop, part: int) -> None:
    """Whichever tick a kernel dies at, the next one brings both runs to the end they would have had."""
    histories = sweep(loop, Fault.CRASH_AT_TICK, SCENARIO, first=1 + part, stride=PARTS)
    lives = [len(history.ticks) for history in histories]

    assert lives == [2] * len(lives)
    assert len(lives) > 60 // PARTS


@loops
@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE_WRITE, Fault.CRASH_AFTER_WRITE])
def test_crash_at_every_write(loop: Loop, fault: Fault) -> None:
    """Neither a lost write nor one that nobody learnt of makes a difference."""
    points = sum(1 for _ in sweep(loop, fault, SCENARIO))

    assert points > 10
