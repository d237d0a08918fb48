"""Who asks something of a run, why, and under which request id, as one checked value."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel.api import Asked, ReasonedOptions
from flujo.kernel.errors import FlujoError, InvalidNameError, InvalidValueError
from flujo.kernel.journal.requests import fingerprint


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"by": "\udcff"}, InvalidValueError),
        ({"reason": "\udcff"}, InvalidValueError),
        ({"by": 7}, InvalidValueError),
        ({"request_id": "a b"}, InvalidNameError),
        ({"request_id": ""}, InvalidNameError),
    ],
)
def test_what_no_journal_and_no_message_can_hold_is_refused(told: dict[str, Any], error: type[FlujoError]) -> None:
    """By a kernel as by a client, before anything is sent or stored."""
    with pytest.raises(error):
        Asked(**told)


def test_the_value_has_the_keywords_of_the_calls() -> None:
    """A keyword that only one of them had would be taken and forgotten, or could not be given."""
    assert set(Asked.__dataclass_fields__) == set(ReasonedOptions.__annotations__)


def test_the_fingerprint_holds_who_and_why() -> None:
    """The same call with another reason is another request; what is not said is left out, as ever."""
    asked = Asked(request_id="x", by="ann")

    assert asked.fingerprint("skip", step="a") == fingerprint("x", "skip", step="a", by="ann")
    assert asked.fingerprint("skip", step="a") != Asked(request_id="x").fingerprint("skip", step="a")
    assert Asked(by="ann").fingerprint("skip", step="a") is None
