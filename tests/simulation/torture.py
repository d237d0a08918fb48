"""Live through as many simulated crashes as you like, from a seed on:

    python tests/simulation/torture.py --crashes 300000 --seed 1 --jobs 2 --result torture.json
    python tests/simulation/torture.py --replay 4711

Every seed is one episode (episode.py) and depends on nothing else, so a violation is repeated exactly by its seed. The
exit code is 1 if there was one."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from multiprocessing import Pool
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    # As pytest does (pyproject.toml): `tests` is where `simulation` is found.
    sys.path[:0] = [str(ROOT / name) for name in ("kernel", "backends", "tests")]

from simulation.episode import Outcome, live_through  # noqa: E402 - found by the lines above
from simulation.plans import draw_episode  # noqa: E402
from simulation.world import Violation  # noqa: E402

AT_ONCE = 25
"""Episodes that one job is given at a time."""

FEW = 20
"""Violations after which it is pointless to go on."""


class Share(NamedTuple):
    """What some consecutive episodes came to."""

    outcomes: Sequence[Outcome]
    violations: Sequence[tuple[int, str]]


class Campaign(NamedTuple):
    """What a row of episodes came to."""

    first_seed: int
    episodes: int
    crashes: int
    failed_writes: int
    takeovers: int
    returns: int
    removals: int
    lives: int
    commits: int
    ticks: int
    violations: Sequence[tuple[int, str]]
    seconds: float


def torture(crashes: int, seed: int, jobs: int = 1) -> Campaign:
    """Live through episodes from `seed` on, until there were so many crashes, or a few violations."""
    began = time.perf_counter()
    outcomes: list[Outcome] = []
    violations: list[tuple[int, str]] = []
    total = 0
    with _shares(seed, jobs) as shares:
        for share in shares:
            outcomes += share.outcomes
            violations += share.violations
            total += sum(outcome.crashes for outcome in share.outcomes)
            if total >= crashes or len(violations) >= FEW:
                break
    return Campaign(
        seed,
        len(outcomes) + len(violations),
        total,
        sum(outcome.failed_writes for outcome in outcomes),
        sum(outcome.takeovers for outcome in outcomes),
        sum(outcome.returns for outcome in outcomes),
        sum(outcome.removals for outcome in outcomes),
        sum(outcome.lives for outcome in outcomes),
        sum(outcome.commits for outcome in outcomes),
        sum(outcome.ticks for outcome in outcomes),
        violations,
        time.perf_counter() - began,
    )


@contextmanager
def _shares(seed: int, jobs: int) -> Iterator[Iterable[Share]]:
    """The results of all seeds from `seed` on, in order."""
    starts = count(seed, AT_ONCE)
    if jobs == 1:
        yield map(live_through_some, starts)
        return
    with Pool(jobs) as pool:
        yield _in_order(pool, starts, jobs)


def _in_order(pool: Any, starts: Iterator[int], jobs: int) -> Iterator[Share]:
    # Not pool.imap, which would draw all the numbers there are beforehand.
    ahead = [pool.apply_async(live_through_some, [next(starts)]) for _ in range(2 * jobs)]
    while True:
        yield ahead.pop(0).get()
        ahead.append(pool.apply_async(live_through_some, [next(starts)]))


def live_through_some(first: int) -> Share:
    """The episodes of `AT_ONCE` consecutive seeds."""
    outcomes: list[Outcome] = []
    violations: list[tuple[int, str]] = []
    for seed in range(first, first + AT_ONCE):
        try:
            outcomes.append(live_through(draw_episode(seed)))
        except Violation as violation:
            violations.append((seed, str(violation)))
    return Share(outcomes, violations)


def report(campaign: Campaign) -> dict[str, Any]:
    """A campaign for a file: what was done, on what, and what came of it."""
    last = campaign.first_seed + campaign.episodes - 1
    return {
        "seeds": f"{campaign.first_seed}..{last}",
        "episodes": campaign.episodes,
        "crashes": campaign.crashes,
        "failed_writes": campaign.failed_writes,
        "takeovers_from_frozen_owners": campaign.takeovers,
        "returns_to_memory": campaign.returns,
        "removals": campaign.removals,
        "kernel_lives": campaign.lives,
        "commits": campaign.commits,
        "ticks": campaign.ticks,
        "violations": [{"seed": seed, "message": message} for seed, message in campaign.violations],
        "seconds": round(campaign.seconds, 1),
        "crashes_per_second": round(campaign.crashes / campaign.seconds, 1),
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _commit() -> str:
    """The commit that was tortured, with a + if files were changed since."""
    try:
        described = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Crash simulated kernels, and check what is left.")
    parser.add_argument("--crashes", type=int, default=10_000, help="stop after so many (default: 10000)")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default: 1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at work (default: 1)")
    parser.add_argument("--result", type=Path, help="a file for the result, as JSON")
    parser.add_argument("--replay", type=int, metavar="SEED", help="live through the episode of this seed only")
    chosen = parser.parse_args(arguments)
    if chosen.replay is not None:
        return _replay(chosen.replay)
    result = report(torture(chosen.crashes, chosen.seed, chosen.jobs))
    text = json.dumps(result, indent=2)
    sys.stdout.write(f"{text}\n")
    for violation in result["violations"]:
        sys.stdout.write(f"\n{violation['message']}\n")
    if chosen.result is not None:
        chosen.result.write_text(f"{text}\n")
    return 1 if result["violations"] else 0


def _replay(seed: int) -> int:
    episode = draw_episode(seed)
    sys.stdout.write(f"{episode}\n")
    try:
        sys.stdout.write(f"{live_through(episode)}\n")
    except Violation as violation:
        sys.stdout.write(f"{violation}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
