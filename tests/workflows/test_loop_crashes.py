"""A loop from YAML survives the death of its kernel at every await and at every write.

It has what a replay could get wrong: items side by side that end in one tick, one that is retried, failures that the
loop goes on after and one that ends it, chunks, a loop in a graph beside another step, and a repeat of a loop.
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


SEQUENCE = load_workflow(
    """\
name: sequence
steps:
  - {name: first, task: work}
  - name: on
    task: work
    for_each: {items: [0, 1, 2, 3, 4], max_workers: 2, chunk_size: 3}
    inputs: {keys: ["on[1]", "on[4]"], seconds: "{{ 0.1 * (5 - item) }}"}
    on_error: continue
  - name: stop
    task: work
    for_each: {items: [a, b, c, d], max_workers: 2}
    inputs: {keys: ["stop[1]", "stop#2[9]"], seconds: "{{ 0.3 if item == 'a' else 0.1 }}"}
    on_error: {next: tidy}
  - {name: never, task: work}
  - {name: tidy, task: work, inputs: {text: "{{ error.step }} {{ error.type }}"}}
  - {name: none, task: work, for_each: []}
outputs:
  fixed:
    "on": "{{ steps.on.result.results }}"
    failed: "{{ steps.on.result.failed | map(attribute='step') | list }}"
    counts: "{{ steps.on.result.stats.completed }} {{ steps.none.result.stats.total }} {{ steps.stop.status }}"
  order: "{{ {} }}"
""",
    tasks=[work],
)

GRAPH = load_workflow(
    """\
name: graph
steps:
  - {name: a, task: work, for_each: [0, 1, 2], inputs: {fails: [1]}, retry: {max_attempts: 2, delay: 0.3}}
  - {name: b, task: work, depends_on: [], for_each: {items: [0, 1], max_workers: 1}, inputs: {seconds: 0.2}}
  - {name: slow, task: work, depends_on: [], inputs: {seconds: 1}}
  - {name: join, task: work, depends_on: [a, b, slow]}
outputs: {fixed: ["{{ steps.a.result.results }}", "{{ steps.b.result.results }}"], order: "{{ {} }}"}
""",
    tasks=[work],
)

SCENARIO = Scenario("loops", [Plan("sequence-1", SEQUENCE, {}), Plan("graph-1", GRAPH, {})])

PARTS = 8
"""Of the ticks: one test that dies at each of them would be the last to end, long after all others."""

event_loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


@pytest.mark.parametrize("part", range(PARTS))
@event_loops
def test_crash_at_every_await(loop: Loop, part: int) -> None:
    """Whichever tick a kernel dies at, the next one brings both runs to the end they would have had."""
    histories = sweep(loop, Fault.CRASH_AT_TICK, SCENARIO, first=1 + part, stride=PARTS)
    lives = [len(history.ticks) for history in histories]

    assert lives == [2] * len(lives)
    assert len(lives) > 60 // PARTS


@event_loops
@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE_WRITE, Fault.CRASH_AFTER_WRITE])
def test_crash_at_every_write(loop: Loop, fault: Fault) -> None:
    """Neither a lost write nor one that nobody learnt of makes a difference."""
    points = sum(1 for _ in sweep(loop, fault, SCENARIO))

    assert points > 10


@event_loops
def test_cancel_at_every_fourth_await(loop: Loop) -> None:
    """A run that is cancelled in the middle of a loop and resumed comes to the same end."""
    points = sum(1 for _ in sweep(loop, Fault.CANCEL_AT_TICK, SCENARIO, stride=4))

    assert points > 10
