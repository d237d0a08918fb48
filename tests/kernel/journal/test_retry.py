"""Whether and when a failed step is tried again."""

from __future__ import annotations

import socket
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flujo.kernel import RetryPolicy, StepFailed
from flujo.kernel.errors import DeclarationError, FlujoError, InvalidDurationError
from flujo.kernel.journal.failures import MEANINGS, error_kinds, error_type


@pytest.mark.parametrize(
    ("options", "delays"),
    [
        ({}, [1, 2, 4, 8]),
        ({"delay": 0}, [0, 0, 0, 0]),
        ({"delay": "5s"}, [5, 10, 20, 40]),
        ({"delay": 3, "backoff": 1}, [3, 3, 3, 3]),
        ({"delay": 100, "max_delay": "4m"}, [100, 200, 240, 240]),
        ({"delay": "10m", "backoff": 1}, [600, 600, 600, 600]),
        ({"max_delay": 0.5}, [0.5, 0.5, 0.5, 0.5]),
    ],
    ids=str,
)
def test_delays_grow_up_to_a_bound(options: dict[str, Any], delays: list[float]) -> None:
    """Failure n waits `delay * backoff**(n-1)`, at most `max_delay`."""
    policy = RetryPolicy(max_attempts=9, jitter=0, **options)

    assert [policy.delay_seconds(failures, seed="s") for failures in (1, 2, 3, 4)] == delays


def test_a_maximum_below_the_delay_is_refused() -> None:
    """One of the two is a mistake, and which one nobody can know."""
    with pytest.raises(DeclarationError, match=r"max_delay \(5 s\) is below delay \(10 s\)"):
        RetryPolicy(delay=10, max_delay=5)


@given(st.integers(1, 2000), st.text(max_size=5), st.floats(0, 1))
def test_jitter_stays_within_its_bounds_and_is_determined_by_the_seed(failures: int, seed: str, jitter: float) -> None:
    """A delay is spread by ±jitter of itself, for any number of failures; the same seed gives the same delay."""
    policy = RetryPolicy(max_attempts=9, delay=2, max_delay=60, jitter=jitter)
    plain = min(2.0 ** min(failures, 10), 60.0)

    delay = policy.delay_seconds(failures, seed)

    assert plain * (1 - jitter) - 1e-9 <= delay <= plain * (1 + jitter) + 1e-9
    assert policy.delay_seconds(failures, seed) == delay


def test_different_steps_are_spread_differently() -> None:
    """Jitter exists to keep steps that fail together from coming back together."""
    policy = RetryPolicy(max_attempts=2, delay=100, jitter=0.5)

    assert len({policy.delay_seconds(1, f"run/{step}@1") for step in range(100)}) == 100


class Timeout(TimeoutError):
    pass


class RemoteError(FlujoError):
    reason = "STEP_FAILED"
    type = "payments.CardDeclined"


class LibraryError(Exception):
    """As the errors of several HTTP clients, which have a field of that name."""

    type = "invalid_request"


CONNECTION = ConnectionResetError("reset")


@pytest.mark.parametrize(
    ("error", "options", "retried"),
    [
        (CONNECTION, {}, True),
        (CONNECTION, {"on_error": ["ConnectionResetError"]}, True),
        (CONNECTION, {"on_error": ["ConnectionError"]}, True),
        (CONNECTION, {"on_error": ["OSError"]}, True),
        (CONNECTION, {"on_error": ["builtins.ConnectionError"]}, True),
        (CONNECTION, {"on_error": ["TimeoutError"]}, False),
        (CONNECTION, {"on_error": []}, False),
        (CONNECTION, {"give_up_on": ["ConnectionError"]}, False),
        (CONNECTION, {"on_error": ["OSError"], "give_up_on": ["ConnectionResetError"]}, False),
        (CONNECTION, {"on_error": ["OSError"], "give_up_on": ["TimeoutError"]}, True),
        (Timeout(), {"on_error": [f"{__name__}.Timeout"]}, True),
        (Timeout(), {"on_error": ["TimeoutError"]}, True),
        (socket.gaierror("no such host"), {"on_error": ["ConnectionError"]}, True),
        (subprocess.TimeoutExpired("make", 3), {"on_error": ["TimeoutError"]}, True),
        (RemoteError("no"), {"on_error": ["payments.CardDeclined"]}, True),
        (RemoteError("no"), {"on_error": ["CardDeclined"]}, True),
        (StepFailed("s", "ConnectionError", "no", 1), {"on_error": ["ConnectionError"]}, True),
        (ValueError(), {"on_error": ["ConnectionError", "TimeoutError"]}, False),
        (ValueError(), {"on_error": ["Exception"]}, True),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_errors_are_known_by_class_base_qualified_name_or_meaning(
    error: Exception, options: dict[str, Any], retried: bool
) -> None:
    """`on_error` and `give_up_on` match an error by any name of it or of its bases; giving up wins."""
    policy = RetryPolicy(max_attempts=2, **options)

    assert policy.retries(error_kinds(error), 1, 0, 1) is retried


def test_max_attempts_counts_failures() -> None:
    """With three attempts, the first and the second failure are followed by another attempt, the third is not."""
    policy = RetryPolicy(max_attempts=3)

    assert [policy.retries([["E"]], failures, 0, 1) for failures in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize(
    ("elapsed", "delay", "retried"), [(50, 10, True), (51, 10, False), (60, 0, True), (0, 61, False)]
)
def test_no_attempt_begins_after_max_elapsed(elapsed: float, delay: float, retried: bool) -> None:
    """A retry that would start later than `max_elapsed` after the first attempt does not happen."""
    policy = RetryPolicy(max_attempts=9, max_elapsed="1m")

    assert policy.retries([["E"]], 1, elapsed, delay) is retried


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_attempts": 0}, DeclarationError),
        ({"max_attempts": True}, DeclarationError),
        ({"max_attempts": 2.5}, DeclarationError),
        ({"backoff": 0.5}, DeclarationError),
        ({"jitter": 1.5}, DeclarationError),
        ({"on_error": "ConnectionError"}, DeclarationError),
        ({"give_up_on": [ValueError]}, DeclarationError),
        ({"delay": "soon"}, InvalidDurationError),
        ({"max_elapsed": -1}, InvalidDurationError),
    ],
    ids=str,
)
def test_a_policy_that_makes_no_sense_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    """Mistakes in a policy are found where it is written."""
    with pytest.raises(error):
        RetryPolicy(**options)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError(), "ValueError"),
        (Timeout(), f"{__name__}.Timeout"),
        (RemoteError("no"), "payments.CardDeclined"),
        (LibraryError(), f"{__name__}.LibraryError"),
    ],
    ids=["built-in", "of a module", "of a remote task", "with a field of its own called type"],
)
def test_errors_are_recorded_under_one_name(error: Exception, name: str) -> None:
    """Built-in errors are recorded by their bare name, others qualified, remote ones as their task calls them."""
    assert error_type(error) == name


def test_meanings_are_built_in_errors() -> None:
    """Every library error that is mapped means ConnectionError or TimeoutError."""
    assert set(MEANINGS.values()) == {"ConnectionError", "TimeoutError"}
