#!/usr/bin/env bash
# asyncpg: a service that is not in the service file, or that is named by PGSERVICE, is passed over, and this host is asked instead.
#
# A service file of PostgreSQL knows "production", on another host. Two programs connect with nothing but the name of the service: one
# with a letter in the wrong place, one by the variable PGSERVICE, which asyncpg knows.
# Guess:     a service that is not there is an error that names it, as libpq has it: "definition of service … not found"; and the
#            variable does what the option does.
# Behaviour: asyncpg looks for the service where one is given, takes a missing one for none, and goes on to the default: this
#            host, where there may be a server, too. PGSERVICE is read after that look, so it has no effect.
# Seen with: asyncpg 0.32.0, psycopg 3.3.9 with the libpq of its wheel, Python 3.11.7:
#
#     asyncpg, service=production: asks db.invalid
#     asyncpg, service=productoin: asks this host
#     asyncpg, PGSERVICE=production: asks this host
#     psycopg, service=production: asks db.invalid
#     psycopg, service=productoin: definition of service "productoin" not found
#     psycopg, PGSERVICE=production: asks db.invalid
#
# So: whoever connects by asyncpg looks for the service before. flujo does (backends/flujo/backends/postgres/libpq.py), and hands the
# variable on as the option.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > services <<'SERVICES'
[production]
host=db.invalid
port=6000
dbname=orders
user=flow
password=none
SERVICES
cat > ask.py <<'PYTHON'
import asyncio
import os
import socket
import threading

import asyncpg
import psycopg

for variable in "PGHOST", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE":
    os.environ.pop(variable, None)
knocks: list[str] = []


def listen(door: socket.socket) -> None:
    """Note who comes, and say no word."""
    while True:
        connection, (host, _) = door.accept()
        knocks.append(host)
        connection.close()


def by_asyncpg(url: str) -> None:
    async def connect() -> None:
        await asyncpg.connect(url, timeout=10, ssl=False)

    asyncio.run(connect())


def by_psycopg(url: str) -> None:
    psycopg.connect(url, connect_timeout=10)


def asked(connect, url: str) -> str:
    knocks.clear()
    try:
        connect(url)
    except Exception as error:
        if knocks:
            return "asks this host"
        said = str(error)
        if "not found" in said:
            return said.partition("definition")[1] + said.partition("definition")[2]
        return "asks db.invalid" if isinstance(error, socket.gaierror) or "db.invalid" in said else said
    return "connected"


door = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=listen, args=(door,), daemon=True).start()
os.environ["PGPORT"] = str(door.getsockname()[1])  # that of this host, where no service says otherwise
os.environ["PGSERVICEFILE"] = os.path.abspath("services")
for name, connect in {"asyncpg": by_asyncpg, "psycopg": by_psycopg}.items():
    for service in "production", "productoin":
        print(f"{name}, service={service}: {asked(connect, f'postgresql://?service={service}')}")
    os.environ["PGSERVICE"] = "production"
    print(f"{name}, PGSERVICE=production: {asked(connect, 'postgresql://')}")
    del os.environ["PGSERVICE"]
PYTHON
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check asyncpg==0.32.0 "psycopg[binary]==3.3.9" > log 2>&1 || { cat log; exit 1; }
venv/bin/python ask.py 2> log | tee seen.log || { cat log; exit 1; }
diff <(sed -nE 's/^#     (asyncpg|psycopg), /\1, /p' "$script") seen.log || { echo "changed: not what was seen before"; cat log; exit 1; }
