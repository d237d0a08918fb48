#!/usr/bin/env bash
# LangGraph with task groups: a node that asks a person in a task group does not pause. It has failed: it is retried, and compensated for.
#
# A node asks with interrupt() whether an order may be paid, and looks up the price at the same time: by asyncio.gather, in an
# asyncio.TaskGroup, or in a task group of anyio. It has a retry policy, and an error handler that cancels the order.
# Guess:     the question pauses the thread, whatever the node was doing beside it: the page "Interrupts" warns of `try` around
#            interrupt(), and nothing here catches anything. The retry policy and the handler are for failures.
# Behaviour: interrupt() pauses by an exception. gather lets it out as it is; a task group wraps it in an ExceptionGroup, which LangGraph
#            takes for a failure of the node. By the default policy it is worth retrying, so the price is looked up once for each attempt;
#            then the handler cancels the order, and the graph has ended with success. Nobody was asked: the answer holds no
#            interrupt, and the thread waits for nothing. anyio 4 and asyncio.TaskGroup both do so with a single exception, too.
# Seen with: langgraph 1.2.24 (langgraph-checkpoint 4.3.2), anyio 4.16.0, Python 3.11.7:
#
#     one after the other: asks, looked up 1 times, order open
#     asyncio.gather: asks, looked up 1 times, order open
#     asyncio.TaskGroup: does not ask, looked up 3 times, order cancelled
#     a task group of anyio: does not ask, looked up 3 times, order cancelled
#
# So: ask before the group, in the node's own task, or in a node of its own. In flujo a wait for a signal raises nothing to pause, so it
# may stand in a branch of ctx.gather, in a task group, and in a `try`.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > asking.py <<'PYTHON'
import asyncio
from typing import Any, TypedDict

import anyio
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import NodeError
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, interrupt


class State(TypedDict):
    order: str


looked_up = 0


async def look_up() -> None:
    global looked_up
    looked_up += 1


async def ask() -> None:
    await asyncio.sleep(0.01)
    interrupt("May we pay?")


async def in_turn(state: State) -> dict[str, Any]:
    await look_up()
    await ask()
    return {"order": "paid"}


async def by_gather(state: State) -> dict[str, Any]:
    await asyncio.gather(look_up(), ask())
    return {"order": "paid"}


async def by_asyncio(state: State) -> dict[str, Any]:
    async with asyncio.TaskGroup() as group:
        group.create_task(look_up())
        group.create_task(ask())
    return {"order": "paid"}


async def by_anyio(state: State) -> dict[str, Any]:
    async with anyio.create_task_group() as group:
        group.start_soon(look_up)
        group.start_soon(ask)
    return {"order": "paid"}


def compensate(state: State, error: NodeError) -> dict[str, Any]:
    return {"order": "cancelled"}


async def main() -> None:
    global looked_up
    policy = RetryPolicy(max_attempts=3, initial_interval=0.01)
    for name, node in {
        "one after the other": in_turn,
        "asyncio.gather": by_gather,
        "asyncio.TaskGroup": by_asyncio,
        "a task group of anyio": by_anyio,
    }.items():
        looked_up = 0
        graph = StateGraph(State).add_node("pay", node, retry_policy=policy, error_handler=compensate)
        compiled = graph.add_edge(START, "pay").add_edge("pay", END).compile(checkpointer=InMemorySaver())
        thread = {"configurable": {"thread_id": "1"}}
        answer = await compiled.ainvoke({"order": "open"}, thread)
        waits = (await compiled.aget_state(thread)).interrupts
        assert bool(waits) == ("__interrupt__" in answer)
        print(f"{name}: {'asks' if waits else 'does not ask'}, looked up {looked_up} times, order {answer['order']}")


asyncio.run(main())
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check langgraph==1.2.24 langgraph-checkpoint==4.3.2 anyio==4.16.0 > log 2>&1 || { cat log; exit 1; }
venv/bin/python -W ignore asking.py 2> log | tee seen.log || { cat log; exit 1; }
diff <(sed -n 's/^#     \([a-z]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; cat log; exit 1; }
