"""What `Runs` promises, whoever keeps it: how a run's end reaches a caller, and which parameters its calls take."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from flujo.kernel import Kernel, Observer
from flujo.kernel.api import Runs, StoredRuns, result_of
from flujo.kernel.errors import RunCancelled, RunFailed, RunPaused, StateIncompatibilityError
from flujo.kernel.events import CancelRequested, Fact, RunCompleted
from flujo.kernel.events import RunCancelled as RunCancelledFact
from flujo.kernel.events import RunFailed as RunFailedFact
from flujo.kernel.events import RunPaused as RunPausedFact
from kernel.flows import waiting
from kernel.harness import Harness, until
from kernel.journal.histories import CREATED, history


def test_the_output_of_a_completed_run_is_its_result() -> None:
    """As the value that was recorded."""
    assert result_of(history(CREATED, RunCompleted('{"a": [1, null]}'))) == {"a": [1, None]}


@pytest.mark.parametrize(
    ("facts", "error", "fields"),
    [
        (
            [RunFailedFact("ValueError", "no")],
            RunFailed,
            {"type": "ValueError", "error": "no", "step": None},
        ),
        ([RunFailedFact("ValueError", "no", "a")], RunFailed, {"step": "a"}),
        ([CancelRequested("enough"), RunCancelledFact("enough")], RunCancelled, {"run_id": "r", "why": "enough"}),
        ([RunPausedFact("PauseRequested")], RunPaused, {"run_id": "r", "why": "PauseRequested"}),
        (
            [RunPausedFact("StateIncompatible", differences=[["a", "changed", "no"]])],
            StateIncompatibilityError,
            {"run_id": "r"},
        ),
    ],
    ids=["failed", "failed in a step", "cancelled", "paused", "incompatible"],
)
def test_another_end_is_raised(facts: list[Fact], error: type[Exception], fields: dict[str, Any]) -> None:
    """Each by the error that says how the run ended, with what is recorded of that."""
    with pytest.raises(error) as raised:
        result_of(history(CREATED, *facts))

    assert {name: getattr(raised.value, name) for name in fields} == fields


def calls(protocol: type) -> list[str]:
    """The names of the calls of a protocol."""
    return [name for name, member in vars(protocol).items() if inspect.isfunction(member) and not name.startswith("_")]


@pytest.mark.parametrize(("keeper", "protocol"), [(Observer, StoredRuns), (Kernel, StoredRuns), (Kernel, Runs)])
def test_a_keeper_takes_what_the_protocol_says(keeper: type, protocol: type) -> None:
    """Every call has the same parameters, in the same order, with the same defaults."""
    for name in calls(protocol):
        said = inspect.signature(getattr(protocol, name)).parameters.values()
        kept = inspect.signature(getattr(keeper, name)).parameters.values()
        assert [(each.name, each.kind, each.default) for each in kept] == [
            (each.name, each.kind, each.default) for each in said
        ], name


async def test_a_handle_reaches_its_run() -> None:
    """Inspect, signal, watch and result are those of the run it was given for; cancel of one that is over says so."""
    async with Harness().kernel(waiting) as kernel:
        handle = await kernel.start(waiting, run_id="r")
        await until(kernel, "r", "step_waiting")
        assert (await handle.inspect()).run_id == "r"

        await handle.signal("go", 7)

        assert await handle.result() == 7
        assert (await handle.wait()).status == "completed"
        assert [event.type async for event in handle.watch(2)][-1] == "run_completed"
        assert await handle.cancel() == "already_finished"
