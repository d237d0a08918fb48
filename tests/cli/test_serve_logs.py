"""The log of a server: text for people, JSON for programs, with the ids of what a line is about."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from flujo.cli.serve_logs import log_to_stderr
from flujo.kernel import Context, step, workflow
from kernel.harness import Harness


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """What a test sets up for its process is taken back."""
    root, ours = logging.getLogger(), logging.getLogger("flujo")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


@step
async def give() -> int:
    return 1


@workflow()
async def giving(ctx: Context) -> int:
    return await ctx.step(give)


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines on stderr, each an object."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def test_a_line_says_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run its id and the request, of a step also its key and its attempt."""
    log_to_stderr("debug", "json")
    async with Harness().kernel(giving) as kernel:
        handle = await kernel.start("giving", run_id="r", request_id="once")
        await handle.result()
    lines = [line for line in told(capsys) if line["logger"] == "flujo.journal"]

    assert [line["message"].split(": ")[1].split()[0] for line in lines] == [
        "run_created",
        "step_started",
        "step_completed",
        "run_completed",
    ]
    assert {line["run_id"] for line in lines} == {"r"}
    assert (lines[0]["request_id"], lines[0]["level"]) == ("once", "info")
    assert (lines[1]["step"], lines[1]["attempt"], lines[1]["level"]) == ("give", 1, "debug")
    assert "step" not in lines[3]


@pytest.mark.parametrize(
    ("level", "verbosity", "seen"),
    [
        ("error", 0, ["error"]),
        ("warning", 0, ["warning", "error"]),
        ("info", 0, ["info", "warning", "error"]),
        ("debug", 0, ["debug", "info", "warning", "error"]),
        ("warning", 1, ["info", "warning", "error"]),
        ("warning", 2, ["debug", "info", "warning", "error"]),
    ],
)
def test_a_level_bounds_what_is_said(
    level: str, verbosity: int, seen: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """-v says more, and never less."""
    log_to_stderr(level, "json", verbosity=verbosity)
    for each in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("flujo.kernel"), each)("said")

    assert [line["level"] for line in told(capsys)] == seen


@pytest.mark.parametrize("format", ["text", "json"])
def test_what_a_caller_names_makes_no_line_of_its_own(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And moves no cursor: the names of callers stand in the log."""
    log_to_stderr("info", format)
    logging.getLogger("flujo.server").info(
        "%s has called", "ada\nCRITICAL: \x1b[2Jall is lost", extra={"principal": "a\nb"}
    )
    said = capsys.readouterr().err

    assert "\x1b" not in said
    assert "ada" in said
    assert len(said.splitlines()) == 1


def test_a_failure_comes_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """In JSON as one field of the line."""
    log_to_stderr("warning", "json")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("flujo.server").exception("failed")
    (line,) = told(capsys)

    assert line["exception"].startswith("Traceback")
    assert "ValueError: no" in line["exception"]
