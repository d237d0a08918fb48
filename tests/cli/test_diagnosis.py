"""What flujoctl doctor makes of figures: one row for each thing that may be in order or not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from flujo.cli import diagnosis
from flujo.cli.diagnosis import Finding, Verdict
from flujo.kernel.errors import RunNotFoundError, StepFailed

NOW = 1_764_400_000_000_000
MINUTE = 60_000_000


def verdicts(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Return what was judged and how."""
    return [(finding.check, str(finding.verdict)) for finding in findings]


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (diagnosis.TOO_LITTLE_BYTES - 1, "problem"),
        (diagnosis.TOO_LITTLE_BYTES, "warning"),
        (diagnosis.LITTLE_BYTES - 1, "warning"),
        (diagnosis.LITTLE_BYTES, "ok"),
    ],
)
def test_a_disk_is_judged_by_what_is_free(free: int, expected: str) -> None:
    """And what is said of a full one frees some of it."""
    finding = diagnosis.of_disk("/data", free)

    assert (finding.verdict, finding.fix is None) == (expected, expected == "ok")
    assert finding.message.endswith("free in /data")


@pytest.mark.parametrize(
    ("newest", "expected"),
    [(None, "ok"), (NOW - 10 * MINUTE, "ok"), (NOW + MINUTE, "ok"), (NOW + MINUTE + 1, "warning")],
)
def test_a_clock_is_behind_when_the_store_holds_the_future(newest: int | None, expected: str) -> None:
    """A minute is what two machines may differ by."""
    assert diagnosis.of_clock(NOW, newest).verdict == expected


def test_an_event_of_the_future_is_named_with_both_instants() -> None:
    """So that a person sees which clock is wrong."""
    message = diagnosis.of_clock(NOW, NOW + 3600_000_000).message

    assert "2025-11-29T07:06:40" in message
    assert "2025-11-29T08:06:40" in message


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"runs": 3}, [("store", "ok")]),
        ({"runs": 3, "damaged": 0, "unchecked": False, "wal_bytes": diagnosis.LONG_LOG_BYTES}, [("store", "ok")]),
        ({"runs": 3, "damaged": 2}, [("store", "ok"), ("store", "problem")]),
        ({"runs": 3, "unchecked": True}, [("store", "ok"), ("store", "warning")]),
        ({"runs": 3, "wal_bytes": diagnosis.LONG_LOG_BYTES + 1}, [("store", "ok"), ("store", "warning")]),
        ({"runs": 3, "quarantined": 1}, [("store", "ok"), ("store", "note")]),
    ],
)
def test_a_store_is_judged_by_what_it_says_of_itself(
    details: dict[str, object], expected: list[tuple[str, str]]
) -> None:
    """What a backend does not tell is not asked for."""
    assert verdicts(diagnosis.of_details("sqlite:x.db", details)) == expected


@pytest.mark.parametrize(
    ("is_writable", "owner", "expected"),
    [
        (True, None, [("permissions", "ok")]),
        (False, None, [("permissions", "problem")]),
        (True, "eve", [("permissions", "warning"), ("permissions", "ok")]),
    ],
)
def test_permissions_are_those_of_this_user(
    is_writable: bool, owner: str | None, expected: list[tuple[str, str]]
) -> None:
    """A store of another user is usable, and a reason to be careful."""
    found = list(diagnosis.of_access("x.db", is_writable=is_writable, foreign_owner=owner))

    assert verdicts(found) == expected
    assert owner is None or owner in found[0].message


@pytest.mark.parametrize(
    ("version", "skew", "expected"),
    [
        ("1.0", 0.0, [("server", "ok")]),
        ("0.9", 0.0, [("server", "ok"), ("server", "warning")]),
        ("1.0", 60.5, [("server", "ok"), ("clock", "warning")]),
        ("1.0", -3600.0, [("server", "ok"), ("clock", "warning")]),
    ],
)
def test_a_server_that_answers_may_differ_from_us(version: str, skew: float, expected: list[tuple[str, str]]) -> None:
    """In its version and in its clock, whose direction is told."""
    found = list(diagnosis.of_server("unix:s", version, "1.0", skew))

    assert verdicts(found) == expected
    assert ("1h behind" in found[-1].message) == (skew < -60)


@pytest.mark.parametrize(
    ("ids", "is_all", "words"),
    [
        ([], True, "no run is interrupted"),
        (["a"], True, "1 unfinished run that no process runs: a"),
        (["a", "b", "c", "d"], True, "4 unfinished runs that no process runs: a, b, c, …"),
        (["a", "b"], False, "at least 2 unfinished runs that no process runs: a, b"),
    ],
)
def test_interrupted_runs_are_counted_and_named(ids: list[str], is_all: bool, words: str) -> None:
    """With the command that goes on with the first of them."""
    finding = diagnosis.of_interrupted(ids, is_all)

    assert finding.message == words
    assert finding.fix == (f"flujoctl resume {ids[0]}" if ids else None)


def test_processes_that_are_left_are_named_with_the_run_that_ends_them() -> None:
    """None is as it should be."""
    assert diagnosis.of_leftovers({}).verdict is Verdict.OK

    finding = diagnosis.of_leftovers({"b": [20, 7], "a": [9]})

    assert finding.message.endswith(": 7, 9, 20")
    assert finding.fix is not None
    assert finding.fix.startswith("flujoctl resume a ")


@pytest.mark.parametrize(("has_bug", "expected"), [(True, "note"), (False, "ok")])
def test_a_known_fault_of_sqlite_is_told(has_bug: bool, expected: str) -> None:
    """With what it means here."""
    assert diagnosis.of_sqlite("3.40.1", has_bug).verdict == expected


def test_what_cannot_be_used_is_told_with_the_first_remedy_of_its_error() -> None:
    """If there is one."""
    assert diagnosis.of_error("store", RunNotFoundError("r", "s")).fix == "flujoctl list"
    assert diagnosis.of_error("store", StepFailed("s", "E", "x", 1)).fix is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [([], False), ([Verdict.OK, Verdict.NOTE, Verdict.WARNING], False), ([Verdict.OK, Verdict.PROBLEM], True)],
)
def test_only_a_problem_is_fatal(found: list[Verdict], expected: bool) -> None:
    """Nobody's script should stop for a note."""
    assert diagnosis.is_fatal([Finding("x", verdict, "") for verdict in found]) is expected
