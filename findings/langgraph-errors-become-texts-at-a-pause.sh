#!/usr/bin/env bash
# LangGraph: an error handler that asks a person goes on with a text in the place of the error, and takes the other branch.
#
# A node pays and is refused with an error class of its own. Its error handler (add_node(…, error_handler=…)) asks a person
# with interrupt() and then chooses by the class: a card that is declined is for the customer, anything else is tried again. A second
# graph catches the error in the node, keeps it in the state, and chooses by isinstance(…, Exception) in the next node.
# Guess:     a handler runs from its beginning again when the answer has come, as every node does, with what it was given the first
#            time: NodeError.error is declared as BaseException. Or an error that cannot be kept is refused when it is saved.
# Behaviour: the handler is given the error first and, on the way through that counts, its repr as a str. isinstance is False, and
#            the answer of the person goes to the wrong branch; `.code` would be an AttributeError. It is so with the saver in
#            memory, too. An error in the state is saved as its repr as well: without a pause the next node meets an error, with one
#            it meets a text that is true and no Exception. No log says so. Errors of Python's own, as ConnectionError, fare no better.
# Seen with: langgraph 1.2.24 (langgraph-checkpoint 4.3.2), langgraph-checkpoint-sqlite 3.1.2, Python 3.11.7:
#
#     memory, handler, without a pause: Declined, ask the customer
#     memory, handler, with a pause: str, pay again
#     memory, state, without a pause: Declined, ask the customer
#     memory, state, with a pause: str, send the goods
#     sqlite, handler, without a pause: Declined, ask the customer
#     sqlite, handler, with a pause: str, pay again
#     sqlite, state, without a pause: Declined, ask the customer
#     sqlite, state, with a pause: str, send the goods
#
# So: put what the choice needs into the state as plain values, before the first interrupt. In flujo a failed step reaches its program
# as StepFailed with the type's name and the text, in the first life as in each later one, so there is one thing to choose by.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > paying.py <<'PYTHON'
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.errors import NodeError
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt


class Declined(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"declined with {code}")
        self.code = code


class State(TypedDict):
    pauses: bool
    problem: Any
    told: str


def pay(state: State) -> dict[str, Any]:
    raise Declined(51)


def after_failure(state: State, error: NodeError) -> dict[str, Any]:
    if state["pauses"]:
        interrupt("May we go on?")
    choice = "ask the customer" if isinstance(error.error, Declined) else "pay again"
    return {"told": f"{type(error.error).__name__}, {choice}"}


def pay_carefully(state: State) -> dict[str, Any]:
    try:
        return pay(state)
    except Declined as error:
        return {"problem": error}


def choose(state: State) -> dict[str, Any]:
    problem = state["problem"]
    choice = "ask the customer" if isinstance(problem, Exception) else "send the goods"
    return {"told": f"{type(problem).__name__}, {choice}"}


handled = StateGraph(State).add_node("pay", pay, error_handler=after_failure).add_edge(START, "pay").add_edge("pay", END)
kept = StateGraph(State).add_node("pay", pay_carefully).add_node("choose", choose)
kept.add_edge(START, "pay").add_edge("pay", "choose").add_edge("choose", END)

with SqliteSaver.from_conn_string(":memory:") as sqlite:
    for name, saver in {"memory": InMemorySaver(), "sqlite": sqlite}.items():
        for what, graph in {"handler": handled, "state": kept}.items():
            for pauses in False, True:
                before = ["choose"] if pauses and graph is kept else []
                compiled = graph.compile(checkpointer=saver, interrupt_before=before)
                thread = {"configurable": {"thread_id": f"{what} {pauses}"}}
                state = compiled.invoke({"pauses": pauses, "problem": None, "told": ""}, thread)
                if pauses:
                    state = compiled.invoke(None if before else Command(resume="yes"), thread)
                print(f"{name}, {what}, {'with' if pauses else 'without'} a pause: {state['told']}")
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check langgraph==1.2.24 langgraph-checkpoint==4.3.2 langgraph-checkpoint-sqlite==3.1.2 \
    > log 2>&1 || { cat log; exit 1; }
venv/bin/python -W ignore paying.py 2> log | tee seen.log || { cat log; exit 1; }
[ ! -s log ] || { echo "changed: it says something about it now"; cat log; exit 1; }
diff <(sed -n 's/^#     \([a-z]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; exit 1; }
