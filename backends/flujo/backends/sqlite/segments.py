"""Where in a store the events of a run are: in segments, stretches of the journals that were written one after another.

The index of the journals goes by (segment, run, seq). A hundred runs that advance together then change the few pages at
its end that are theirs, and not a page each, which is more than half of what they would write (ADR 0024). The table
`run_segments` says in which segments a run has events, in ascending order: a run goes from a segment to a later one and
never back, whoever owns it, because the segment in which a kernel begins with a run is that of the last position the
store has given out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from .checksums import DamagedRow

SIZE = 4_096
"""Events per segment, about: 60 kB of the index, and an entry in `run_segments` for every forty events of each of a
hundred runs."""

JOURNALS = "run_segments CROSS JOIN events ON events.segment = run_segments.segment AND events.run = run_segments.run"
"""SQL: the events of the runs that a WHERE clause chooses by `run_segments.run`, each run's in order."""

BEGINS_AT = "coalesce((SELECT segment FROM run_segments WHERE run = ? AND seq <= ? ORDER BY segment DESC LIMIT 1), 0)"
"""SQL: the segment that has event `seq` of a run."""


def identity(connection: sqlite3.Connection) -> str:
    """Return what tells this store, and the order of its events, from every other; raises DamagedRow."""
    found = connection.execute("SELECT identity FROM store").fetchone()
    if found is None:
        raise DamagedRow("the row which tells it from every other store is missing")
    return str(found[0])


def last_position(connection: sqlite3.Connection) -> int:
    """Return the last position that was given out to an event, also to one that is gone; 0 before the first."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return 0 if found is None else int(found[0])


def enter(runs: Sequence[tuple[int, int, int]], connection: sqlite3.Connection) -> None:
    """Note that runs go on in a segment; each as its key, the segment, and the number of its next event."""
    connection.executemany("INSERT INTO run_segments VALUES (?, ?, ?) ON CONFLICT DO NOTHING", runs)
