"""Try whether the tests notice small changes to the product, drawn by lot:

    python tests/mutation/mutants.py --count 120 --seed 20261129 --jobs 2 --result build/mutants.json
    python tests/mutation/mutants.py --count 20 --seed 7 --within kernel/ backends/flujo/backends/file/

A sample depends on the seed and on the tree only. First the whole suite runs once under coverage, which takes a while;
the record of which test runs which line stays in build/mutation until `--record` asks for a new one. Then each mutant
is tried in a copy of the tree, on the tests nearest to it and then on all others that run its line. The result names
every survivor with its diff. A survivor asks for a test, or for the reason why the change changes nothing: no program
can tell the two apart."""

from __future__ import annotations

import argparse
import json
import queue
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))  # as pytest does (pyproject.toml)

from mutation.record import Record, TimedTest, make_record, read_record, test_files  # noqa: E402 - found by the line above
from mutation.sampling import Mutant, draw  # noqa: E402
from mutation.trial import Trial, Verdict, attempt, nearness  # noqa: E402
from mutation.workplace import Workplace, workplaces  # noqa: E402

NEW = 3.0
"""Seconds that a file of tests is expected to take that the record does not know."""

NOTHING = Record({}, {}, {})
"""What is known of a suite that has not run."""


def witnesses(mutant: Mutant, record: Record, root: Path) -> list[TimedTest]:
    """Return the tests that may notice a mutant: those that run its line, and files near to it that are new."""
    near = [path for path in test_files(root) if nearness(mutant.path, path) > 0 and not record.is_current(path, root)]
    known = [test for test in record.running(mutant, root) if (root / test.path).exists() and test.path not in near]
    return [*known, *(TimedTest(path, NEW) for path in near)]


def try_all(places: Sequence[Workplace], mutants: Sequence[Mutant], record: Record, limit: float) -> Iterator[Trial]:
    """Yield what came of each mutant, as they end. As many are tried at a time as there are places."""
    free: queue.SimpleQueue[Workplace] = queue.SimpleQueue()
    for place in places:
        free.put(place)

    def in_some_place(mutant: Mutant) -> Trial:
        place = free.get()
        try:
            return attempt(place, mutant, witnesses(mutant, record, place.folder), limit)
        finally:
            free.put(place)

    with ThreadPoolExecutor(len(places)) as pool:
        for ended in as_completed([pool.submit(in_some_place, mutant) for mutant in mutants]):
            yield ended.result()


def report(trials: Sequence[Trial], seed: int) -> dict[str, Any]:
    """Return the result of a sample, for a file."""
    packages = sorted({trial.mutant.package for trial in trials})
    verdicts = {package: Counter(t.verdict for t in trials if t.mutant.package == package) for package in packages}
    return {
        "seed": seed,
        "mutants": len(trials),
        **Counter(trial.verdict for trial in trials),
        "packages": {package: dict(counted) for package, counted in verdicts.items()},
        "trials": [_as_json(trial) for trial in sorted(trials, key=lambda trial: trial.mutant.place)],
    }


def _as_json(trial: Trial) -> dict[str, Any]:
    mutant = trial.mutant
    return {
        "place": mutant.place,
        "package": mutant.package,
        "kind": mutant.change.kind,
        "diff": trial.diff,
        "verdict": trial.verdict,
        "noticed_by": trial.noticed_by,
        "tests": trial.tests,
        "tests_left": trial.left,
        "seconds": round(trial.seconds, 1),
    }


def as_text(result: dict[str, Any]) -> str:
    """Return what a person reads of a result: the survivors, then a line for each package."""
    lines = []
    for trial in result["trials"]:
        if trial["verdict"] != Verdict.NOTICED:
            left = f", {trial['tests_left']} left" if trial["tests_left"] else ""
            lines += [f"{trial['place']} {trial['verdict']} {trial['tests']} tests{left}", trial["diff"], ""]
    for package, counted in result["packages"].items():
        lines.append(f"{package}: {counted.get(Verdict.NOTICED, 0)} of {sum(counted.values())} noticed")
    lines.append(f"in all: {result.get(Verdict.NOTICED, 0)} of {result['mutants']} noticed, seed {result['seed']}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Try whether the tests notice small changes to the product.")
    parser.add_argument("--count", type=int, default=120, help="mutants (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="mutants that are tried at a time (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one mutant (default: %(default)s)")
    parser.add_argument(
        "--within", nargs="*", default=[], help="draw from files only whose path begins with one of these"
    )
    parser.add_argument("--near", action="store_true", help="try the tests only that are near by name; needs no record")
    parser.add_argument("--record", action="store_true", help="run the suite anew to see which test runs which line")
    parser.add_argument(
        "--result", type=Path, help="a file for the result, as JSON; survivors go into a .txt beside it"
    )
    chosen = parser.parse_args(arguments)
    record = NOTHING if chosen.near else _record(chosen.jobs, anew=chosen.record)
    trials: list[Trial] = []
    with workplaces(ROOT, chosen.jobs) as places:
        mutants = draw(places[0].folder, chosen.count, chosen.seed, chosen.within)
        for trial in try_all(places, mutants, record, chosen.limit):
            trials.append(trial)
            sys.stdout.write(f"{len(trials)}/{len(mutants)} {trial.verdict} {trial.mutant.place} {trial.noticed_by}\n")
            sys.stdout.flush()
            if chosen.result is not None:
                _write(report(trials, chosen.seed), chosen.result)
    sys.stdout.write(f"\n{as_text(report(trials, chosen.seed))}\n")
    return 0


def _record(jobs: int, *, anew: bool) -> Record:
    """Return the record that is kept, or make one."""
    kept = ROOT / "build" / "mutation"
    if anew or not (kept / "lines.json").exists():
        make_record(ROOT, kept, ["-q", "-n", str(jobs), "--timeout=600"])
    return read_record(kept)


def _write(result: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")
    file.with_suffix(".txt").write_text(as_text(result) + "\n")


if __name__ == "__main__":
    sys.exit(main())
