"""Requests with an id: asked for again, whatever has become of the run, they change nothing and are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from flujo.kernel import CancelOutcome, Context, Delivery, Kernel, RunFailed, RunHandle, workflow
from flujo.kernel.errors import RequestReusedError
from flujo.kernel.events import CancelRequested, RunResumed, SignalReceived
from flujo.kernel.state import LIVE
from flujo.kernel.store.reading import post
from kernel.harness import Counter, GatedBackend, Harness, crash, recorded, settled, until


class Flow:
    """A workflow of two steps and a wait; the second step fails until it is mended."""

    def __init__(self, *, broken: bool) -> None:
        self.counter = Counter()
        self.broken = broken

        async def second() -> int:
            if self.broken:
                raise ValueError("no")
            return self.counter.count("second")

        @workflow(name="flow")
        async def program(ctx: Context) -> Any:
            await ctx.step(self.counter.body("first"), name="first")
            await ctx.step(second)
            return await ctx.wait_signal("go")

        self.workflow = program


async def failed(kernel: Kernel, flow: Flow) -> None:
    with pytest.raises(RunFailed):
        await kernel.run("flow", run_id="r")
    flow.broken = False


async def waiting(kernel: Kernel, flow: Flow) -> None:
    flow.broken = False
    await kernel.start("flow", run_id="r")
    await until(kernel, "r", "step_waiting")


async def paused(kernel: Kernel, flow: Flow) -> None:
    await waiting(kernel, flow)
    await kernel.pause("r")
    await kernel.wait("r")


Call = Callable[[Kernel, str], Coroutine[Any, Any, Any]]


Arrange = Callable[[Kernel, Flow], Awaitable[None]]


CALLS: dict[str, tuple[Arrange, Call]] = {
    "signal": (waiting, lambda kernel, id: kernel.signal("r", "note", {"n": 1}, by="ann", request_id=id)),
    "cancel": (waiting, lambda kernel, id: kernel.cancel("r", "enough", by="ann", request_id=id)),
    "pause": (waiting, lambda kernel, id: kernel.pause("r", "lunch", by="ann", request_id=id)),
    "unpause": (paused, lambda kernel, id: kernel.unpause("r", by="ann", request_id=id)),
    "resume": (failed, lambda kernel, id: kernel.resume("r", from_step="second", by="ann", request_id=id)),
    "resume and skip": (failed, lambda kernel, id: kernel.resume("r", skip={"second": 1}, request_id=id)),
    "skip": (failed, lambda kernel, id: kernel.skip("r", "second", 7, reason="by hand", request_id=id)),
    "set output": (failed, lambda kernel, id: kernel.set_output("r", "second", 7, by="ann", request_id=id)),
    "set variable": (waiting, lambda kernel, id: kernel.set_variable("r", "mode", ["x"], by="ann", request_id=id)),
    "set variable of a failed run": (failed, lambda kernel, id: kernel.set_variable("r", "mode", 1, request_id=id)),
}


each_call = pytest.mark.parametrize("call", CALLS)


def fingerprints(harness: Harness) -> list[Any]:
    """Return the fingerprints in the journal of the run."""
    return [request for event in harness.journal("r") if (request := getattr(event.fact, "request", None)) is not None]


async def going_on(kernel: Kernel) -> None:
    """Have the run wait for its signal, whatever it came to."""
    state = await kernel.inspect("r")
    if state.cancel_requested_at or state.pause_requested_at:
        await kernel.wait("r")
    if (await kernel.summary("r")).status not in LIVE:
        await kernel.resume("r")
    while (await kernel.summary("r")).status != "waiting":
        await checkpoint()


@each_call
async def test_a_repeat_records_nothing(call: str) -> None:
    """At once after the first one."""
    harness, flow = Harness(), Flow(broken=True)
    arrange, ask = CALLS[call]
    async with harness.kernel(flow.workflow) as kernel:
        await arrange(kernel, flow)

        first, second = await ask(kernel, "x"), await ask(kernel, "x")

        assert len(fingerprints(harness)) == 1
        if call in ("cancel", "pause"):
            await kernel.wait("r")
            assert (await ask(kernel, "x")).value in ("cancelled", "paused")
        else:
            assert second == first
        assert len(fingerprints(harness)) == 1


@each_call
async def test_a_repeat_leaves_a_run_alone_that_goes_on(call: str) -> None:
    """It was carried out and the run has been resumed since: it is neither stopped nor resumed once more."""
    harness, flow = Harness(), Flow(broken=True)
    arrange, ask = CALLS[call]
    async with harness.kernel(flow.workflow) as kernel:
        await arrange(kernel, flow)
        await ask(kernel, "x")
        await going_on(kernel)
        seq = harness.summary("r").seq

        await ask(kernel, "x")

        assert (harness.summary("r").seq, harness.summary("r").status) == (seq, "waiting")
        await kernel.signal("r", "go", 7)
        assert await kernel.result("r") == 7


@each_call
async def test_a_repeat_is_answered_when_the_run_is_over(call: str) -> None:
    """Not with the error that this call would get on a completed run if it were a new one."""
    harness, flow = Harness(), Flow(broken=True)
    arrange, ask = CALLS[call]
    async with harness.kernel(flow.workflow) as kernel:
        await arrange(kernel, flow)
        await ask(kernel, "x")
        await going_on(kernel)
        await kernel.signal("r", "go", 7)
        await kernel.result("r")
        seq = harness.summary("r").seq

        answer = await ask(kernel, "x")

    assert (harness.summary("r").seq, harness.summary("r").status) == (seq, "completed")
    if call in ("signal", "set variable", "set variable of a failed run"):
        assert answer is Delivery.RECORDED
    if isinstance(answer, RunHandle):
        assert (answer.run_id, answer.created) == ("r", False)


@each_call
async def test_a_repeat_may_come_to_another_kernel(call: str) -> None:
    """While the first one runs the run: the answer is in the store, and nothing is left in the inbox."""
    harness, flow = Harness(), Flow(broken=True)
    arrange, ask = CALLS[call]
    async with harness.kernel(flow.workflow) as kernel, harness.kernel(flow.workflow, recover=False) as other:
        await arrange(kernel, flow)
        await ask(kernel, "x")
        await going_on(kernel)
        seq = harness.summary("r").seq

        await ask(other, "x")

        assert (harness.summary("r").seq, harness.store.inbox) == (seq, {})


@each_call
@pytest.mark.parametrize("recover", [True, False], ids=["recovered", "left alone"])
async def test_a_repeat_may_come_after_a_crash(call: str, recover: bool) -> None:
    """The first one was recorded and its answer lost with the kernel: the next kernel knows it from the journal."""
    harness, flow = Harness(), Flow(broken=True)
    arrange, ask = CALLS[call]
    async with harness.kernel(flow.workflow) as kernel:
        await arrange(kernel, flow)
        await ask(kernel, "x")
        crash(kernel)

    async with harness.kernel(flow.workflow, recover=recover) as kernel:
        await ask(kernel, "x")

        assert len(fingerprints(harness)) == 1
        if call in ("resume", "resume and skip", "unpause"):  # that the run goes on was asked for
            assert not await kernel.is_interrupted(await kernel.summary("r"))
        assert (await kernel.inspect("r")).resume_count <= 1


@each_call
async def test_an_id_is_good_for_one_request(call: str) -> None:
    """Under the id of something else the call is refused, wherever the run is, and nothing has changed."""
    harness, flow = Harness(), Flow(broken=True)
    arrange, ask = CALLS[call]
    async with harness.kernel(flow.workflow) as kernel, harness.kernel(flow.workflow, recover=False) as other:
        await arrange(kernel, flow)
        await kernel.set_variable("r", "taken", 1, request_id="x")
        seq = harness.summary("r").seq

        for each in (kernel, other):
            with pytest.raises(RequestReusedError):
                await ask(each, "x")

        assert (harness.summary("r").seq, harness.store.inbox) == (seq, {})


@each_call
async def test_another_id_is_another_request(call: str) -> None:
    """What asks for the same under another id is carried out, or refused, as if it had none."""
    harness, flow = Harness(), Flow(broken=True)
    arrange, ask = CALLS[call]
    async with harness.kernel(flow.workflow) as kernel:
        await arrange(kernel, flow)
        await ask(kernel, "x")
        await going_on(kernel)
        await kernel.signal("r", "note", request_id="y")

        assert [id for id, _ in fingerprints(harness)] == ["x", "y"]


async def test_ids_on_two_runs_have_nothing_to_do_with_each_other() -> None:
    """Each run remembers what it was asked for itself."""
    harness, flow = Harness(), Flow(broken=False)
    async with harness.kernel(flow.workflow) as kernel:
        for run_id in ("a", "b"):
            await kernel.start("flow", run_id=run_id)
            await kernel.signal(run_id, "go", run_id, request_id="x")

        assert [await kernel.result(run_id) for run_id in ("a", "b")] == ["a", "b"]


async def test_a_repeat_is_not_answered_before_the_first_one_is_durable() -> None:
    """It changes nothing, and still it promises what the first one promises."""
    harness, flow = Harness(), Flow(broken=False)
    backend = GatedBackend(harness.store)
    answered: list[Delivery] = []

    async def ask(kernel: Kernel) -> None:
        answered.append(await kernel.signal("r", "note", request_id="x"))

    async with harness.kernel(flow.workflow, backend=backend) as kernel:
        await kernel.start("flow", run_id="r")
        await until(kernel, "r", "step_waiting")
        backend.close_gate()
        async with anyio.create_task_group() as group:
            group.start_soon(ask, kernel)
            await backend.waiting.wait()
            group.start_soon(ask, kernel)
            for _ in range(20):
                await checkpoint()
            assert answered == []
            backend.gate.set()

        assert answered == [Delivery.RECORDED] * 2
        assert len(fingerprints(harness)) == 1


@pytest.mark.parametrize("call", ["resume", "unpause", "skip", "set output", "set variable of a failed run"])
async def test_two_at_the_same_time_are_one(call: str) -> None:
    """Both are answered, whichever comes first, although a run that nobody ran is taken over for it."""
    harness, flow = Harness(), Flow(broken=True)
    arrange, ask = CALLS[call]
    async with harness.kernel(flow.workflow) as kernel:
        await arrange(kernel, flow)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(partial(ask, kernel, "x"))

        assert len(fingerprints(harness)) == 1


async def left_alone(harness: Harness, flow: Flow) -> None:
    """A run that waits for its signal, and nobody runs it."""
    async with harness.kernel(flow.workflow) as kernel:
        await waiting(kernel, flow)


async def test_a_repeat_in_the_inbox_is_taken_once() -> None:
    """Nobody ran the run when both came; the second one leaves the inbox with whatever is recorded next."""
    harness, flow = Harness(), Flow(broken=False)
    await left_alone(harness, flow)
    async with harness.kernel(flow.workflow, recover=False) as kernel:
        for _ in range(3):
            assert await kernel.signal("r", "note", 1, request_id="x") is Delivery.STORED
        await kernel.resume("r")
        assert [event.fact for event in harness.journal("r") if isinstance(event.fact, SignalReceived)] == [
            SignalReceived("note", "1", None, fingerprints(harness)[0])
        ]
        assert len(harness.store.inbox) == 2

        await kernel.set_variable("r", "mode", 1)

        assert harness.store.inbox == {}
        assert await kernel.signal("r", "note", 1, request_id="x") is Delivery.RECORDED
        assert harness.types("r").count("signal_received") == 1


async def test_a_repeat_that_stays_in_the_inbox_is_dropped_again_by_the_next_owner() -> None:
    """A kernel that records nothing more cannot take it out."""
    harness, flow = Harness(), Flow(broken=False)
    await left_alone(harness, flow)
    async with harness.kernel(flow.workflow, recover=False) as kernel:
        for _ in range(2):
            await kernel.signal("r", "note", 1, request_id="x")
        await kernel.resume("r")
        crash(kernel)
    assert len(harness.store.inbox) == 1

    async with harness.kernel(flow.workflow) as kernel:
        await kernel.signal("r", "go", 7)
        assert await kernel.result("r") == 7

    assert harness.types("r").count("signal_received") == 2
    assert harness.store.inbox == {}


async def test_another_request_under_an_id_in_the_inbox_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever left it has gone and cannot be told; the log says so."""
    harness, flow = Harness(), Flow(broken=False)
    await left_alone(harness, flow)
    async with harness.kernel(flow.workflow, recover=False) as kernel:
        for payload in (1, 2):
            await kernel.signal("r", "go", payload, request_id="x")
        await kernel.resume("r")

        assert await kernel.result("r") == 1

    assert "was asked for something else under the request id 'x'; the request is dropped" in caplog.text
    assert harness.store.inbox == {}


async def test_posted_requests_are_remembered_as_well() -> None:
    """Every kind that is left for another kernel carries its fingerprint into the journal."""
    harness, flow = Harness(), Flow(broken=False)
    async with harness.kernel(flow.workflow) as kernel, harness.kernel(flow.workflow, recover=False) as other:
        await waiting(kernel, flow)
        for call, type in (("signal", "signal_received"), ("set variable", "variable_set"), ("pause", "run_paused")):
            await CALLS[call][1](other, call.replace(" ", "-"))
            await recorded(harness, "r", type)
        await kernel.resume("r")
        await CALLS["cancel"][1](other, "cancel")
        await recorded(harness, "r", "run_cancelled")

        assert [id for id, _ in fingerprints(harness)] == ["signal", "set-variable", "pause", "cancel"]
        for call in ("signal", "set variable", "pause", "cancel"):
            await CALLS[call][1](kernel, call.replace(" ", "-"))
        assert len(fingerprints(harness)) == 4


async def test_a_repeat_does_not_keep_a_run_in_memory() -> None:
    """A run that only waits comes back once to see that the request is a repeat, and leaves again."""
    harness, flow = Harness(), Flow(broken=False)
    async with harness.kernel(flow.workflow, max_resident=1) as kernel:
        await kernel.start("flow", run_id="r")
        await until(kernel, "r", "step_waiting")
        await kernel.signal("r", "note", request_id="x")
        for number in range(3):
            await kernel.start("flow", run_id=f"other-{number}")
        uid = harness.summary("r").uid
        while not kernel._runtime.runs.is_outside(uid):
            await checkpoint()
        returns: list[str] = []
        ask = kernel._runtime._recalls.ask

        def counted(run_id: str) -> None:
            returns.append(run_id)
            ask(run_id)

        kernel._runtime._recalls.ask = counted  # type: ignore[method-assign]
        async with harness.backend() as other:
            await post(other, "r", SignalReceived("note", "null", request=fingerprints(harness)[0]), 0)
        while not kernel._runtime._inbox._dropped:
            await checkpoint()
        await kernel.start("flow", run_id="last")
        while not kernel._runtime.runs.is_outside(uid):
            await checkpoint()
        assert set(returns) == {"r"}
        returns.clear()
        for _ in range(3):
            kernel._runtime._inbox.look_again()
            await settled(lambda: not kernel._runtime._inbox._is_looking)

        assert returns == []
        assert len(harness.store.inbox) == 1
        await kernel.signal("r", "go", 7)
        assert await kernel.result("r") == 7
        assert (harness.types("r").count("signal_received"), harness.store.inbox) == (2, {})


async def test_a_start_is_repeated_without_naming_the_run() -> None:
    """The same id comes to the same run, live, over, or left behind by a crash."""
    harness, flow = Harness(), Flow(broken=False)
    async with harness.kernel(flow.workflow) as kernel:
        handles = [await kernel.start("flow", labels={"team": "a"}, request_id="x") for _ in range(2)]
        run_id = handles[0].run_id
        await until(kernel, run_id, "step_waiting")
        crash(kernel)

    async with harness.kernel(flow.workflow, recover=False) as kernel:
        handles.append(await kernel.start("flow", labels={"team": "a"}, request_id="x"))
        await handles[-1].signal("go", 7)
        assert await handles[-1].result() == 7
        handles.append(await kernel.start("flow", labels={"team": "a"}, request_id="x"))

        assert [handle.created for handle in handles] == [True, False, False, False]
        assert {handle.run_id for handle in handles} == {run_id}
        assert (await kernel.start("flow", request_id="y")).run_id != run_id
        with pytest.raises(RequestReusedError):
            await kernel.start("flow", labels={"team": "b"}, request_id="x")
        with pytest.raises(RequestReusedError):
            await kernel.cancel(run_id, request_id="x")


async def test_a_named_run_may_be_started_under_any_request_id() -> None:
    """The name says which run it is; what came before request ids stays as it was."""
    harness, flow = Harness(), Flow(broken=False)
    async with harness.kernel(flow.workflow) as kernel:
        handles = [await kernel.start("flow", run_id="r", request_id=id) for id in ("x", "x", "y", None)]

        assert [handle.created for handle in handles] == [True, False, False, False]
        assert len(fingerprints(harness)) == 1


async def test_two_starts_at_the_same_time_make_one_run() -> None:
    """Both have its handle, and one of them made it."""
    harness, flow = Harness(), Flow(broken=False)
    handles: list[RunHandle] = []

    async def start(kernel: Kernel) -> None:
        handles.append(await kernel.start("flow", request_id="x"))

    async with harness.kernel(flow.workflow) as kernel:
        async with anyio.create_task_group() as group:
            group.start_soon(start, kernel)
            group.start_soon(start, kernel)

        assert sorted(handle.created for handle in handles) == [False, True]
        assert len({handle.run_id for handle in handles}) == 1


@pytest.mark.parametrize("new_run_id", [None, "fork"])
async def test_a_fork_is_repeated(new_run_id: str | None) -> None:
    """Also when the run it was made from has gone: the answer is in the journal of the new one."""
    harness, flow = Harness(), Flow(broken=True)
    async with harness.kernel(flow.workflow) as kernel:
        await failed(kernel, flow)
        await kernel.set_variable("r", "mode", 1, request_id="x")
        ask = partial(kernel.fork, "r", from_step="second", new_run_id=new_run_id)

        first, second = await ask(request_id="x"), await ask(request_id="x")
        await kernel.delete("r")
        third = await ask(request_id="x")

        assert [first.created, second.created, third.created] == [True, False, False]
        assert {first.run_id, second.run_id, third.run_id} == {first.run_id}
        assert (await kernel.inspect(first.run_id)).variables == {"mode": 1}
        with pytest.raises(RequestReusedError):
            await kernel.fork("r", new_run_id=new_run_id, request_id="x")


async def test_a_fork_forgets_what_the_old_run_was_asked_for() -> None:
    """The same ids are free for it; only its own making is remembered."""
    harness, flow = Harness(), Flow(broken=True)
    async with harness.kernel(flow.workflow) as kernel:
        await failed(kernel, flow)
        await kernel.set_variable("r", "mode", 1, request_id="x")
        handle = await kernel.fork("r")

        assert await kernel.set_variable(handle.run_id, "mode", 2, request_id="x") is Delivery.RECORDED
        assert (await kernel.inspect(handle.run_id)).variables == {"mode": 2}


async def test_what_changed_nothing_is_not_remembered() -> None:
    """The cancel of a run that is over has no fact, so its id is as good as new."""
    harness, flow = Harness(), Flow(broken=True)
    async with harness.kernel(flow.workflow) as kernel:
        await failed(kernel, flow)

        assert await kernel.cancel("r", request_id="x") is CancelOutcome.ALREADY_FINISHED
        assert fingerprints(harness) == []
        await kernel.resume("r", request_id="x")

        assert [type(event.fact) for event in harness.journal("r") if getattr(event.fact, "request", None)] == [
            RunResumed
        ]


async def test_a_cancel_lost_between_request_and_end_is_carried_out_once() -> None:
    """Its owner died right after recording it: recovery ends the run, and the repeat says so."""
    harness, flow = Harness(), Flow(broken=False)
    await left_alone(harness, flow)
    async with harness.kernel(flow.workflow, recover=False) as kernel:
        assert await kernel.cancel("r", request_id="x") is CancelOutcome.CANCELLED
        assert await kernel.cancel("r", request_id="x") is CancelOutcome.CANCELLED

    assert sum(isinstance(event.fact, CancelRequested) for event in harness.journal("r")) == 1
