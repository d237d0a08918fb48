"""Page tokens: where in a listing the next page begins, as opaque text that fits one filter only.

Listings go newest first by (created_at, run_id). A token names the last run of the page before, so runs that arrive or
go in between neither repeat nor hide others.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import NamedTuple

from flujo.kernel.backend import RunFilter, RunSummary
from flujo.kernel.errors import InvalidNameError


class Position(NamedTuple):
    """The last run that was listed; the next page holds the runs that sort below it."""

    created_at: int
    run_id: str


def page_token(filter: RunFilter, last: RunSummary) -> str:
    """The token that continues after `last` in a listing by `filter`."""
    content = json.dumps([_fingerprint(filter), last.created_at, last.run_id])
    return base64.urlsafe_b64encode(content.encode()).decode()


def page_position(filter: RunFilter, token: str) -> Position:
    """Where `token` continues; raises InvalidNameError unless it came from a listing by an equal filter."""
    try:
        fingerprint, created_at, run_id = json.loads(base64.urlsafe_b64decode(token.encode()))
    except ValueError as error:
        raise InvalidNameError("page token", token, "take it from the `next` of an earlier page") from error
    if fingerprint != _fingerprint(filter) or not isinstance(created_at, int) or not isinstance(run_id, str):
        raise InvalidNameError("page token", token, "it belongs to a listing with another filter")
    return Position(created_at, run_id)


def _fingerprint(filter: RunFilter) -> str:
    return hashlib.blake2b(json.dumps(filter).encode(), digest_size=8).hexdigest()
