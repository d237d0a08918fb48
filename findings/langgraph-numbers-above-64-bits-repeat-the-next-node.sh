#!/usr/bin/env bash
# LangGraph: a whole number of more than 64 bits cannot be saved, which by default is found once the next node has run, each time.
#
# The node `count` puts 2**64 into the state, the node `mail` follows; the graph has a checkpointer, is invoked, and continued.
# Guess:     Python's whole numbers have no bound, nor have JSON's: it is saved. Or if not, the error names the node whose value
#            it is, and what comes after that node does not happen.
# Behaviour: checkpoints are MessagePack, whose numbers end at 64 bits. The TypeError names neither node nor key. With the
#            default durability ("async": saved while the next node runs) `mail` has run by then; the thread stands before
#            `count`, so whoever continues it has both run once more, to the same end. With durability="sync" `mail` never runs.
# Seen with: langgraph 1.2.22, langgraph-checkpoint-sqlite 3.1.2, ormsgpack 1.13.1, Python 3.11.7:
#
#     default: TypeError: Integer exceeds 64-bit range, continued: TypeError, ran count 2 times and mail 2 times
#     sync: TypeError: Integer exceeds 64-bit range, continued: TypeError, ran count 2 times and mail 0 times
#
# So: check that a step's value can be stored before the next one starts, and say whose value it is.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > counting.py <<'PYTHON'
import sqlite3
import sys
from collections import Counter
from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph


class Numbers(TypedDict, total=False):
    number: int


ran = Counter()


def count(state):
    ran["count"] += 1
    return {"number": 2**64}


def mail(state):
    ran["mail"] += 1
    return {}


graph = StateGraph(Numbers)
graph.add_node("count", count)
graph.add_node("mail", mail)
graph.add_edge(START, "count")
graph.add_edge("count", "mail")
graph.add_edge("mail", END)
app = graph.compile(checkpointer=SqliteSaver(sqlite3.connect(":memory:", check_same_thread=False)))
chosen = {} if sys.argv[1] == "default" else {"durability": sys.argv[1]}
thread = {"configurable": {"thread_id": "1"}}


def error_of(given):
    try:
        app.invoke(given, thread, **chosen)
    except Exception as error:
        return error


first, second = error_of({}), error_of(None)
print(f"{sys.argv[1]}: {type(first).__name__}: {first}, continued: {type(second).__name__}, "
      f"ran count {ran['count']} times and mail {ran['mail']} times")
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    langgraph==1.2.22 langgraph-checkpoint-sqlite==3.1.2 ormsgpack==1.13.1
for durability in default sync; do
    said=$(venv/bin/python counting.py $durability 2>>log)
    echo "$said"
    grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
done
