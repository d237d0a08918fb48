"""Move runs between stores: export, import and copies."""

from __future__ import annotations

from .store.copying import (
    MOST_REFUSALS,
    Arrival,
    Copied,
    Outcome,
    Refusal,
    Standing,
    copy_runs,
    import_run,
    missing,
    standing,
)
from .store.export import (
    FORMAT,
    Export,
    ExportedRun,
    examine_export,
    export_run,
    from_json,
    snapshot,
    stored_events,
    to_json,
)

__all__ = [
    "FORMAT",
    "MOST_REFUSALS",
    "Arrival",
    "Copied",
    "Export",
    "ExportedRun",
    "Outcome",
    "Refusal",
    "Standing",
    "copy_runs",
    "examine_export",
    "export_run",
    "from_json",
    "import_run",
    "missing",
    "snapshot",
    "standing",
    "stored_events",
    "to_json",
]
