"""Raw group commit: the frozen loop every ratio is measured against. Do not make it faster or slower.

For each of `steps` rounds one transaction writes what `runs` concurrent runs record when each finishes a step and
starts the next: two journal rows per run (an outcome with a 1 KiB payload, a start) and the summary update with its
token check. Everything is prepared before the clock starts; one thread, no event loop, multi-row statements into
the tables of `raw.sql` and with the same settings as the store."""

from __future__ import annotations

import os
import sqlite3
import time
from itertools import chain
from pathlib import Path

VALUE = "x" * 1022
ROWS = 32
SETTINGS = (
    "auto_vacuum=INCREMENTAL",
    "journal_mode=WAL",
    "foreign_keys=ON",
    "wal_autocheckpoint=0",
)

COLUMNS = ("seq", "updated_at", "current_step", "steps_done")  # what a step changes in a summary, and nothing else


def raw_seconds(path: Path, runs: int, steps: int, value: str = VALUE, synchronous: str = "FULL") -> float:
    """How long the transactions alone take, in seconds."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in (*SETTINGS, f"synchronous={synchronous}"):
        connection.execute(f"PRAGMA {pragma}")
    connection.executescript(Path(__file__).with_name("raw.sql").read_text())
    for run in range(1, runs + 1):
        connection.execute(
            "INSERT INTO runs (run, run_id, uid, workflow, status, seq, owner, token, labels, created_at, updated_at, "
            "steps_done, retries, resume_count) VALUES (?, ?, ?, 'bench', 'running', 0, 'me', 1, '{}', 1, 1, 0, 0, 0)",
            (run, f"run-{run}", f"{run:032x}"),
        )
    batches = [_batch(runs, step, f'"{value}"') for step in range(steps)]
    pages = 0
    started = time.perf_counter()
    for inserts, updates in batches:
        connection.execute("BEGIN IMMEDIATE")
        for sql, values in inserts:
            connection.execute(sql, values)
        for sql, values in updates:
            connection.execute(sql, values)
        connection.execute("COMMIT")
        pages += runs  # two rows of 1.2 KiB and an index entry or two: about a page per run
        if pages >= 1000:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            pages = 0
    seconds = time.perf_counter() - started
    connection.close()
    return seconds


Statements = list[tuple[str, list[object]]]


def _batch(runs: int, step: int, payload: str) -> tuple[Statements, Statements]:
    seq = 2 * step
    events: list[list[object]] = []
    updates: list[list[object]] = []
    for run in range(1, runs + 1):
        events.append([run, seq + 1, 1_700_000_000_000_000, "step_completed", 1, f'{{"step":"work#{step}"}}', payload])
        events.append([run, seq + 2, 1_700_000_000_000_000, "step_started", 1, f'{{"step":"work#{step + 1}"}}', None])
        updates.append([run, f"{run:032x}", 1, seq, seq + 2, 2, f"work#{step + 1}", step])
    insert = "INSERT INTO events (run, seq, at, type, format, body, payload) VALUES "
    return _statements(insert, "", events, 7), _statements(*_update(), updates, 8)


def raw_file_seconds(folder: Path, runs: int, steps: int, value: str = VALUE) -> float:
    """The same for a store of files: in each round a run has its two lines appended to its file, which is synced."""
    folder.mkdir()
    lines = [
        f'{{"seq":{seq},"step":"work#{step}","payload":"{value}"}}\n{{"seq":{seq + 1},"step":"work#{step}"}}\n'
        for step, seq in enumerate(range(0, 2 * steps, 2))
    ]
    files = [os.open(folder / f"{run}", os.O_WRONLY | os.O_CREAT | os.O_APPEND) for run in range(runs)]
    started = time.perf_counter()
    for line in map(str.encode, lines):
        for file in files:
            os.write(file, line)
            os.fsync(file)
    seconds = time.perf_counter() - started
    for file in files:
        os.close(file)
    return seconds


def _update() -> tuple[str, str]:
    changes = ", ".join(f"{name} = new.column{index}" for index, name in enumerate(COLUMNS, start=5))
    where = "WHERE run = new.column1 AND uid = new.column2 AND token = new.column3 AND seq = new.column4"
    return f"UPDATE runs SET {changes} FROM (VALUES ", f") AS new {where}"


def _statements(head: str, tail: str, rows: list[list[object]], width: int) -> Statements:
    row = f"({', '.join('?' * width)})"
    found: Statements = []
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        found.append((head + ", ".join([row] * len(part)) + tail, list(chain.from_iterable(part))))
    return found
