"""Disks on which one call fails, or all from some moment on: for each call, in each way that disks have."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.injected import CALLS, FAULTS, TRUSTING
from faults.injection import keep_in_trials, run_trials
from faults.keeping import VERBS
from shipped import ON_DISK

pytestmark = pytest.mark.timeout(600)  # some hundred stores are made; a guard against hangs, never a measure


@pytest.mark.parametrize("scheme", ON_DISK)
def test_every_call_may_fail(scheme: str, failing_disk: Path, tmp_path: Path) -> None:
    """Whichever write, sync, cut, opening, removal, renaming or folder fails, and however: whoever is told of it is
    told what it is. What was acknowledged is there, for the same handle and for others, which go on at once. Nothing
    counts as damaged, and no file stays open."""
    trials = run_trials(failing_disk, tmp_path / "disk", scheme, "few")

    assert [trial for trial in trials if trial.problems] == []
    assert {trial.fault for trial in trials} == {str(fault) for fault in FAULTS["few"]}
    assert {trial.fault.partition(":")[0] for trial in trials if trial.error is not None} == set(CALLS)


@pytest.mark.parametrize("scheme", ON_DISK)
def test_a_writer_that_takes_failures_for_success_is_caught(scheme: str, failing_disk: Path, tmp_path: Path) -> None:
    """A writer that acknowledges what has failed does not get through this."""
    trials = run_trials(failing_disk, tmp_path / "disk", scheme, "syncs", TRUSTING)

    assert any("instead of" in problem for trial in trials for problem in trial.problems)


@pytest.mark.parametrize(
    ("scheme", "verb"),
    [(scheme, verb) for scheme in ON_DISK for verb in VERBS if (scheme, verb) != ("file", "migrate")],
)
def test_every_call_may_fail_while_a_store_is_kept(scheme: str, verb: str, failing_disk: Path, tmp_path: Path) -> None:
    """Whichever call fails while it is migrated, backed up, restored, copied, pruned or deleted from: the store that
    was there is whole, or the one that was to be; what was asked for can be asked for again, and is done then."""
    trials = keep_in_trials(failing_disk, tmp_path / "disk", scheme, verb, "kept")

    assert [trial for trial in trials if trial.problems] == []
    assert {trial.fault for trial in trials if trial.error is not None} >= {"open: EIO"}
