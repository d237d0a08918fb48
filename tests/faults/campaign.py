"""Try the faults of real disks as often as you like:

    python tests/faults/campaign.py --kills 1000 --cuts 1000 --injections 100000 --result disks.json

It kills writers, cuts the power under them and lets calls to the disk fail, for each store in turn, and looks at what
is left. Cuts go to a store that syncs and, in equal shares, to two that do not and therefore have to lose something.
Every part needs what the tests of the same name need, see conftest.py. The exit code is 1 if anything was lost or
damaged that should not be, if nothing was lost where it should be, or if the machine lacks what a part needs."""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import anyio

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    # As pytest does (pyproject.toml): `tests` is where `faults` is found.
    sys.path[:0] = [str(ROOT / name) for name in ("kernel", "backends", "tests")]

from faults.bit_flips import forget_checksums, make_database, verdicts  # noqa: E402
from faults.injected import Trial  # noqa: E402
from faults.injection import run_trials  # noqa: E402
from faults.machine import Missing, compile_disk, cuttable_disk  # noqa: E402
from faults.power_cuts import cut_one, life_on  # noqa: E402 - found by the lines above
from faults.victims import Finding, Life, kill_one  # noqa: E402
from faults.writer import CARELESS, HONEST  # noqa: E402
from shipped import ON_DISK  # noqa: E402

PER_DISK = 100
"""Lives on one disk before it is made anew."""

CONTROLS = (("normal", HONEST), ("full", CARELESS))


class Part(NamedTuple):
    """What one kind of fault came to on one kind of store."""

    name: str
    faults: int
    acknowledged: int
    """Operations that were acknowledged before the fault."""

    violations: Sequence[str]
    must_lose: bool = False
    """Whether this store is wrong on purpose."""

    @property
    def is_fine(self) -> bool:
        """Whether it came to what it should."""
        return bool(self.violations) == self.must_lose


def kills(scheme: str, number: int, seed: int) -> Part:
    """Kill writers."""
    random = Random(seed)
    findings: list[Finding] = []
    for first in range(0, number, PER_DISK):
        with TemporaryDirectory() as folder:
            lives = (Life(f"{scheme}:{folder}/store", f"w{each}", seed + each) for each in _some(first, number))
            findings += [kill_one(life, random) for life in lives]
    return _part(f"{scheme}: writer killed", findings)


def cuts(scheme: str, durability: str, way: str, number: int, seed: int) -> Part:
    """Cut the power under writers."""
    random = Random(seed)
    findings: list[Finding] = []
    for first in range(0, number, PER_DISK):
        with TemporaryDirectory() as folder, cuttable_disk(Path(folder) / "power") as disk:
            lives = (life_on(disk, scheme, durability, seed + each, way) for each in _some(first, number))
            findings += [cut_one(disk, life, random) for life in lives]
    name = f"{scheme}, durability={durability}: power cut" if way == HONEST else f"{scheme} without syncs: power cut"
    return _part(name, findings, must_lose=(durability, way) in CONTROLS)


def flips(number: int, seed: int, *, checksums: bool = True) -> Part:
    """Change bytes of a database, with the checksums of its rows or without."""
    random = Random(seed)
    originals: list[tuple[Any, str, Any]] = []

    def patch(owner: Any, name: str, value: Any) -> None:
        originals.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    if not checksums:
        forget_checksums(patch)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        held = anyio.run(make_database, path)
        size = path.stat().st_size
        found = anyio.run(verdicts, path, held, [random.randrange(size) for _ in range(number)])
    for owner, name, value in originals:
        setattr(owner, name, value)
    said = ", ".join(f"{verdict} {times}" for verdict, times in sorted(found.items()))
    without = "" if checksums else " without checksums"
    silent = ["a change that nobody was told of"] * found["silent"]
    return Part(f"sqlite{without}: byte of {size} changed ({said})", number, 0, silent, must_lose=not checksums)


def _some(first: int, number: int) -> range:
    return range(first, min(number, first + PER_DISK))


def _part(name: str, findings: Sequence[Finding], *, must_lose: bool = False) -> Part:
    violations = [f"number {at}: {problem}" for at, each in enumerate(findings) for problem in each.problems[:1]]
    return Part(name, len(findings), sum(each.acknowledged for each in findings), violations, must_lose)


def injections(scheme: str, faults: str, number: int, library: Path) -> Part:
    """Let calls fail, as many as there are, until there were so many of them."""
    trials: list[Trial] = []
    while len(trials) < number:
        with TemporaryDirectory() as folder:
            trials += run_trials(library, Path(folder).resolve() / "disk", scheme, faults)
    violations = [f"{each.fault}, number {each.number}: {each.problems[0]}" for each in trials if each.problems]
    told = Counter(each.error or "nothing" for each in trials)
    names = ", ".join(f"{name} {times}" for name, times in sorted(told.items()))
    return Part(f"{scheme}: call failed (told {names})", len(trials), 0, violations)


def campaign(arguments: argparse.Namespace) -> Iterator[Part]:
    """All that was asked for."""
    seed: int = arguments.seed
    with TemporaryDirectory() as folder:
        for scheme in arguments.stores:
            if arguments.injections:
                yield injections(scheme, arguments.faults, arguments.injections, compile_disk(Path(folder)))
            if arguments.flips and scheme == "sqlite":
                yield flips(arguments.flips, seed)
                yield flips(max(100, arguments.flips // 10), seed, checksums=False)
            if arguments.kills:
                yield kills(scheme, arguments.kills, seed)
            if arguments.cuts:
                yield cuts(scheme, "full", HONEST, arguments.cuts, seed)
                for durability, way in CONTROLS:
                    yield cuts(scheme, durability, way, max(5, arguments.cuts // 10), seed)


def _as_far_as_possible(parts: Iterator[Part]) -> Iterator[Part | Missing]:
    """The parts, and at the end what this machine lacks for the rest."""
    try:
        yield from parts
    except Missing as missing:
        yield missing


def report(parts: Sequence[Part], missing: str | None, seed: int, seconds: float) -> dict[str, Any]:
    """A campaign for a file: what was done, on what, and what came of it."""
    return {
        "parts": [
            {
                "what": part.name,
                "faults": part.faults,
                "acknowledged_before": part.acknowledged,
                "lost_or_damaged": len(part.violations),
                "expected": "some" if part.must_lose else "none",
                "violations": list(part.violations[:20]),
            }
            for part in parts
        ],
        "not_tried": missing,
        "is_fine": missing is None and all(part.is_fine for part in parts),
        "seed": seed,
        "seconds": round(seconds, 1),
        "commit": _commit(),
        "sqlite": sqlite3.sqlite_version,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _commit() -> str:
    """The commit that was tried, with a + if files were changed since."""
    try:
        described = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Kill writers, cut their power, let their disks fail.")
    parser.add_argument("--stores", nargs="+", choices=ON_DISK, default=ON_DISK, help="which (default: all)")
    parser.add_argument("--kills", type=int, default=100, help="for each store (default: 100)")
    parser.add_argument("--cuts", type=int, default=100, help="for each store; the controls get a tenth (default: 100)")
    parser.add_argument("--injections", type=int, default=1, help="for each store at least (default: each call once)")
    parser.add_argument("--flips", type=int, default=2000, help="bytes to change in a database (default: 2000)")
    parser.add_argument("--faults", choices=("few", "all"), default="all", help="ways to fail (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="what the histories are drawn from (default: 1)")
    parser.add_argument("--result", type=Path, help="a file for the result, as JSON")
    chosen = parser.parse_args(arguments)
    began = time.perf_counter()
    parts: list[Part] = []
    missing: str | None = None
    for part in _as_far_as_possible(campaign(chosen)):
        if isinstance(part, Missing):
            missing = str(part)
            sys.stdout.write(f"NOT tried, nor what would follow: {missing}\n")
            break
        parts.append(part)
        expected = "some" if part.must_lose else "none"
        lost = len(part.violations)
        sys.stdout.write(f"{part.name}: {part.faults} times, {lost} lost or damaged, expected: {expected}\n")
        sys.stdout.flush()
    result = report(parts, missing, chosen.seed, time.perf_counter() - began)
    text = json.dumps(result, indent=2)
    sys.stdout.write(f"{text}\n")
    if chosen.result is not None:
        chosen.result.write_text(f"{text}\n")
    return 0 if result["is_fine"] else 1


if __name__ == "__main__":
    sys.exit(main())
