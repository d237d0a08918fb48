#!/usr/bin/env bash
# aiosqlite: an INSERT that a timeout has given up is still carried out, and the next commit of the connection makes it
# durable.
#
# An INSERT is held up (by an SQL function that waits) until asyncio.timeout cancels it. The caller does something else on the
# same connection and commits that.
# Guess:     cancelled like any other await: the statement has not happened, or it has failed, or the transaction is marked
#            so.
# Behaviour: the statement stays with the connection's thread and completes there after the error was raised. Nothing rolls
#            back, and the connection says in_transaction as it would for any open one. A commit of later work takes the row
#            along: a retry after the timeout leaves two rows. A rollback right after the timeout waits for the statement and
#            undoes it.
# Seen with: aiosqlite 0.22.1 and 0.19.0, Python 3.11.7:
#
#     0.19.0 after TimeoutError, retried and committed: 2 rows
#     0.19.0 after TimeoutError, rolled back, retried and committed: 1 rows
#     0.22.1 after TimeoutError, retried and committed: 2 rows
#     0.22.1 after TimeoutError, rolled back, retried and committed: 1 rows
#
# So: roll back whenever a statement was cancelled, before anybody else uses the connection.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > given_up.py <<'PYTHON'
import asyncio
import threading

import aiosqlite


async def rows_after(rolls_back):
    gate = threading.Event()

    def held_up(value):
        gate.wait(20)
        return value

    async with aiosqlite.connect(":memory:") as connection:
        await connection.create_function("held_up", 1, held_up)
        await connection.execute("CREATE TABLE orders (item)")
        await connection.commit()
        try:
            async with asyncio.timeout(0.2):
                await connection.execute("INSERT INTO orders VALUES (held_up('tea'))")
        except TimeoutError:
            gate.set()
        if rolls_back:
            await connection.rollback()
        await connection.execute("INSERT INTO orders VALUES ('tea')")
        await connection.commit()
        async with connection.execute("SELECT count(*) FROM orders") as answer:
            return (await answer.fetchone())[0]


async def main():
    print(f"after TimeoutError, retried and committed: {await rows_after(False)} rows")
    print(f"after TimeoutError, rolled back, retried and committed: {await rows_after(True)} rows")


asyncio.run(main())
PYTHON

for version in 0.19.0 0.22.1; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "aiosqlite==$version"
    "venv-$version/bin/python" given_up.py | while read -r line; do
        said="$version $line"
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
    done
done
