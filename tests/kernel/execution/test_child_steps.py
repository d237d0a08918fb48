"""A step that starts a run: a child, or a step that fails with what keeps its run from being found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, NoReturn

import pytest

from flujo.kernel.programs import ChildCall, perform_child


class Recorded(NamedTuple):
    """What is known of the step."""

    status: str
    call: str | None


CALL = ChildCall("report", {"n": 1}, {})


async def performed(recorded: Recorded | None, *, is_found: bool) -> tuple[list[str], Any]:
    """What was asked for, and what came of it: an output, or the failure of a body."""
    asked = []

    async def start() -> ChildCall:
        asked.append("start")
        if not is_found:
            raise FileNotFoundError("report.yaml")
        return CALL

    async def wait(call: ChildCall) -> Any:
        asked.append("wait")
        return call

    async def fail(body: Callable[[], Awaitable[NoReturn]]) -> Any:
        asked.append("fail")
        try:
            await body()
        except Exception as error:
            return type(error)

    return asked, await perform_child(recorded, start, wait, fail)


NOTHING = ChildCall("", {}, {})


@pytest.mark.parametrize(
    ("recorded", "is_found", "asked", "outcome"),
    [
        (None, True, ["start", "wait"], CALL),
        (None, False, ["start", "fail"], FileNotFoundError),
        (Recorded("pending", None), True, ["start", "wait"], CALL),
        (Recorded("pending", "child"), False, ["start", "fail"], FileNotFoundError),
        (Recorded("waiting", "child"), True, ["start", "wait"], CALL),
        (Recorded("waiting", "child"), False, ["start", "wait"], NOTHING),
        (Recorded("completed", "child"), False, ["wait"], NOTHING),
        (Recorded("failed", "child"), False, ["wait"], NOTHING),
        (Recorded("running", "step"), True, ["start", "fail"], InterruptedError),
        (Recorded("running", "step"), False, ["start", "fail"], FileNotFoundError),
        (Recorded("failed", "step"), True, ["fail"], InterruptedError),
    ],
)
async def test_what_began_as_a_child_or_as_a_step_stays_one(
    recorded: Recorded | None, is_found: bool, asked: list[str], outcome: Any
) -> None:
    """A child that has begun need not be found; a step that could not start one fails, and does so on replay."""
    assert await performed(recorded, is_found=is_found) == (asked, outcome)
