"""What a fault test needs of its machine, and what happens where that is missing.

Without it a test is skipped, and the summary says which and what to install (tests/conftest.py, which the process that
writes the summary reads too). With FLUJO_REQUIRE_FAULTS=1, which `.ci/run` sets, it fails instead."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from faults.machine import Cuttable, Missing, compile_disk, cuttable_disk, small_disk

REQUIRED = os.environ.get("FLUJO_REQUIRE_FAULTS") == "1"


@pytest.fixture
def anyio_backend() -> str:
    """What happens to disks does not depend on the loop; test_cancel says where it runs on both."""
    return "asyncio"


@pytest.fixture(scope="session")
def failing_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that lets a disk fail."""
    try:
        return compile_disk(tmp_path_factory.mktemp("library"))
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def small_memory(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes, in memory."""
    try:
        with small_disk(tmp_path / "small", 4 << 20) as disk:
            yield disk
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def power(tmp_path: Path) -> Iterator[Cuttable]:
    """A disk whose power can be cut."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(cuttable_disk(tmp_path / "power"))
            disk.cut()  # not every kernel can
            disk.restart()
        except Missing as missing:
            pytest.skip(str(missing))
        yield disk


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Turn a skip into a failure where every fault test has to run."""
    report: Any = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(call.excinfo.value) if call.excinfo is not None else "skipped"
        report.outcome = "failed"
        report.longrepr = f"FLUJO_REQUIRE_FAULTS=1, but this fault test could not run: {reason}"
    return report
