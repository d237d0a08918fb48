"""Requests that nobody would send are answered with statuses of the contract; `make torture-requests` sends more."""

from __future__ import annotations

from pathlib import Path

import pytest

from flujo.server.listening import SERVICES
from server.fuzzing import Ended, Maker, fuzz, wrong


@pytest.mark.parametrize("seed", range(5))
async def test_a_thousand_odd_requests_are_answered(seed: int, folder: Path) -> None:
    """No crash, no UNKNOWN or INTERNAL, nothing that is too large to be read, and none without a reason."""
    ended = await fuzz(folder, 1000, seed)

    assert ended.total() == 1000
    assert wrong(ended) == []
    assert (
        sum(times for each, times in ended.items() if each.code == "OK") > 50
    )  # some get through to what is behind the checks
    assert {each.method for each in ended} == {method.name for method in Maker(seed, [], []).methods}


def test_the_same_seed_makes_the_same_requests() -> None:
    """So that what was found can be looked at again."""
    one, other = (Maker(7, ["a"], ["u"]) for _ in range(2))

    assert [one.request() for _ in range(50)] == [other.request() for _ in range(50)]
    assert len(one.methods) > 30
    assert len(SERVICES) == 3


@pytest.mark.parametrize(
    ("ended", "is_wrong"),
    [
        (Ended("GetRun", "OK", ""), False),
        (Ended("GetRun", "NOT_FOUND", "RUN_NOT_FOUND"), False),
        (Ended("GetRun", "NOT_FOUND", ""), True),
        (Ended("GetRun", "UNKNOWN", ""), True),
        (Ended("GetRun", "INTERNAL", "INTERNAL"), True),
        (Ended("GetRun", "UNAVAILABLE", "STORE_UNAVAILABLE"), True),
        (Ended("WaitRun", "DEADLINE_EXCEEDED", ""), False),
        (Ended("ImportRun", "INVALID_ARGUMENT", ""), True),
        (Ended("ImportRun", "INVALID_ARGUMENT", "INVALID_FIELD"), False),
        (Ended("GetRun", "ABORTED", ""), True),
        (Ended("GetRun", "ABORTED", "RUN_REPLACED"), False),
    ],
)
def test_what_is_wrong_is_noticed(ended: Ended, is_wrong: bool) -> None:
    """A test that cannot fail would be none."""
    assert bool(wrong([ended])) == is_wrong
