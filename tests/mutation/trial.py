"""Trying one mutant: the tests nearest to it first, then all others that run its line."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple

from mutation.record import TimedTest
from mutation.sampling import Mutant
from mutation.workplace import Ended, Workplace

FIRST = 20.0
"""Seconds that the first tests may have taken in the record. Each further batch may take four times as long."""

SLOW = 5.0
"""Seconds after which a test is put behind all others, however near it is."""

STARTING = 60.0
"""Seconds that a call of pytest may take besides its tests, on a machine that has other things to do."""

SLOWER = 8.0
"""A test that takes so many times as long as in the record is taken to hang."""

PATIENCE = 30.0
"""Seconds that any test may take."""


class Verdict(StrEnum):
    """What came of a mutant."""

    NOTICED = "noticed"
    """A test fails that passes without the change, or hangs that does not without it."""

    SURVIVED = "survived"
    """Every test that runs the line passes."""

    UNFINISHED = "unfinished"
    """No test failed until the time was up, but some were not run."""


class Trial(NamedTuple):
    """What came of one mutant, and how."""

    mutant: Mutant
    diff: str
    verdict: Verdict
    noticed_by: str
    """The test that noticed it, or ""."""

    tests: int
    """The tests that were run."""

    left: int
    """The tests that were not run, as the time was up."""

    seconds: float


def attempt(workplace: Workplace, mutant: Mutant, tests: Sequence[TimedTest], limit: float) -> Trial:
    """Run `tests` on a mutant, until one notices it or `limit` seconds are over."""
    began, diff = time.monotonic(), mutant.diff(workplace.folder)
    waiting, run, ignored = list(batches(mutant, tests)), 0, list[str]()
    while waiting and time.monotonic() - began < limit:
        with workplace.mutated(mutant):
            ended = _run(workplace, waiting[0], ignored)
        run += ended.tests
        if ended.failed is None:
            waiting.pop(0)
        elif (by := _confirm(workplace, waiting[0], ended)) is not None:
            return Trial(mutant, diff, Verdict.NOTICED, by, run, 0, time.monotonic() - began)
        elif ended.failed in ("", *ignored):
            break  # pytest itself fails or hangs without the change, too
        else:
            ignored.append(ended.failed)
    left = sum(map(len, waiting))
    verdict = Verdict.UNFINISHED if left else Verdict.SURVIVED
    return Trial(mutant, diff, verdict, "", run, left, time.monotonic() - began)


def _run(workplace: Workplace, batch: Sequence[TimedTest], ignored: Sequence[str] = ()) -> Ended:
    longest = max(test.seconds for test in batch)
    options = ["-x", "-q", f"--timeout={PATIENCE + SLOWER * longest:.0f}", *(f"--deselect={name}" for name in ignored)]
    limit = STARTING + PATIENCE + SLOWER * sum(test.seconds for test in batch)
    return workplace.pytest([test.name for test in batch], options, limit)


def _confirm(workplace: Workplace, batch: Sequence[TimedTest], ended: Ended) -> str | None:
    """Return the test that failed if it passes without the change; of a batch that hung or broke pytest, the first."""
    suspects = [TimedTest(ended.failed, PATIENCE)] if ended.failed else batch
    without = _run(workplace, suspects)
    return suspects[0].name if without.failed is None else None


def batches(mutant: Mutant, tests: Iterable[TimedTest]) -> Iterator[list[TimedTest]]:
    """Yield the tests in the order in which they are run, near and quick ones first, in longer and longer batches."""
    batch: list[TimedTest] = []
    seconds, room = 0.0, FIRST
    for test in sorted(tests, key=lambda each: (each.seconds > SLOW, -nearness(mutant.path, each.path), each.seconds)):
        if batch and seconds + test.seconds > room:
            yield batch
            batch, seconds, room = [], 0.0, room * 4
        batch.append(test)
        seconds += test.seconds
    if batch:
        yield batch


def nearness(module: str, test: str) -> int:
    """Return how near a file of tests is to a module: most if it bears its name, else by the words that both have."""
    stem = PurePosixPath(module).stem.strip("_")
    if PurePosixPath(test).stem == f"test_{stem}":
        return 100
    return len(_words(module) & _words(test))


def _words(path: str) -> set[str]:
    return set(re.split(r"[/_.]", path)) - {"flujo", "test", "tests", "py", ""}
