#!/usr/bin/env bash
# DBOS with asyncio: a step that the workflow's own timeout has given up is called again by the recovered workflow, which may then
# believe in another outcome than the steps behind it were carried out with.
#
# A workflow asks for a price, in a step, and takes a fallback if there is no answer in two seconds. It orders at that price in
# the next step, and its process dies in the last one. The shop is slow the first time and quick the second.
# Guess:     whatever a step came to is recorded before the workflow goes on, a cancellation as well as a result or an error, so the
#            recovered workflow takes the same way: it orders at the fallback and returns the fallback.
# Behaviour: asyncio.timeout and asyncio.wait_for cancel the step, and of a cancelled step nothing is recorded. The recovered
#            workflow finds a gap where `ask` was, calls it, gets the answer of the quick shop and records that; what follows it is
#            in the records already. The workflow ends with SUCCESS and returns a price at which nothing was ordered, and the list
#            of its steps reads as if it had been given the answer all the time. The step's own timeout_seconds is an error of the
#            step: recorded, and the same in both lives.
# Seen with: dbos 3.4.0 on SQLite, Python 3.11.7:
#
#     asyncio.timeout: ordered at the fallback; recovered: SUCCESS, returned the answer, asked 2 times, recorded ask: the answer
#     asyncio.wait_for: ordered at the fallback; recovered: SUCCESS, returned the answer, asked 2 times, recorded ask: the answer
#     timeout_seconds: ordered at the fallback; recovered: SUCCESS, returned the fallback, asked 1 times, recorded ask: DBOSStepTimeoutError
#
# So: with DBOS give the timeout to the step, or wait by DBOS.asyncio_wait, which records what was done in time. flujo records that a
# step was cancelled by its own program, and waits to be told to cancel it again when that is replayed, so the program takes the way
# it has taken.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > buying.py <<'PYTHON'
import asyncio
import os
import sys
from pathlib import Path

from dbos import DBOS, SetWorkflowID

way, part = sys.argv[1:]
calls, orders = Path(f"{way}.calls"), Path(f"{way}.orders")
DBOS(config={"name": "buying", "system_database_url": f"sqlite:///{way}.db", "application_version": "1",
             "run_admin_server": False, "log_level": "CRITICAL"})


@DBOS.step(timeout_seconds=2 if way == "timeout_seconds" else None)
async def ask():
    with calls.open("a") as file:
        file.write("x")
    await asyncio.sleep(60 if calls.read_text() == "x" else 0)
    return "the answer"


@DBOS.step()
async def order(price):
    orders.write_text(price)


@DBOS.step()
async def last_step():
    if part == "first":
        os._exit(9)


async def price_in_time():
    if way == "asyncio.timeout":
        async with asyncio.timeout(2):
            return await ask()
    return await (asyncio.wait_for(ask(), 2) if way == "asyncio.wait_for" else ask())


@DBOS.workflow()
async def buy():
    try:
        price = await price_in_time()
    except Exception as error:
        assert "timeout" in type(error).__name__.lower(), error
        price = "the fallback"
    await order(price)
    await last_step()
    return price


async def main():
    if part == "first":
        with SetWorkflowID(way):
            await (await DBOS.start_workflow_async(buy)).get_result()
    handle = await DBOS.retrieve_workflow_async(way)
    result = await handle.get_result()
    steps = {step["function_name"].rpartition(".")[2]: step for step in await DBOS.list_workflow_steps_async(way)}
    recorded = steps["ask"]["output"] or type(steps["ask"]["error"]).__name__
    print(f"{way}: ordered at {orders.read_text()}; recovered: {(await handle.get_status()).status}, returned {result}, "
          f"asked {len(calls.read_text())} times, recorded ask: {recorded}")


DBOS.launch()
asyncio.run(main())
DBOS.destroy()
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dbos==3.4.0 > log 2>&1 || { cat log; exit 1; }
for way in asyncio.timeout asyncio.wait_for timeout_seconds; do
    venv/bin/python buying.py $way first 2>> log || true
    venv/bin/python buying.py $way recovered 2>> log | tee -a seen.log || { cat log; exit 1; }
done
diff <(sed -n 's/^#     \([a-z]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; cat log; exit 1; }
