"""Runs in one SQLite file that any number of processes of a host may share. docs/sqlite-store.md has the whole story.

Top down: `backend` is the port, `journal` and `queries` are the SQL it runs, `checksums` tell whether a row is what was
written, `connection` brings a unit of work to a connection's thread and its errors back, `files` finds, creates and
refuses files, `schema` (`schema.sql`) is what is stored. Who is alive and whose turn it is to write say
`flujo.backends.locks`.

Before a store is used, `preparation` creates it, migrates it (`migrations`) or looks through it after a crash;
`filesystems` says where it must not be. Beside the runs, `integrity` looks through it (`checks.sql`), `maintenance`
copies it (`copies`) and puts a copy back; what takes long there can be given up (`interruption`).
"""

from .backend import SQLiteBackend, open_sqlite

__all__ = ["SQLiteBackend", "open_sqlite"]
