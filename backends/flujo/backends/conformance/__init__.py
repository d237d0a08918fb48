"""What every backend must do, as code: the suite that a new backend passes before a kernel may trust it.

A behaviour is an async function whose docstring is the promise it checks, against a fresh, empty store. The suite needs
no test library; this is all it takes, on each event loop the backend declares:

    for behaviour in BEHAVIOURS:
        async with Harness(make_handle) as harness:  # make_handle(): a new, unopened handle on one and the same store
            await behaviour.check(harness)

A failed promise is an AssertionError. Instants and ids are made up; nothing here sleeps or depends on timing. What a
backend does not declare in its `capabilities` is not asked of it. docs/writing-a-backend.md is a walk through it.

`harness` says what a behaviour is, `values` makes what is stored, and each other module is one chapter of the port.
"""

from . import (
    appending,
    cancellation,
    changing,
    choosing,
    definitions,
    families,
    figures,
    inbox,
    journals,
    lifecycle,
    limiting,
    maintenance,
    overlapping,
    owning,
    pages,
    payloads,
    removing,
    restoring,
)
from .choosing import FILTERS
from .definitions import DEFINITION
from .harness import PATIENCE_SECONDS, Behaviour, Harness, behaviour, raising, suite
from .values import create, creation, event, following, journal, listed, settled

__all__ = [
    "BEHAVIOURS",
    "DEFINITION",
    "FILTERS",
    "PATIENCE_SECONDS",
    "Behaviour",
    "Harness",
    "behaviour",
    "create",
    "creation",
    "event",
    "following",
    "journal",
    "listed",
    "raising",
    "settled",
]

BEHAVIOURS: tuple[Behaviour, ...] = suite(
    lifecycle,
    appending,
    overlapping,
    payloads,
    definitions,
    owning,
    limiting,
    inbox,
    journals,
    changing,
    choosing,
    pages,
    removing,
    families,
    figures,
    maintenance,
    restoring,
    cancellation,
)
"""The whole suite, chapter by chapter."""
