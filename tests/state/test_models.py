"""`WorkflowState`: what it shows, what it refuses, and how it is saved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from anyio import to_thread
from anyio.from_thread import start_blocking_portal

from flujo.backends import open_backend
from flujo.backends.memory import MemoryStore
from flujo.kernel import Context, Kernel, workflow
from flujo.kernel.errors import (
    BlockingCallError,
    FlujoError,
    InvalidNameError,
    InvalidValueError,
    RunActiveError,
    RunFinishedError,
    RunNotFoundError,
    RunReplacedError,
    StateNotRecordableError,
    StepCompletedError,
    StepNotFoundError,
    StoreNotFoundError,
)
from flujo.kernel.events import RunCompleted, StepOutputSet, StepSkipped, VariableSet
from flujo.state import WorkflowState
from flujo.state.backends.memory import InMemoryBackend
from flujo.workflows import load_workflow
from state.stories import COMPLETED, FAILED, INTERRUPTED, RUN, facts_of

URL = "sqlite:.flujo/state.db"


# -- reading ---------------------------------------------------------------------------------------------------------


def test_a_state_shows_the_run_under_the_names_of_a_state_file() -> None:
    """And everything else under flujo's own names in `recorded`."""
    FAILED.tell_blocking(URL)

    state = WorkflowState.load(RUN)

    assert (state.workflow_id, state.run_id, state.name, state.status) == (RUN, RUN, "workflow-name", "failed")
    assert (state.current_step, state.failed_step) == ("step2", "step2")
    assert state.retry_state == {"step2": {"attempt": 1, "max_attempts": 1}}
    assert state.step_outputs == {"step1": {"result": "Output from Step 1"}}
    assert (state.start_time, state.last_updated) == (state.recorded.start_time, state.recorded.last_updated)
    assert state.recorded.error is not None
    assert state.recorded.error.type == "ValueError"
    assert repr(state) == "<state of run workflow_id, failed>"


def test_what_a_state_shows_is_the_callers_own() -> None:
    """Changing it changes neither the state nor the run."""
    FAILED.tell_blocking(URL)
    state = WorkflowState.load(RUN)

    state.variables["user_input"] = "other"
    state.step_outputs["step1"]["result"] = "other"

    assert state.variables["user_input"] == "value"
    assert state.step_outputs == {"step1": {"result": "Output from Step 1"}}
    assert not state.has_changes


def test_a_run_or_a_store_that_is_not_there() -> None:
    """Is an error, and nothing is made by looking."""
    with pytest.raises(StoreNotFoundError):
        WorkflowState.load(RUN)
    assert list(Path(".flujo").iterdir()) == []
    FAILED.tell_blocking(URL)

    with pytest.raises(RunNotFoundError):
        WorkflowState.load("absent")


def test_a_store_may_be_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its URL, or by FLUJO_STORE; wherever the process goes afterwards, it is saved there."""
    FAILED.tell_blocking("file:elsewhere")

    given = WorkflowState.load(RUN, store="file:elsewhere")
    monkeypatch.setenv("FLUJO_STORE", "file:elsewhere")
    found = WorkflowState.load(RUN)
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    given.set_variable("key", "value")
    given.save()

    assert found.status == "failed"
    assert not (folder / "below" / "elsewhere").exists()
    assert WorkflowState.load(RUN, store=f"file:{folder}/elsewhere").variables["key"] == "value"


def test_a_store_in_memory_is_given_as_a_backend() -> None:
    """It has no URL by which others could find it."""
    backend = InMemoryBackend(MemoryStore())
    anyio.run(FAILED.tell, backend.handle)

    state = WorkflowState.load(RUN, store=backend)
    state.update_step("step2", output="given")
    state.save()

    assert WorkflowState.load(RUN, store=backend).step_outputs["step2"] == {"result": "given"}


# -- changing --------------------------------------------------------------------------------------------------------


def test_changes_show_at_once_and_are_recorded_when_saved() -> None:
    """Until then nobody else sees them; afterwards there is nothing left to save."""
    INTERRUPTED.tell_blocking(URL)
    before = len(facts_of(URL))
    state = WorkflowState.load(RUN)

    state.set_variable("key", {"deep": [1]})
    state.update_step("step2", status="skipped", output="instead")
    shown = state.variables["key"], state.recorded.variables.get("key"), repr(state)
    unseen = WorkflowState.load(RUN).variables
    state.save(reason="a better input", by="bob")

    assert shown == ({"deep": [1]}, None, "<state of run workflow_id, running with unsaved changes>")
    assert "key" not in unseen
    assert facts_of(URL)[before:] == [
        VariableSet("key", '{"deep":[1]}', reason="a better input", by="bob"),
        StepSkipped("step2", "a better input", '"instead"', 1, "bob"),
    ]
    assert not state.has_changes
    assert state.to_dict() == WorkflowState.load(RUN).to_dict()


def test_a_value_given_to_a_state_may_change_afterwards() -> None:
    """What counts is what it was when it was given."""
    FAILED.tell_blocking(URL)
    state = WorkflowState.load(RUN)
    rows = [1]

    state.set_variable("rows", rows)
    state.update_step("step2", output=rows)
    state.mark_completed(rows)
    rows.append(2)
    state.save()

    seen = WorkflowState.load(RUN)
    assert (seen.variables["rows"], seen.step_outputs["step2"], seen.recorded.output) == ([1], {"result": [1]}, [1])


def test_completion_comes_last_whenever_it_is_asked_for() -> None:
    """A change behind it is still made."""
    FAILED.tell_blocking(URL)
    state = WorkflowState.load(RUN)

    state.mark_completed("all")
    state.set_variable("key", "value")
    shown = state.status, state.variables["key"]
    state.save()

    assert shown == ("completed", "value")
    assert [type(fact) for fact in facts_of(URL)][-1] is RunCompleted
    assert WorkflowState.load(RUN).recorded.output == "all"


def test_saving_nothing_records_nothing() -> None:
    """Neither a state without changes, nor one whose changes change nothing, nor the completion of a completed run."""
    COMPLETED.tell_blocking(URL)
    before = facts_of(URL)
    state = WorkflowState.load(RUN)

    state.save()
    state.update_step("step1", status="completed", output="Output from Step 1")
    state.set_variable("computed_value", 42)
    unchanged = state.has_changes
    state.mark_completed()
    state.save()

    assert not unchanged
    assert facts_of(URL) == before


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda state: state.update_step("step2", status="failed"), StateNotRecordableError),
        (lambda state: state.update_step("step2", status="cancelled"), StateNotRecordableError),
        (lambda state: state.update_step("step2", status="running"), StateNotRecordableError),
        (lambda state: state.update_step("step2", status="done"), InvalidNameError),
        (lambda state: state.update_step("absent"), StepNotFoundError),
        (lambda state: state.update_step("step1", status="skipped"), StepCompletedError),
        (lambda state: state.update_step("step2", output={1}), InvalidValueError),
        (lambda state: state.set_variable("no name", 1), InvalidNameError),
        (lambda state: state.set_variable("key", float("inf")), InvalidValueError),
        (lambda state: state.mark_completed(b"bytes"), InvalidValueError),
    ],
)
def test_what_a_journal_cannot_hold_is_refused_at_once(
    change: Callable[[WorkflowState], None], kind: type[FlujoError]
) -> None:
    """By the line that asks for it; the state stays as it is."""
    FAILED.tell_blocking(URL)
    state = WorkflowState.load(RUN)
    before = state.to_dict()

    with pytest.raises(kind):
        change(state)

    assert (state.to_dict(), state.has_changes) == (before, False)


def test_a_completed_run_takes_no_change() -> None:
    """As everywhere in flujo; it can be resumed from a step."""
    COMPLETED.tell_blocking(URL)
    state = WorkflowState.load(RUN)

    with pytest.raises(RunFinishedError):
        state.set_variable("key", "value")
    with pytest.raises(RunFinishedError):
        state.update_step("step1", output="other")


# -- saving while others change the run ------------------------------------------------------------------------------


def test_saving_decides_on_the_run_as_it_stands_then() -> None:
    """Somebody may have completed it meanwhile; then nothing is recorded and the changes are kept."""
    FAILED.tell_blocking(URL)
    state, other = WorkflowState.load(RUN), WorkflowState.load(RUN)
    other.mark_completed()
    other.save()
    before = facts_of(URL)

    state.set_variable("key", "value")
    with pytest.raises(RunFinishedError):
        state.save()

    assert state.has_changes
    assert facts_of(URL) == before


def test_two_states_of_a_run_are_saved_one_after_the_other() -> None:
    """Neither takes back what the other one has saved."""
    FAILED.tell_blocking(URL)
    one, other = WorkflowState.load(RUN), WorkflowState.load(RUN)

    one.set_variable("one", 1)
    one.save()
    other.update_step("step2", output=2)
    other.save()

    assert (other.variables["one"], other.step_outputs["step2"]) == (1, {"result": 2})


def test_a_run_that_was_started_anew_is_another_one() -> None:
    """A state of its former life is not saved."""
    FAILED.tell_blocking("file:runs")
    state = WorkflowState.load(RUN, store="file:runs")

    async def start_anew() -> None:
        async with open_backend("file:runs") as backend:
            await backend.delete(RUN, state.recorded.uid)
        await FAILED.tell(lambda: open_backend("file:runs"))

    anyio.run(start_anew)
    state.set_variable("key", "value")
    with pytest.raises(RunReplacedError):
        state.save()

    assert "key" not in WorkflowState.load(RUN, store="file:runs").variables


def test_a_store_that_is_gone_is_not_made_anew(folder: Path) -> None:
    """Saving is no reason to."""
    FAILED.tell_blocking("file:runs")
    state = WorkflowState.load(RUN, store="file:runs")
    (folder / "runs").rename(folder / "moved")
    state.set_variable("key", "value")

    with pytest.raises(StoreNotFoundError):
        state.save()
    assert not (folder / "runs").exists()


@asynccontextmanager
async def running(url: str) -> Any:
    """A kernel that runs a run which waits for a signal and then returns a variable."""

    @workflow(name="waiting")
    async def waiting(ctx: Context) -> Any:
        await ctx.wait_signal("go")
        return await ctx.variable("key")

    async with Kernel(open_backend(url), [waiting]) as kernel:
        await kernel.start(waiting, run_id=RUN)
        yield kernel


async def variable_set(kernel: Kernel) -> None:
    """Return once a variable of the run has been set."""
    async with aclosing(kernel.watch(RUN)) as events:
        async for event in events:
            if event.type == "variable_set":
                return


def test_a_run_that_a_process_runs_takes_variables_only() -> None:
    """They reach that process; whoever wants to change more stops the run first."""
    with start_blocking_portal(backend="asyncio") as portal:
        manager: AbstractAsyncContextManager[Kernel] = running(URL)
        with portal.wrap_async_context_manager(manager) as kernel:
            state = WorkflowState.load(RUN)
            state.set_variable("key", "value")
            state.save(by="ann")
            shown = state.variables
            state.mark_completed()
            with pytest.raises(RunActiveError):
                state.save()
            portal.call(variable_set, kernel)
            portal.call(kernel.signal, RUN, "go")
            output = portal.call(kernel.result, RUN)

    assert shown == {"key": "value"}
    assert output == "value"
    assert VariableSet("key", '"value"', reason="saved through flujo.state", by="ann") in facts_of(URL)


def test_a_new_life_of_a_run_takes_no_variable_of_the_former_one() -> None:
    """Also when a live process runs it."""
    FAILED.tell_blocking(URL)
    state = WorkflowState.load(RUN)
    state.set_variable("key", "value")

    async def forget() -> None:
        async with open_backend(URL) as backend:
            await backend.delete(RUN, state.recorded.uid)

    anyio.run(forget)
    with start_blocking_portal(backend="asyncio") as portal:
        manager: AbstractAsyncContextManager[Kernel] = running(URL)
        with portal.wrap_async_context_manager(manager) as kernel:
            with pytest.raises(RunReplacedError):
                state.save()
            portal.call(kernel.signal, RUN, "go")
            output = portal.call(kernel.result, RUN)

    assert output is None


def test_saving_one_run_takes_up_no_other(folder: Path) -> None:
    """Whoever saves a state does not recover what others have left, even if its definition is stored."""
    definition = load_workflow("name: w\nsteps: [{name: s, task: wait_signal}]\n", source="w.yaml")

    async def leave() -> None:
        async with Kernel(open_backend(URL), [definition]) as kernel:
            for run_id in (RUN, "other"):
                await kernel.start(definition, run_id=run_id)

    async def token() -> int:
        async with open_backend(URL) as backend:
            return (await backend.load("other")).token

    anyio.run(leave)
    before = anyio.run(token), facts_of(URL, "other")
    state = WorkflowState.load(RUN)
    state.update_step("s", output="given")
    state.save()

    assert state.step_outputs == {"s": {"result": "given"}}
    assert (anyio.run(token), facts_of(URL, "other")) == before


# -- event loops -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [asyncio.run, lambda coroutine: trio.run(lambda: coroutine)], ids=["asyncio", "trio"])
def test_a_call_that_blocks_is_refused_on_an_event_loop(run: Callable[[Any], None]) -> None:
    """It says what to do instead."""
    FAILED.tell_blocking(URL)
    state = WorkflowState.load(RUN)
    state.set_variable("key", "value")

    async def main() -> None:
        with pytest.raises(BlockingCallError, match=r"^WorkflowState\.load blocks") as refused:
            WorkflowState.load(RUN)
        assert refused.value.hints[0] == "await anyio.to_thread.run_sync(WorkflowState.load, …)"
        with pytest.raises(BlockingCallError, match=r"^WorkflowState\.save blocks"):
            state.save()

    run(main())

    assert state.has_changes


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_it_works_in_a_thread_of_a_program_with_an_event_loop(loop: str) -> None:
    """As the refusal says."""
    FAILED.tell_blocking(URL)

    async def main() -> WorkflowState:
        return await to_thread.run_sync(WorkflowState.load, RUN)

    assert anyio.run(main, backend=loop).status == "failed"


def test_what_is_given_by_hand_is_in_the_events_once() -> None:
    """Saving twice records the second changes only."""
    FAILED.tell_blocking(URL)
    state = WorkflowState.load(RUN)

    state.update_step("step2", output=1)
    state.save()
    state.update_step("step2", output=2)
    state.save()

    given = [(fact.output, fact.generation) for fact in facts_of(URL) if isinstance(fact, StepOutputSet)]
    assert given == [("1", 1), ("2", 2)]
