"""LangGraph with its synchronous SQLite saver: a write-ahead log, synced as SQLite is by default. Threads that run
graphs take turns at its one connection."""

import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

VALUE = "x" * 1022
folder, mode, runs, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


class State(TypedDict, total=False):
    done: int
    value: str


def work(state: State) -> State:
    return {"done": state["done"] + 1, "value": VALUE}


builder = StateGraph(State)
builder.add_node("work", work)
builder.add_edge(START, "work")
builder.add_conditional_edges("work", lambda state: END if state["done"] == steps else "work")
saver = SqliteSaver(sqlite3.connect(f"{folder}/langgraph.db", check_same_thread=False))
graph = builder.compile(checkpointer=saver)


def chain(run: int) -> None:
    options = {"configurable": {"thread_id": str(run)}, "recursion_limit": steps + 10}
    assert graph.invoke({"done": 0}, options, durability="sync")["done"] == steps


saver.setup()
began = time.perf_counter()
with ThreadPoolExecutor(min(runs, 8)) as threads:
    list(threads.map(chain, range(runs)))
print(time.perf_counter() - began, runs * steps, flush=True)
