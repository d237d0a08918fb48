#!/usr/bin/env bash
# LangGraph: what a graph computes depends on how often it was interrupted, if its state holds dataclasses or pydantic models.
#
# A node puts three values into the state: a dataclass whose __post_init__ adds the shipping to a sum, a pydantic model with a
# field that is left out of dumps, and one that holds an instance of a subclass. The last node looks at them.
# Guess:     an interruption before a node (`interrupt_before`) only delays it: the page "Persistence" says that the graph's
#            state is saved at each super-step, and these types are known to the serializer.
# Behaviour: an uninterrupted graph hands the objects on as they are. At each resumption the dataclass is built by calling its
#            class with the saved fields, so __post_init__ is applied once more to what it has made before. A pydantic model
#            comes back from its dump: a field with exclude=True has its default again, a subclass under a field of the base
#            has become the base. No error says so; 1.2.22 logs that the types are not registered, which is another matter.
# Seen with: langgraph 1.2.22 and 1.0.0 with langgraph-checkpoint-sqlite 3.1.2 and 2.0.11, pydantic 2.14.4, Python 3.11.7:
#
#     1.0.0 interrupted 0 times: 105 cents, token given, Express
#     1.0.0 interrupted 1 times: 110 cents, token default, Parcel
#     1.0.0 interrupted 2 times: 115 cents, token default, Parcel
#     1.2.22 interrupted 0 times: 105 cents, token given, Express
#     1.2.22 interrupted 1 times: 110 cents, token default, Parcel
#     1.2.22 interrupted 2 times: 115 cents, token default, Parcel
#
# So: keep plain values in a saved state, and give out decoded values before a crash as after it.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > shop.py <<'PYTHON'
import sqlite3
import sys
from dataclasses import dataclass
from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, Field


@dataclass
class Order:
    cents: int

    def __post_init__(self):
        self.cents += 5


class Access(BaseModel):
    token: str = Field("default", exclude=True)


class Parcel(BaseModel):
    weight: int = 1


class Express(Parcel):
    hours: int = 24


class Delivery(BaseModel):
    parcel: Parcel


class Shop(TypedDict, total=False):
    order: Order
    access: Access
    delivery: Delivery
    seen: str


def fill(state):
    return {"order": Order(100), "access": Access(token="given"), "delivery": Delivery(parcel=Express())}


def wait(state):
    return {}


def look(state):
    parcel = type(state["delivery"].parcel).__name__
    return {"seen": f"{state['order'].cents} cents, token {state['access'].token}, {parcel}"}


graph = StateGraph(Shop)
nodes = {"fill": fill, "wait": wait, "look": look}
for name, node in nodes.items():
    graph.add_node(name, node)
for edge in zip([START, *nodes], [*nodes, END]):
    graph.add_edge(*edge)
stops = ["wait", "look"][:int(sys.argv[1])]
saver = SqliteSaver(sqlite3.connect(":memory:", check_same_thread=False))
app = graph.compile(checkpointer=saver, interrupt_before=stops)
thread = {"configurable": {"thread_id": "1"}}
result = app.invoke({}, thread)
for _ in stops:
    result = app.invoke(None, thread)
print(f"interrupted {len(stops)} times: {result['seen']}")
PYTHON

for versions in 1.0.0/2.0.11 1.2.22/3.1.2; do
    version=${versions%/*}
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check \
        "langgraph==$version" "langgraph-checkpoint-sqlite==${versions#*/}" pydantic==2.14.4
    for times in 0 1 2; do
        said="$version $("venv-$version/bin/python" shop.py $times 2>>log)"
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
    done
done
