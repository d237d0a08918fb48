"""Power cuts on a real file system: what they take of a store, and what they must not."""

from __future__ import annotations

from random import Random

import pytest

from faults.machine import Cuttable
from faults.power_cuts import cut_one, life_on
from faults.writer import CARELESS, HONEST
from shipped import ON_DISK

ROUNDS = 5


@pytest.mark.parametrize("scheme", ON_DISK)
def test_a_power_cut_takes_nothing_that_was_acknowledged(scheme: str, power: Cuttable) -> None:
    """By default a store is after a power cut as after the death of its process, over and over on one disk."""
    random = Random(1)
    findings = [cut_one(power, life_on(power, scheme, "full", seed, HONEST), random) for seed in range(ROUNDS)]

    assert [finding.problems for finding in findings] == [[]] * ROUNDS
    assert sum(finding.acknowledged for finding in findings) > ROUNDS


@pytest.mark.parametrize("scheme", ON_DISK)
@pytest.mark.parametrize(("durability", "way"), [("normal", HONEST), ("full", CARELESS)])
def test_a_store_that_does_not_sync_is_caught(scheme: str, durability: str, way: str, power: Cuttable) -> None:
    """What is acknowledged before it is on the disk does not survive: not with `durability=normal`, which says so, and
    not with a writer that leaves the syncs out."""
    random = Random(2)
    for seed in range(20):
        if cut_one(power, life_on(power, scheme, durability, seed, way), random).problems:
            return
    raise AssertionError("nothing was lost")
