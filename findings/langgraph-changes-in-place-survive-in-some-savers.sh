#!/usr/bin/env bash
# LangGraph: what a node changes in place, without returning it, is kept by the SQLite saver, and lost by the saver that tests are
# made with once the graph is interrupted.
#
# The state holds an order, a dict with a list of items. The node `pack` appends an item to that list and returns another key; the
# node `send` looks at the order. The graph goes through in one go, or stops before `send` and is invoked again.
# Guess:     a node's changes are what it returns, as "Graph API" says of nodes; an object that it has not returned is either a copy
#            of its own, so `send` never sees the item, or the state itself, so `send` always does. The saver does not matter.
# Behaviour: the node gets the very object of the state. In one go `send` sees the item, with each saver. What is stored depends on
#            the saver: the one in memory stores a key when it has been returned, and keeps the order as it was put in; the one on
#            SQLite writes the whole state each time, the item with it. So an interruption takes the item away, or does not, and
#            get_state differs from what the last node has seen. With durability="exit" both keep it. With "async", the default, the
#            saver in memory writes beside the node that is running, and which of the two comes first is chance; "sync" is shown
#            here. Nothing warns.
# Seen with: langgraph 1.2.24 (langgraph-checkpoint 4.3.2), langgraph-checkpoint-sqlite 3.1.2, Python 3.11.7:
#
#     memory, sync, in one go: send sees ['tea'], stored []
#     memory, sync, interrupted: send sees [], stored []
#     memory, exit, in one go: send sees ['tea'], stored ['tea']
#     sqlite, sync, in one go: send sees ['tea'], stored ['tea']
#     sqlite, sync, interrupted: send sees ['tea'], stored ['tea']
#     sqlite, exit, in one go: send sees ['tea'], stored ['tea']
#
# So: return every key that was changed. In flujo a step gets copies: what it changes in its arguments is not seen by the program, in
# the first run as on replay.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > orders.py <<'PYTHON'
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    order: dict[str, list[str]]
    is_packed: bool


def pack(state: State) -> dict[str, Any]:
    state["order"]["items"].append("tea")
    return {"is_packed": True}


def send(state: State) -> dict[str, Any]:
    seen.append(list(state["order"]["items"]))
    return {"is_packed": True}


seen: list[list[str]] = []


def show(name: str, saver: Any, durability: Any, interrupted: bool = False) -> None:
    graph = StateGraph(State).add_node("pack", pack).add_node("send", send)
    graph.add_edge(START, "pack").add_edge("pack", "send").add_edge("send", END)
    compiled = graph.compile(checkpointer=saver, interrupt_before=["send"] if interrupted else [])
    thread = {"configurable": {"thread_id": f"{durability} {interrupted}"}}
    compiled.invoke({"order": {"items": []}, "is_packed": False}, thread, durability=durability)
    if interrupted:
        compiled.invoke(None, thread, durability=durability)
    way = "interrupted" if interrupted else "in one go"
    print(f"{name}, {durability}, {way}: send sees {seen.pop()}, stored {compiled.get_state(thread).values['order']['items']}")


with SqliteSaver.from_conn_string(":memory:") as sqlite:
    for name, saver in {"memory": InMemorySaver(), "sqlite": sqlite}.items():
        show(name, saver, "sync")
        show(name, saver, "sync", interrupted=True)
        show(name, saver, "exit")
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check langgraph==1.2.24 langgraph-checkpoint==4.3.2 langgraph-checkpoint-sqlite==3.1.2 \
    > log 2>&1 || { cat log; exit 1; }
venv/bin/python -W ignore orders.py 2>> log | tee seen.log || { cat log; exit 1; }
diff <(sed -n 's/^#     \([a-z]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; cat log; exit 1; }
