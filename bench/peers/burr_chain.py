"""Burr with its SQLite persister: a rollback journal, synced at each commit; one run after the other, since it has one
connection."""

import sys
import time

from burr.core import ApplicationBuilder, State, action, expr
from burr.core.persistence import SQLitePersister

VALUE = "x" * 1022
folder, mode, runs, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


@action(reads=["done"], writes=["done", "value"])
def work(state: State) -> State:
    return state.update(done=state["done"] + 1, value=VALUE)


@action(reads=[], writes=[])
def end(state: State) -> State:
    return state


persister = SQLitePersister.from_values(f"{folder}/burr.db")
persister.initialize()
began = time.perf_counter()
for run in range(runs):
    application = (
        ApplicationBuilder()
        .with_actions(work, end)
        .with_transitions(("work", "end", expr(f"done == {steps}")), ("work", "work"))
        .with_state(done=0)
        .with_entrypoint("work")
        .with_identifiers(app_id=str(run))
        .with_state_persister(persister)
        .build()
    )
    _, _, state = application.run(halt_before=["end"])
    assert state["done"] == steps
print(time.perf_counter() - began, runs * steps, flush=True)
