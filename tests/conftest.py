"""Every async test runs on asyncio and on trio, unless its module says that its subject only knows one of them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

pytest.register_assert_rewrite("flujo.backends.conformance")  # before anything imports it

# Tests of client and server share a process with tests that fork. gRPC's own handlers around a fork may abort the child
# before it has become the program that is meant (epoll_wait: Bad file descriptor), so they are switched off, as
# `flujoctl serve` does.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# What checks values against a schema imports this one where it is installed, which takes three seconds in each process
# of the suite. It is for formats of texts, which no test of ours has checked.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

FAULTS = Path(__file__).with_name("faults")

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("flujo", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("flujo")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop a test runs on."""
    name: str = request.param
    return name


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector from what stays to the end: thousands of tests and all modules.

    It takes a third of the time of collecting them, and then a quarter of a second whenever it looks through them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say loudly which faults were not tried, and what they lack.

    This stands here because the summary of tests in several processes is written by one that has run none of them."""
    skipped = [each for each in terminalreporter.stats.get("skipped", []) if is_about_faults(each, config.rootpath)]
    if skipped:
        terminalreporter.section("faults that were NOT tried on this machine", red=True, bold=True)
        for report in skipped:
            terminalreporter.write_line(f"{report.nodeid}: {report.longrepr[2]}", red=True)


def is_about_faults(report: pytest.TestReport | pytest.CollectReport, root: Path) -> bool:
    """True if the test stands in tests/faults."""
    return FAULTS in (root / report.nodeid.partition("::")[0]).parents
