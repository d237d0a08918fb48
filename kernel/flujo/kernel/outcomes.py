"""What became of a request to a run."""

from __future__ import annotations

from enum import StrEnum


class Delivery(StrEnum):
    """What became of a signal that was sent."""

    RECORDED = "recorded"
    """It is in the run's journal."""

    POSTED = "posted"
    """It is in the run's inbox, and the live owner takes it within a quarter of a second."""

    STORED = "stored"
    """It is in the run's inbox, and nobody runs that run: it is taken when somebody resumes it."""

    UNKNOWN = "unknown"
    """A newer server did what was asked, and says so with a word that this client does not know."""


class CancelOutcome(StrEnum):
    """What became of a request to cancel."""

    REQUESTED = "requested"
    """The live owner has been told, and stops the run."""

    CANCELLED = "cancelled"
    """Nobody ran the run: it is cancelled now."""

    ALREADY_FINISHED = "already_finished"
    """The run was final before."""

    UNKNOWN = "unknown"
    """A newer server did what was asked, and says so with a word that this client does not know."""


class PauseOutcome(StrEnum):
    """What became of a request to pause."""

    REQUESTED = "requested"
    """The live owner has been told: no attempt starts any more, and the run is paused once the last body has ended."""

    PAUSED = "paused"
    """Nobody ran the run: it is paused now."""

    ALREADY_PAUSED = "already_paused"
    """It was paused before."""

    UNKNOWN = "unknown"
    """A newer server did what was asked, and says so with a word that this client does not know."""


class PutOutcome(StrEnum):
    """What became of a definition that was to be stored under the name of its workflow."""

    CREATED = "created"
    """Nothing was stored there before."""

    REPLACED = "replaced"
    """Another text was."""

    UNCHANGED = "unchanged"
    """The same text was."""

    UNKNOWN = "unknown"
    """A newer server did what was asked, and says so with a word that this client does not know."""
