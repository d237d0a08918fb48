"""Writers that are killed at random moments: what they were told is there, and everything is whole."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from faults.victims import Life, kill_one, look, victim
from faults.writer import HASTY

ROUNDS = 8
SCHEMES = ("sqlite", "file")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_killed_writer_loses_nothing_it_was_told(scheme: str, tmp_path: Path) -> None:
    """Killed at any moment, over and over on one store, every acknowledged operation is there, the one that was under
    way has happened to each run wholly or not at all, nothing is damaged, and another kernel goes on."""
    random = Random(1)
    findings = [kill_one(Life(f"{scheme}:{tmp_path}/store", f"w{seed}", seed), random) for seed in range(ROUNDS)]

    assert [finding.problems for finding in findings] == [[]] * ROUNDS
    assert sum(finding.acknowledged for finding in findings) > ROUNDS


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_writer_that_acknowledges_too_early_is_caught(scheme: str, tmp_path: Path) -> None:
    """A writer that says what it has done before it is done does not get through this."""
    for seed in range(50):
        life = Life(f"{scheme}:{tmp_path}/store", f"w{seed}", seed, HASTY)
        with victim(life) as writer:
            writer.wait_for(1 + seed % 5)
            writer.kill()
        if look(life, writer.acknowledged):
            return
    raise AssertionError("nothing was lost")
