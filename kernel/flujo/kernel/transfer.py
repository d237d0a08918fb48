"""Move runs between stores: export, import and copies."""

from __future__ import annotations

from .store.copying import (
    MOST_REFUSALS,
    Arrival,
    CopyResult,
    Outcome,
    Presence,
    Refusal,
    copy_runs,
    import_run,
    missing,
    presence_of,
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
    "CopyResult",
    "Export",
    "ExportedRun",
    "Outcome",
    "Presence",
    "Refusal",
    "copy_runs",
    "examine_export",
    "export_run",
    "from_json",
    "import_run",
    "missing",
    "presence_of",
    "snapshot",
    "stored_events",
    "to_json",
]
