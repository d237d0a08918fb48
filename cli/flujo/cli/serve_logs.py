"""The log of `flujoctl serve` on stderr: lines of text for people, or JSON objects for programs.

Both say what a line is about, where it is about something: `run_id`, `step`, `attempt` and `request_id`, and of a call
its `method`, `principal` and `peer`.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from .session import harmless

ABOUT = ("run_id", "step", "attempt", "request_id", "method", "principal", "peer")
"""What a record may be about, by the names of its attributes."""


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {name: value for name in ABOUT if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """Writes a record as a line that cannot move the cursor of a terminal; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line without its traceback: one line, whatever a caller is called."""
        return super().formatMessage(record).replace("\n", "\\n")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines."""
        return harmless(super().format(record))


def log_to_stderr(level: str, format: str, *, verbosity: int = 0) -> None:
    """Log what flujo and its libraries say from this level on; -v says more than the level does."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    wanted = min(getattr(logging, level.upper()), {0: logging.ERROR, 1: logging.INFO}.get(verbosity, logging.DEBUG))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(wanted, logging.INFO))  # libraries tell much when they are asked for everything
    logging.getLogger("flujo").setLevel(wanted)
