"""Declare the facts that a journal holds and how they are written, for those who read or store events.

What that is stands in `journal/events.py`, so that a new kind of event is added there and nowhere else."""

from __future__ import annotations

from .journal.events import *  # noqa: F403 - only what stands in __all__ there
from .journal.events import __all__ as __all__
