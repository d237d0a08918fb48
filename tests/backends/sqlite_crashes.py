"""Kills a maintenance task of the SQLite store at every point: `python sqlite_crashes.py TASK ORIGINAL FOLDER`.

ORIGINAL is a folder with a `state.db`, and for a restore a `backup.db` or a `state.db.replaced`. For each point a child
works on a copy of it, FOLDER/NUMBER, and dies by SIGKILL there: before a statement, and before a file is opened, named,
renamed or removed. The last child gets through. Prints how many died.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flujo.backends.locks import KernelLocks
from flujo.backends.sqlite import files, maintenance, preparation

EVENTS = frozenset(["open", "os.rename", "os.link", "os.remove", "sqlite3.connect"])


def open_store(folder: Path) -> None:
    """What a kernel does before it uses a store: here, to migrate it."""
    places = files.StoreFiles.at("sqlite:state.db", folder / "state.db")
    files.make_folders(places)
    preparation.prepare(places, KernelLocks(places.kernels), "one")


def restore(folder: Path) -> None:
    """Put the backup in the place of the store, or take an earlier restore back."""
    backup = folder / "backup.db"
    maintenance.restore(backup if backup.exists() else folder / "state.db.replaced", folder / "state.db", force=True)


TASKS: dict[str, Callable[[Path], None]] = {"open": open_store, "restore": restore}


def die_at(point: int) -> None:
    """Let this process die when it has come to so many points."""
    passed = 0

    def pass_one() -> None:
        nonlocal passed
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    def hear(event: str, arguments: Any) -> None:
        if event in EVENTS:
            pass_one()

    def connect(*arguments: Any, **options: Any) -> Any:
        connection = original(*arguments, **options)
        connection.set_trace_callback(lambda _statement: pass_one())
        return connection

    original = sqlite3.connect
    sqlite3.connect = connect
    sys.addaudithook(hear)


def main(task: str, original: Path, folder: Path) -> int:
    """How many children died."""
    point = 0
    while True:
        place = folder / str(point)
        shutil.copytree(original, place)
        child = os.fork()
        if child == 0:
            die_at(point)
            TASKS[task](place)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status) != 0:
                raise SystemExit(f"the task failed at point {point}")
            return point
        point += 1


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))  # noqa: T201
