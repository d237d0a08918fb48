"""Page tokens: where in a listing the next page begins, as opaque text that fits one filter of one store only.

Listings go newest first by an instant and the run id. A token names the last run of the page before, so runs that
arrive or go in between neither repeat nor hide others.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from flujo.kernel.backend import Order, RunFilter, RunSummary, page_token_content, page_token_of
from flujo.kernel.errors import InvalidNameError


class Position(NamedTuple):
    """Where a run stands in a listing; the page after it holds the runs that sort below."""

    instant: int  # `created_at` or `updated_at`, by the order of the listing
    run_id: str


def place(order: Order, run: RunSummary) -> Position:
    """Return where a run stands in a listing that is sorted like this; the newest one has the greatest place."""
    return Position(run.created_at if order is Order.CREATED else run.updated_at, run.run_id)


def page_token(store: str, filter: RunFilter, order: Order, last: RunSummary) -> str:
    """Return the token that continues after `last` in a listing by `filter`; `store` is the identity of the store."""
    return page_token_of([_fingerprint(store, filter, order), *place(order, last)])


def page_position(store: str, filter: RunFilter, order: Order, token: str) -> Position:
    """Return where `token` continues; raises InvalidNameError unless it came from a listing of this store by an equal
    filter and order."""
    position = said_position(token)
    require_page_of(store, filter, order, token)
    return position


def said_position(token: str) -> Position:
    """Return where `token` continues, of whatever listing it is; raises InvalidNameError for what is no token."""
    try:
        _, instant, run_id = page_token_content(token)
    except ValueError as error:
        raise InvalidNameError(
            "page token", token, "take it from the `next` of an earlier page", ["flujoctl list"]
        ) from error
    if not isinstance(instant, int) or not isinstance(run_id, str):
        raise _foreign(token)
    return Position(instant, run_id)


def require_page_of(store: str, filter: RunFilter, order: Order, token: str) -> None:
    """Raise InvalidNameError unless a token came from a listing of this store by an equal filter and order."""
    if page_token_content(token)[0] != _fingerprint(store, filter, order):
        raise _foreign(token)


def _foreign(token: str) -> InvalidNameError:
    return InvalidNameError(
        "page token", token, "it belongs to a listing of another store, filter or order", ["flujoctl list"]
    )


def _fingerprint(store: str, filter: RunFilter, order: Order) -> str:
    return hashlib.blake2b(json.dumps([store, order, filter]).encode(), digest_size=8).hexdigest()
