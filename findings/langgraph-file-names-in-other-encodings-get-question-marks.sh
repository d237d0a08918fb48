#!/usr/bin/env bash
# LangGraph: the name of a file that is not UTF-8 is another name after a checkpoint, and the file is not there any more.
#
# A node lists a folder that holds a file whose name is Latin-1 (the byte E9), as old archives and shares have them. os.listdir
# gives the byte as a lone surrogate, as Python does everywhere, and open() takes that name. The graph stops before the next
# node, which opens the file, and is invoked again.
# Guess:     the name survives, as it does in pickle and in json.dumps; or the checkpoint is refused, as most encoders of
#            UTF-8 do (UnicodeEncodeError).
# Behaviour: the surrogate is written as "?". Without an interruption the node finds the file; with one it gets another name
#            and FileNotFoundError. Nothing is logged.
# Seen with: langgraph 1.2.24 with langgraph-checkpoint-sqlite 3.1.2, Python 3.11.7:
#
#     1.2.24 in one go: 'r\udce9sum\udce9.txt' found
#     1.2.24 interrupted: 'r?sum?.txt' not found
#
# So: keep names of files as bytes, or as os.fsencode(name).hex(), in a state. flujo refuses text that is not valid Unicode
# before it is recorded, so both runs fail alike, and at the node that made the name.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > names.py <<'PYTHON'
import os
import sqlite3
import sys
from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

os.makedirs(b"share", exist_ok=True)
open(b"share/r\xe9sum\xe9.txt", "wb").close()


class Files(TypedDict):
    name: str
    seen: str


def look(state):
    return {"name": os.listdir("share")[0]}


def read(state):
    found = os.path.exists(os.path.join("share", state["name"]))
    return {"seen": f"{ascii(state['name'])} {'found' if found else 'not found'}"}


graph = StateGraph(Files)
graph.add_node("look", look)
graph.add_node("read", read)
for edge in [(START, "look"), ("look", "read"), ("read", END)]:
    graph.add_edge(*edge)
stops = ["read"] if sys.argv[1] == "interrupted" else []
saver = SqliteSaver(sqlite3.connect(":memory:", check_same_thread=False))
app = graph.compile(checkpointer=saver, interrupt_before=stops)
thread = {"configurable": {"thread_id": "1"}}
result = app.invoke({}, thread)
if stops:
    result = app.invoke(None, thread)
print(f"{sys.argv[1]}: {result['seen']}")
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check langgraph==1.2.24 langgraph-checkpoint-sqlite==3.1.2
for how in "in one go" interrupted; do
    said="1.2.24 $(PYTHONUTF8=1 venv/bin/python names.py "$how" 2>>log)"
    echo "$said"
    grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
done
