"""Arguments of a wrong type: each is refused at once, by our own error, which names the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flujo.kernel import Kernel
from flujo.kernel.errors import FlujoError, InvalidNameError, InvalidValueError
from kernel.flows import doubling, waiting
from kernel.harness import Harness, until

CALLS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("an object", lambda kernel: kernel.start(doubling, {"number": object()}), "number"),
    ("bytes", lambda kernel: kernel.start(doubling, {"number": b"\xff"}), "number"),
    ("a list of inputs", lambda kernel: kernel.start(doubling, [1]), "inputs"),
    ("a number for inputs", lambda kernel: kernel.start(doubling, 5), "inputs"),
    ("a text for inputs", lambda kernel: kernel.start(doubling, "ab"), "inputs"),
    ("a list of labels", lambda kernel: kernel.start(doubling, labels=["a"]), "labels"),
    ("a label that is a number", lambda kernel: kernel.start(doubling, labels={"a": 1}), "labels.a"),
    ("a run id", lambda kernel: kernel.start(doubling, run_id=5), "run id"),
    ("a request id", lambda kernel: kernel.start(doubling, request_id=5), "request id"),
    ("by of a cancel", lambda kernel: kernel.cancel("r", by=5), "by"),
    ("a reason", lambda kernel: kernel.cancel("r", 5), "reason"),
    ("a signal", lambda kernel: kernel.signal("r", 5), "step name"),
    ("a payload", lambda kernel: kernel.signal("r", "go", object()), "\\$"),
    ("by of a signal", lambda kernel: kernel.signal("r", "go", by=b"x"), "by"),
    ("by of a pause", lambda kernel: kernel.pause("r", by=5), "by"),
    ("a limit that is no whole number", lambda kernel: kernel.list(limit=2.5), "limit"),
    ("a limit that is text", lambda kernel: kernel.list(limit="5"), "limit"),
    ("a limit that is true", lambda kernel: kernel.list(limit=True), "limit"),
    ("a page", lambda kernel: kernel.list(page=5), "page"),
    ("one status for several", lambda kernel: kernel.list(statuses="failed"), "run status"),
    ("a number for statuses", lambda kernel: kernel.list(statuses=5), "run status"),
    ("a workflow to look for", lambda kernel: kernel.list(workflow=5), "workflow"),
    ("labels to look for", lambda kernel: kernel.list(labels=["a"]), "labels"),
    ("an event to begin behind", lambda kernel: kernel.events("r", "x"), "event number"),
    ("how many events", lambda kernel: kernel.events("r", limit=2.5), "limit"),
    ("inputs of a resume", lambda kernel: kernel.resume("r", inputs=[1]), "inputs"),
    ("skipped steps", lambda kernel: kernel.resume("r", skip=[1]), "skip"),
    ("by of a resume", lambda kernel: kernel.resume("r", by=5), "by"),
    ("labels of a fork", lambda kernel: kernel.fork("r", labels=5), "labels"),
    ("how many to prune", lambda kernel: kernel.prune(limit=2.5, statuses=["failed"]), "limit"),
    ("a variable", lambda kernel: kernel.set_variable("r", 5, 1), "variable name"),
]


@pytest.mark.parametrize(("call", "names"), [each[1:] for each in CALLS], ids=[each[0] for each in CALLS])
async def test_a_wrong_type_is_refused_by_name(call: Callable[[Kernel], Any], names: str) -> None:
    """Never by an error of a library, and before anything has changed."""
    async with Harness().kernel(doubling, waiting) as kernel:
        await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")

        with pytest.raises(FlujoError, match=names) as refused:
            await call(kernel)

        assert isinstance(refused.value, ValueError)
        assert isinstance(refused.value, (InvalidNameError, InvalidValueError)) or names == "number"
        assert (await kernel.inspect("r")).seq == 2
