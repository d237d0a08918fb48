"""What a second run of a workflow does while another one is not finished."""

from __future__ import annotations

from enum import StrEnum

IN_LINE = "on_overlap"
"""The name under which a run that queues records that it does."""


class Overlap(StrEnum):
    """What happens to a run that is started while another run of its workflow is not finished.

    Under all but `ALLOW` a run that has ended is resumed only while no other one is unfinished."""

    ALLOW = "allow"
    """Both run."""

    SKIP = "skip"
    """It is not started; the command line says so and takes that for success."""

    QUEUE = "queue"
    """It is started, and begins once every run before it has ended, in the order of their starts."""

    FAIL = "fail"
    """It is not started, and that is an error."""

    def alone_from(self, created_at: int) -> int | None:
        """Return from when on runs count that must be over when a run is created at this instant: every one there is,
        or for a place at the end of the line those that would stand behind it; None if none must be."""
        match self:
            case Overlap.ALLOW:
                return None
            case Overlap.QUEUE:
                return created_at
            case _:
                return 0
