"""Whether and when a failed step is tried again: pure arithmetic on the number of failures and a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf

from flujo.kernel.checked_calls import Count, declared_by
from flujo.kernel.durations import Duration, parse_duration
from flujo.kernel.errors import DeclarationError

DEFAULT_DELAY = 1.0
DEFAULT_MAX_DELAY = 300.0
"""Seconds, where none are given."""


@declared_by
@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how fast a step is tried again. The default tries once, since a step may not be idempotent.

    Durations are seconds or texts like `5s`. `max_attempts` limits failures: an attempt whose process died is not
    one. Failure n waits `delay * backoff**(n-1)`, at most `max_delay` (default: 300, or `delay` if that is more),
    spread by ±`jitter` of itself; nothing is retried once `max_elapsed` has passed since the step's first attempt.
    `on_error` names the errors worth retrying (default: all), `give_up_on` those that never are; a name matches a
    class, any of its bases, or a fully qualified name, of the error or of one it was raised from. Of a group every
    error must be worth retrying, and one that never is decides."""

    max_attempts: Count = 1
    delay: Duration = DEFAULT_DELAY
    backoff: float = 2.0
    max_delay: Duration | None = None
    jitter: float = 0.1
    on_error: Sequence[str] | None = None
    give_up_on: Sequence[str] = ()
    max_elapsed: Duration | None = None

    def __post_init__(self) -> None:
        delay = parse_duration(self.delay)
        longest = max(DEFAULT_MAX_DELAY, delay) if self.max_delay is None else parse_duration(self.max_delay)
        if longest < delay and delay != DEFAULT_DELAY:
            raise DeclarationError(f"max_delay ({longest:g} s) is below delay ({delay:g} s)", ["leave max_delay out"])
        object.__setattr__(self, "delay", min(delay, longest))
        object.__setattr__(self, "max_delay", longest)
        if self.max_elapsed is not None:
            object.__setattr__(self, "max_elapsed", parse_duration(self.max_elapsed))
        for name in ("on_error", "give_up_on"):
            names = getattr(self, name)
            if isinstance(names, str) or not all(isinstance(each, str) for each in names or ()):
                raise DeclarationError(
                    f"{name} takes a list of error names, not {names!r}", [f'{name}=["ConnectionError"]']
                )
            object.__setattr__(self, name, None if names is None else tuple(names))
        if not 1 <= self.backoff < inf:
            raise DeclarationError(f"backoff must be at least 1, not {self.backoff!r}")
        if not 0 <= self.jitter <= 1:
            raise DeclarationError(f"jitter must lie between 0 and 1, not {self.jitter!r}")

    def retries(
        self, kinds: Collection[Collection[str]], failures: int, elapsed_seconds: float, delay_seconds: float
    ) -> bool:
        """True if a failure is followed by another attempt, after `failures` failures.

        `kinds` are the names of each error that the failure stands for (`failures.error_kinds`): all of them must be in
        `on_error`, and none in `give_up_on`. `elapsed_seconds` counts from the first attempt; a retry that would start
        after `max_elapsed` does not happen."""
        if failures >= self.max_attempts:
            return False
        if self.max_elapsed is not None and elapsed_seconds + delay_seconds > parse_duration(self.max_elapsed):
            return False
        if any(name in self.give_up_on for names in kinds for name in names):
            return False
        return self.on_error is None or all(any(name in self.on_error for name in names) for names in kinds)

    def delay_seconds(self, failures: int, seed: str) -> float:
        """Return how long to wait after the failure numbered `failures` (from 1); the same arguments give the same
        answer."""
        assert isinstance(self.delay, float)
        assert isinstance(self.max_delay, float)
        try:
            plain = min(self.delay * self.backoff ** (failures - 1), self.max_delay)
        except OverflowError:
            plain = self.max_delay
        digest = hashlib.blake2b(f"{seed}:{failures}".encode(), digest_size=8).digest()
        fraction = int.from_bytes(digest, "big") / 2**64
        return plain * (1 + self.jitter * (2 * fraction - 1))


NO_RETRY = RetryPolicy()
