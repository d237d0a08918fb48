#!/usr/bin/env bash
# SQLite from Python: the bytes that serialize() gives of a WAL database cannot be opened by deserialize(), not even by way of
# memory.
#
# Guess:     deserialize() opens what serialize() has made, as the documentation of the sqlite3 module presents them. And at
#            the latest a backup into ":memory:", whose PRAGMA journal_mode says "memory", is free of WAL.
# Behaviour: deserialize() accepts the bytes, and the first statement fails with "unable to open database file": bytes 18 and
#            19 of the header still say WAL, where a database in memory cannot have one. The backup API copies pages, so the
#            copy in memory has these two bytes as well, does not show them in journal_mode, and fails after its own
#            serialize() in the same way. VACUUM INTO writes a new header: its copy is not in WAL mode, and can be read this
#            way.
# Seen with: sqlite3 of Python 3.11.7 (SQLite 3.40.1), apsw 3.54.1.0 (its own SQLite 3.54.1):
#
#     sqlite3 the file: unable to open database file
#     sqlite3 its backup in memory (journal_mode memory): unable to open database file
#     sqlite3 its VACUUM INTO (journal_mode delete): 1 row
#     apsw the file: unable to open database file
#     apsw its backup in memory (journal_mode memory): unable to open database file
#     apsw its VACUUM INTO (journal_mode delete): 1 row
#
# So: make copies that are carried about as bytes with VACUUM INTO. SQLite's page on sqlite3_deserialize tells of the two
# bytes.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > copies.py <<'PYTHON'
import sqlite3
import sys

import apsw


def with_sqlite3(path):
    return sqlite3.connect(path, isolation_level=None)


def backup_with_apsw(source, target):
    with target.backup("main", source, "main") as backup:
        backup.step()


def one(connection, statement):
    return next(iter(connection.execute(statement)))[0]


if sys.argv[1] == "apsw":
    connect, backup = apsw.Connection, backup_with_apsw
    serialize, deserialize = (lambda of: of.serialize("main")), (lambda to, data: to.deserialize("main", data))
else:
    connect, backup = with_sqlite3, sqlite3.Connection.backup
    serialize, deserialize = sqlite3.Connection.serialize, sqlite3.Connection.deserialize


def read_again(copy):
    opened = connect(":memory:")
    deserialize(opened, serialize(copy))
    try:
        return f"{one(opened, 'SELECT count(*) FROM runs')} row"
    except (sqlite3.OperationalError, apsw.CantOpenError) as error:
        return str(error).rpartition(": ")[2]


store = connect("store.db")
store.execute("PRAGMA journal_mode = WAL")
store.execute("CREATE TABLE runs (id)")
store.execute("INSERT INTO runs VALUES (1)")
print("the file:", read_again(store))
memory = connect(":memory:")
backup(store, memory)
print(f"its backup in memory (journal_mode {one(memory, 'PRAGMA journal_mode')}):", read_again(memory))
store.execute("VACUUM INTO 'vacuumed.db'")
vacuumed = connect("vacuumed.db")
print(f"its VACUUM INTO (journal_mode {one(vacuumed, 'PRAGMA journal_mode')}):", read_again(vacuumed))
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check apsw==3.54.1.0
for library in sqlite3 apsw; do
    mkdir $library
    (cd $library && ../venv/bin/python ../copies.py $library) | while read -r line; do
        said="$library $line"
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
    done
done
