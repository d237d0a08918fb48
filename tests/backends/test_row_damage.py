"""What becomes of damaged rows, whatever the backend."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from flujo.backends.row_damage import journal_of, sound
from flujo.kernel.backend import EventRow


class _Damage(Exception):
    """What a backend calls damage."""


def _read(row: Sequence[Any]) -> int:
    if row[0] < 0:
        raise _Damage(f"row {row[0]} is not what was written")
    return int(row[0])


def _event(row: Sequence[Any]) -> EventRow:
    return EventRow(row[0], 0, "run_created", 1, "{}", None)


def test_a_damaged_row_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    """The rows around it are read."""
    assert sound(_read, [(1,), (-2,), (3,)], _Damage, logging.getLogger("flujo.tests")) == [1, 3]
    assert caplog.messages == ["it stays as it is: row -2 is not what was written"]


def test_what_is_no_damage_is_raised() -> None:
    """An error of the program is not taken for a damaged row."""
    with pytest.raises(IndexError):
        sound(_read, [()], _Damage, logging.getLogger("flujo.tests"))


@pytest.mark.parametrize(
    ("seqs", "limit", "read", "missing"),
    [
        ([4, 5, 6], 10, [4, 5, 6], None),
        ([4, 5], 2, [4, 5], None),
        ([4, 6], 10, [4], "event 5"),
        ([5, 6], 10, [], "event 4"),
        ([], 10, [], "event 4"),
        ([4, 5], 10, [4, 5], "event 6"),
        ([4, 5, 6, 7], 10, [4, 5, 6, 7], None),
    ],
)
def test_the_first_event_that_is_missing_is_named(
    seqs: list[int], limit: int, read: list[int], missing: str | None
) -> None:
    """Of a run with six events, of which those after the third are wanted. One may have come since its summary."""
    found, gap = journal_of(_event, [(seq,) for seq in seqs], 3, 6, limit)

    assert ([row.seq for row in found], gap) == (read, missing)
