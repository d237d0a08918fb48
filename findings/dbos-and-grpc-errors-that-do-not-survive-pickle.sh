#!/usr/bin/env bash
# DBOS and gRPC: which `except` of a workflow catches the error of a step depends on pickle, in the first run or only after a
# crash.
#
# A step fails, the workflow catches that and goes on; the process dies later, and the workflow is recovered.
# Guess:     a step's error is recorded like a result, so the workflow catches the same error in both runs, and the failed
#            step is not called again.
# Behaviour: (a) An error whose class has a constructor of its own, with other parameters than Exception.args, is caught in
#            the first run; the recovered run gets pickle's TypeError in its place and passes the `except` by. (b) The error
#            of gRPC's synchronous client holds a lock. The first run already gets a TypeError about that, nothing is
#            recorded, and the recovered run calls again. (c) The error of gRPC's asyncio client, for the same status, is
#            caught both times.
# Seen with: dbos 3.4.0 on SQLite, grpcio 1.85.3, Python 3.11.7:
#
#     own: first Declined, recovered TypeError, calls 1
#     grpc: first TypeError, recovered TypeError, calls 2
#     grpc.aio: first AioRpcError, recovered AioRpcError, calls 1
#
# So: raise plain errors from such steps, with all arguments in `args`, or record errors as a type's name and a text.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > failing.py <<'PYTHON'
import asyncio
import os
import sys
from pathlib import Path

import grpc
from dbos import DBOS, SetWorkflowID

kind, part = sys.argv[1:]
DBOS(config={"name": "failing", "system_database_url": "sqlite:///failing.db", "application_version": "1",
             "run_admin_server": False, "log_level": "CRITICAL"})
NOBODY = "unix:nobody-listens-here"


class Declined(Exception):
    def __init__(self, code, reason):
        super().__init__(f"{code}: {reason}")


async def call():
    async with grpc.aio.insecure_channel(NOBODY) as channel:
        await channel.unary_unary("/shop.Shop/Pay")(b"", timeout=5)


@DBOS.step()
def pay():
    with Path(f"{kind}.calls").open("a") as calls:
        calls.write("x")
    if kind == "own":
        raise Declined(7, "no money")
    if kind == "grpc.aio":
        asyncio.run(call())
    with grpc.insecure_channel(NOBODY) as channel:
        channel.unary_unary("/shop.Shop/Pay")(b"", timeout=5)


@DBOS.step()
def last_step():
    if part == "first":
        os._exit(9)


@DBOS.workflow()
def buy():
    try:
        pay()
    except Exception as error:
        Path(f"{kind}.{part}").write_text(type(error).__name__)
    last_step()


DBOS.launch()
if part == "first":
    with SetWorkflowID(kind):
        buy()
else:
    DBOS.retrieve_workflow(kind).get_result()
    DBOS.destroy()
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dbos==3.4.0 grpcio==1.85.3
for kind in own grpc grpc.aio; do
    venv/bin/python failing.py $kind first 2>>log || true
    venv/bin/python failing.py $kind recovered 2>>log
    said="$kind: first $(cat $kind.first), recovered $(cat $kind.recovered), calls $(tr -d '\n' < $kind.calls | wc -c)"
    echo "$said"
    grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
done
