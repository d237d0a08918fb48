"""Values of other types than were ever written, as damaged pages of a database have them: they are told as damage, and
in the way of nobody else."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from faults.history import DEFINITION, creation, following
from faults.victims import opened
from flujo.kernel.backend import Order, Request, RunFilter, StateBackend
from flujo.kernel.errors import FlujoError

KEYS = {"runs": "run = 1", "events": "run = 1", "inbox": "run = 1", "definitions": "digest = 'digest'"}
"""The row of each table that is damaged."""

OTHER_VALUES = (None, "other", 7, 1.5, b"\xff\xfe", -(2**62))


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database with the runs `w-1`, which waits for an instant and was asked something, and `w-2`."""
    path = tmp_path / "store"
    async with opened(f"sqlite:{path}", "w") as handle:
        first = creation("w-1", "w", 1, DEFINITION)
        first = first._replace(summary=first.summary._replace(wake_at=5))
        assert await handle.append([first, creation("w-2", "w", 2)]) == {}
        await handle.post("w-1", Request("signal", '{"name":"go"}', 3))
    return path


def columns_of(path: Path, table: str) -> list[str]:
    """The columns of a table, without the key that SQLite itself gives every row."""
    with closing(sqlite3.connect(path)) as shell:
        found = shell.execute(f"PRAGMA table_info({table})").fetchall()
    return [name for _, name, type, *_, key in found if not (key and type == "INTEGER")]


def put(value: Any, column: str, table: str, path: Path) -> bool:
    """Let a column of the damaged row hold a value, whatever the table says of it. False if it does already, or if
    another row has this key."""
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("PRAGMA writable_schema = ON")
        before = shell.execute("SELECT name, sql FROM sqlite_schema WHERE tbl_name = ?", (table,)).fetchall()
        ((_, made),) = [row for row in before if row[0] == table]
        loose = made.replace(") STRICT", ")").replace("NOT NULL", "")
        loose = re.sub(rf"(\n    {column} +)(TEXT|INTEGER)", r"\1BLOB", loose)
        shell.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (loose, table))
        shell.execute("PRAGMA writable_schema = RESET")
        shell.execute("PRAGMA foreign_keys = OFF")
        try:
            change = f"UPDATE {table} SET {column} = ?1 WHERE {KEYS[table]} AND {column} IS NOT ?1"
            is_other = shell.execute(change, (value,)).rowcount > 0
        except sqlite3.IntegrityError:
            is_other = False
        shell.execute("PRAGMA writable_schema = ON")
        shell.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (made, table))
        return is_other


async def ask_everything(reader: StateBackend) -> list[FlujoError]:
    """Ask a store what people and kernels do; the errors that it told."""
    told: list[FlujoError] = []
    questions = (
        lambda: reader.integrity(),
        lambda: reader.integrity_beside_runs(),
        lambda: reader.load("w-1"),
        lambda: reader.read_events("w-1", "uid-w-1", 0, 9),
        lambda: reader.requests("w-1", "uid-w-1"),
        lambda: reader.read_runs(["w-1", "w-2"], events=9),
        lambda: reader.list(RunFilter(), limit=9),
        lambda: reader.list(RunFilter(statuses=("running",)), limit=1),
        lambda: reader.list(RunFilter(), limit=9, order=Order.UPDATED),
        lambda: reader.count(RunFilter()),
        lambda: reader.stats(0),
        lambda: reader.get_definition("digest"),
        lambda: reader.stored_workflows(),
        lambda: reader.details(),
    )
    for question in questions:
        try:
            await question()
        except FlujoError as error:
            told.append(error)
    return told


async def go_on(path: Path) -> None:
    """Take over what can be, advance the sound run, and ask what its owner asks now and then."""
    async with opened(f"sqlite:{path}", "v") as handle:
        claimed = await handle.claim_idle(["running", "pending", "waiting"], ["w", "word-count"], 9)
        for run in claimed:
            if run.run_id == "w-2":
                assert await handle.append([following(run)]) == {}
        await handle.due(10, 9)
        await handle.take()
        await handle.release(None)


@pytest.mark.parametrize("table", KEYS)
async def test_a_value_of_another_type_is_told_as_damage(path: Path, table: str) -> None:
    """In any column: no question ends in anything but an answer or an error of flujo's, and the other run is there."""
    whole = path.read_bytes()  # noqa: ASYNC240
    silent, in_the_way = [], []
    for column in columns_of(path, table):
        for value in OTHER_VALUES:
            path.write_bytes(whole)  # noqa: ASYNC240
            if not put(value, column, table, path):
                continue
            async with opened(f"sqlite:{path}", None) as reader:
                told = await ask_everything(reader)
                named = await reader.integrity()
                listed = [run.run_id for run in (await reader.list(RunFilter(), limit=9)).runs]
                sound = await reader.read_events("w-2", "uid-w-2", 0, 9)
            if not told and not named:
                silent.append((column, value))
            if "w-2" not in listed or len(sound) != 1:
                in_the_way.append((column, value))
            await go_on(path)

    assert silent == []
    assert in_the_way == []
