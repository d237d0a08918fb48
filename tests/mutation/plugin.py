"""A pytest plugin that tells which test is at work, and writes down how each ended.

It is loaded by `-p mutation.plugin`. The environment says where to write; coverage.py, where it is at work, is told of
every test."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import pytest

RESULTS = "FLUJO_MUTATION_RESULTS"
"""The environment variable with the file that gets a line of JSON for every test."""

TEST = "FLUJO_MUTATION_TEST"
"""The environment variable by which processes of a test know whose they are (see the settings in record.py)."""

_seconds: dict[str, float] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Count what runs from now on as run by this test."""
    os.environ[TEST] = item.nodeid
    try:
        from coverage import Coverage
    except ImportError:
        pass
    else:
        if (measured := Coverage.current()) is not None:
            measured.switch_context(item.nodeid)
            if sys.version_info >= (3, 12):
                sys.monitoring.restart_events()  # a line is told of once; this test may run it again
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write a line for a test that is over, or has failed."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # the main process hears of it too
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if report.when == "teardown" or report.failed:
        _write({"test": report.nodeid, "seconds": round(_seconds[report.nodeid], 3), "failed": report.failed})


def _write(line: dict[str, object]) -> None:
    with open(os.environ[RESULTS], "a") as file:
        file.write(json.dumps(line) + "\n")
