"""Who asks something of a run, why, and under which request id.

`RequestOptions` and `ReasonedOptions` are the keywords that the calls of `Runs` have in common; `Asked` is the same as
one checked value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from flujo.kernel.journal.requests import Fingerprint, check_request_id, fingerprint

from .filters import check_text


class RequestOptions(TypedDict, total=False):
    """Who asks, and how a repeat is known."""

    by: str | None
    """Who asks, for the journal."""

    request_id: str | None
    """Tells a repeat of this request from another one."""


class ReasonedOptions(RequestOptions, total=False):
    """The same, with a reason."""

    reason: str | None
    """Why, for the journal."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)  # a half of what one takes to make
class Asked:
    """The value of `ReasonedOptions`.

    Raises InvalidValueError for text that UTF-8 cannot hold, InvalidNameError for a malformed request id."""

    reason: str | None = None
    by: str | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        check_text("reason", self.reason)
        check_text("by", self.by)
        check_request_id(self.request_id)

    def fingerprint(self, kind: str, **body: Any) -> Fingerprint | None:
        """Return the fingerprint of a request of this kind with this body; None without a request id."""
        return fingerprint(self.request_id, kind, reason=self.reason, by=self.by, **body)
