"""Which runs must be over when one is created, by what its workflow says."""

from __future__ import annotations

import pytest

from flujo.kernel.journal.overlap import Overlap


@pytest.mark.parametrize(
    ("on_overlap", "alone_from"),
    [(Overlap.ALLOW, None), (Overlap.SKIP, 0), (Overlap.FAIL, 0), (Overlap.QUEUE, 7)],
)
def test_a_run_asks_to_be_alone_from_an_instant_on(on_overlap: Overlap, alone_from: int | None) -> None:
    """From the beginning of time, or for a place at the end of the line from its own instant."""
    assert on_overlap.alone_from(7) == alone_from
