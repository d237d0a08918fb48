"""Page tokens of answers that the server itself divides: opaque texts that go on with one request only.

What a backend divides has tokens of the backend's own (flujo.backends.pages).
"""

from __future__ import annotations

import hashlib
import json
from typing import TypeVarTuple, cast

from flujo.kernel.backend import page_token_content, page_token_of
from flujo.kernel.errors import InvalidNameError

Places = TypeVarTuple("Places")


class PageTokens:
    """The tokens of one question. Its parts say what is asked: with another one a token is refused."""

    def __init__(self, *question: object) -> None:
        self._fingerprint = hashlib.blake2b(json.dumps(question).encode(), digest_size=8).hexdigest()

    def after(self, *place: str | int) -> str:
        """Return the token for what comes after a place."""
        return page_token_of([self._fingerprint, *place])

    def place(self, token: str, *first: *Places) -> tuple[*Places]:
        """Return the place after which a page begins; `first` for the first one. Raises InvalidNameError for what is no
        token of this question."""
        if not token:
            return first
        try:
            fingerprint, *place = page_token_content(token)
        except ValueError:
            raise _foreign(token) from None
        if fingerprint != self._fingerprint or list(map(type, place)) != list(map(type, first)):
            raise _foreign(token)
        return cast("tuple[*Places]", tuple(place))


def _foreign(token: str) -> InvalidNameError:
    return InvalidNameError(
        "page_token", token, "take it from `next_page_token` of an earlier page of the same question"
    )
