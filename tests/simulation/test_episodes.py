"""Random runs on random kernels survive whatever befalls them, and planted bugs do not go unnoticed.

A failure prints the command that repeats it: `python tests/simulation/torture.py --replay SEED`. That file lives
through as many episodes as you like; here are those that every test run can afford."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from itertools import chain, count
from pathlib import Path

import pytest

from simulation import torture
from simulation.clock import Loop
from simulation.episode import live_through
from simulation.invariant_checker import INVARIANTS
from simulation.mutants import PLANTED, Planted, takes_the_newest_signal
from simulation.plans import draw_episode
from simulation.programs import kinds_of
from simulation.world import Violation

CRASHES = 10_000
FIRST_SEED = 1
PARTS = 4
SEEDS_PER_PART = 5_000  # far more than it takes, so that no episode is lived through twice

TORTURE = Path(torture.__file__)


@pytest.mark.timeout(900)  # ten seconds on a free core, minutes on a busy machine
@pytest.mark.parametrize("first_seed", [FIRST_SEED + part * SEEDS_PER_PART for part in range(PARTS)])
def test_ten_thousand_crashes(first_seed: int) -> None:
    """No crash at any await or write, no failing write and no takeover breaks a promise; each part has a fourth."""
    campaign = torture.torture(CRASHES // PARTS, first_seed)

    assert campaign.violations == []
    assert campaign.crashes >= CRASHES // PARTS
    assert campaign.takeovers >= 800 // PARTS
    assert campaign.returns >= 600 // PARTS
    assert campaign.removals >= 400 // PARTS
    assert campaign.episodes <= SEEDS_PER_PART


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.mutant.__name__)
def test_planted_bug_is_caught(planted: Planted) -> None:
    """A kernel with this bug does not get through so many crashes, and what is said is about what it breaks."""
    with planted.mutant(), pytest.raises(Violation, match=planted.shows):
        _live_through(CRASHES, planted.seed)


def _live_through(crashes: int, *first: int) -> None:
    seeds = chain(first, count(FIRST_SEED))
    while crashes > 0:
        crashes -= live_through(draw_episode(next(seeds))).crashes


def test_there_are_enough_planted_bugs() -> None:
    """Twenty at least, each tied to an invariant."""
    assert len({planted.mutant for planted in PLANTED}) >= 20
    assert {planted.breaks for planted in PLANTED} <= set(INVARIANTS)


@pytest.mark.parametrize("seed", [7, 20])
def test_a_seed_is_one_episode(seed: int) -> None:
    """The same seed takes the same ticks, on asyncio as on trio, and also in another process."""
    outcome = live_through(draw_episode(seed))
    code = f"from simulation.episode import *; print(live_through(draw_episode({seed})))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "3"}
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    assert elsewhere.stdout.strip() == repr(outcome)


def test_seeds_cover_everything() -> None:
    """A few hundred seeds have every operation, every fault, both event loops, and several kernels on one store."""
    episodes = [draw_episode(seed) for seed in range(300)]
    kinds = {kind for episode in episodes for plan in episode.plans for kind in kinds_of(plan.script)}
    faults = {point.fault for episode in episodes for process in episode.processes for point in process.points}

    assert len(kinds) == 22
    assert len(faults) == 9
    assert {episode.loop for episode in episodes} == {"asyncio", "trio"}
    assert {len(episode.processes) for episode in episodes} == {1, 2}


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_an_uninterrupted_life_is_what_the_model_says(loop: Loop) -> None:
    """What nothing befalls returns what every other life is measured by."""
    for seed in range(60):
        episode = dataclasses.replace(draw_episode(seed), loop=loop)
        calm = [dataclasses.replace(process, points=()) for process in episode.processes]
        outcome = live_through(dataclasses.replace(episode, processes=calm))

        assert outcome.crashes == 0


def test_a_violation_can_be_replayed() -> None:
    """The command that a violation names says the same."""
    with takes_the_newest_signal():
        with pytest.raises(Violation) as found:
            _live_through(CRASHES)
        seed = int(str(found.value).rpartition(" ")[2])
        with pytest.raises(Violation) as again:
            live_through(draw_episode(seed))

    assert str(again.value) == str(found.value)
    assert str(found.value).endswith(f"repeat it with: python tests/simulation/torture.py --replay {seed}")


def test_torture_reports(tmp_path: Path) -> None:
    """The result file says what was done, on what, and what came of it, and depends on no number of jobs."""
    found = []
    for jobs in ("1", "2"):
        command = [
            sys.executable,
            str(TORTURE),
            "--crashes",
            "100",
            "--seed",
            "5",
            "--jobs",
            jobs,
            "--result",
            "r.json",
        ]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        found.append(json.loads((tmp_path / "r.json").read_text()))

    one, two = found
    assert one["crashes"] >= 100
    assert one["violations"] == []
    assert one["seeds"] == "5..29"
    assert {"commit", "python", "seconds", "crashes_per_second"} <= set(one)
    assert [one[name] for name in ("crashes", "ticks", "commits")] == [
        two[name] for name in ("crashes", "ticks", "commits")
    ]


def test_torture_replays_one_seed() -> None:
    """A single episode can be looked at from the command line."""
    command = [sys.executable, str(TORTURE), "--replay", "7"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    assert repr(draw_episode(7)) in ended.stdout
    assert "Outcome(seed=7" in ended.stdout
