"""Starting many runs by one call: each has its own outcome, in one order, by whatever way it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from google.rpc.status_pb2 import Status

from flujo.backends.memory import InMemoryBackend
from flujo.client import Client, blocking
from flujo.client.wire.starts import MOST_BYTES
from flujo.kernel import Kernel
from flujo.kernel.api import NewRun, RunHandle
from flujo.kernel.backend import Commit, Refused
from flujo.kernel.errors import (
    CallTimeoutError,
    FlujoError,
    InvalidInputError,
    InvalidNameError,
    RequestReusedError,
    RunExistsError,
    WorkflowNotFoundError,
)
from flujo.v1 import run_service_pb2 as pb
from flujo.workflows import load_workflow_text
from kernel.harness import Harness
from server.flows import doubling, echoing, waiting
from server.harness import WAYS, Through, served, stubs


@pytest.fixture(params=WAYS)
def through(request: pytest.FixtureRequest, folder: Path, certificates: Path) -> Through:
    """Each of the ways to the runs of a kernel."""
    return Through(request.param, folder, certificates)


def told(outcome: RunHandle | FlujoError) -> Any:
    return (outcome.run_id, outcome.created) if isinstance(outcome, RunHandle) else type(outcome)


async def test_each_start_has_its_own_outcome(through: Through) -> None:
    """In the order of the starts; what is refused to one keeps none of the others from starting."""
    starts = [
        NewRun("doubling", {"number": 4}, {"run_id": "a", "labels": {"team": "x"}}),
        NewRun("tripling", None, {"run_id": "b"}),
        NewRun("doubling", {"number": "many"}, {"run_id": "c"}),
        NewRun(waiting, None, {"run_id": "known"}),
        NewRun("doubling", None, {"run_id": "known"}),
        NewRun("doubling", None, {"run_id": "no id"}),
        NewRun("doubling", {"number": 5}, {"request_id": "once"}),
        NewRun("doubling", {"number": 6}, {"request_id": "once"}),
    ]
    async with through(Harness().kernel(doubling, waiting)) as runs:
        await runs.start("waiting", run_id="known")
        outcomes = await runs.start_runs(starts)
        result = await runs.result("a")
        labels = (await runs.inspect("a")).labels

    kinds = [told(each) for each in outcomes]
    assert kinds[:6] == [
        ("a", True),
        WorkflowNotFoundError,
        InvalidInputError,
        ("known", False),
        RunExistsError,
        InvalidNameError,
    ]
    assert sum(kind is RequestReusedError for kind in kinds[6:]) == 1
    assert sum(isinstance(each, RunHandle) and each.created for each in outcomes[6:]) == 1
    assert (result, labels) == (8, {"team": "x"})


async def test_a_repeat_starts_nothing_anew(through: Through) -> None:
    """By the run ids, and by the request ids."""
    starts = [
        *(NewRun("waiting", None, {"run_id": f"r-{number}"}) for number in range(5)),
        *(NewRun("waiting", None, {"request_id": f"q-{number}"}) for number in range(5)),
    ]
    async with through(Harness().kernel(waiting)) as runs:
        first, second = await runs.start_runs(starts), await runs.start_runs(starts)
        count = await runs.count()

    assert [told(each)[0] for each in first] == [told(each)[0] for each in second]
    assert [told(each)[1] for each in (*first, *second)] == [True] * 10 + [False] * 10
    assert count == 10


async def test_many_starts_share_their_commits() -> None:
    """A thousand runs take a few commits, and not one each."""
    batches: list[int] = []

    class Counting(InMemoryBackend):
        async def append(self, commits: Any) -> dict[str, Refused]:
            batches.append(len(commits))
            return await super().append(commits)

    async with Kernel(Counting(), [waiting]) as kernel:
        outcomes = await kernel.start_runs([NewRun("waiting")] * 1000)
        commits = len(batches)

    assert all(isinstance(each, RunHandle) for each in outcomes)
    assert commits <= 10


async def test_no_starts_are_no_runs(through: Through) -> None:
    """And more than a thousand, or something else, are refused."""
    async with through(Harness().kernel(waiting)) as runs:
        assert await runs.start_runs([]) == []
        with pytest.raises(InvalidNameError, match="1000"):
            await runs.start_runs([NewRun("waiting")] * 1001)
        with pytest.raises(InvalidNameError, match="starts"):
            await runs.start_runs(["waiting"])  # type: ignore[list-item]


async def test_large_inputs_go_in_several_calls(address: str) -> None:
    """A message of gRPC has room for four megabytes; the client knows."""
    text = "x" * 700_000
    assert 10 * len(text) > 2 * MOST_BYTES
    async with Kernel(InMemoryBackend(), [echoing]) as kernel, served(kernel, address), Client(address) as client:
        outcomes = await client.start_runs([NewRun("echoing", {"value": text + str(n)}) for n in range(10)])
        results = [await each.result() for each in outcomes if isinstance(each, RunHandle)]

    assert results == [text + str(number) for number in range(10)]


async def test_definitions_are_sent_along(address: str) -> None:
    """One that many runs share is read once; a broken one is refused to its own start."""
    workflow = load_workflow_text("name: x\nsteps: [{name: a, task: noop}]\n", "x.yaml")
    async with (
        Kernel(InMemoryBackend(), []) as kernel,
        served(kernel, address),
        stubs(address) as (stub, _),
    ):
        request = pb.StartRunsRequest(starts=[pb.StartRunRequest(), pb.StartRunRequest(), pb.StartRunRequest()])
        assert workflow.definition is not None
        for start in request.starts[:2]:
            start.definition.text = workflow.definition.text
        request.starts[2].definition.text = "name: x\nsteps: [{name: a, task: ecko}]\n"
        answer = await stub.StartRuns(request)
        ended = [(await kernel.wait(each.run_id)).status for each in answer.outcomes[:2]]

    assert ended == ["completed", "completed"]
    assert answer.outcomes[2].refusal.reason == "INVALID_FIELD"


async def test_a_refusal_is_told_in_every_language(address: str) -> None:
    """With code, reason and message, and the whole error as StartRun would have answered it."""
    async with Kernel(InMemoryBackend(), [waiting]) as kernel, served(kernel, address), stubs(address) as (stub, _):
        answer = await stub.StartRuns(pb.StartRunsRequest(starts=[pb.StartRunRequest(workflow="nothing", run_id="r")]))

    (outcome,) = answer.outcomes
    assert (outcome.run_id, outcome.created) == ("r", False)
    assert (outcome.refusal.code, outcome.refusal.reason) == (5, "WORKFLOW_NOT_FOUND")
    assert "nothing" in outcome.refusal.message
    assert Status.FromString(outcome.refusal.status).message == outcome.refusal.message


async def test_an_answer_full_of_refusals_is_bounded(address: str) -> None:
    """What has no room are the whole errors; each start is told its reason all the same."""
    starts = [pb.StartRunRequest(workflow=f"{number}-" + "ä" * 300) for number in range(1000)]
    async with Kernel(InMemoryBackend(), [waiting]) as kernel, served(kernel, address), Client(address) as client:
        async with stubs(address) as (stub, _):
            answer = await stub.StartRuns(pb.StartRunsRequest(starts=starts))
        outcomes = await client.start_runs([NewRun(each.workflow) for each in starts])

    assert answer.ByteSize() < 4 * 1024 * 1024
    assert {each.refusal.reason for each in answer.outcomes} == {"WORKFLOW_NOT_FOUND"}
    assert {each.reason for each in outcomes if isinstance(each, FlujoError)} == {"WORKFLOW_NOT_FOUND"}
    assert b"" in {each.refusal.status for each in answer.outcomes}


@pytest.mark.parametrize("task", ["noop", "ecko"])
async def test_many_definitions_leave_turns_to_others(task: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each small one takes milliseconds to read, and a thousand of them would hold everybody up for seconds."""
    turns = 0
    read_at: list[int] = []

    def reading(text: str, file: str) -> Any:
        read_at.append(turns)
        return load_workflow_text(text, file)

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    monkeypatch.setattr("flujo.workflows.load_workflow_text", reading)
    request = pb.StartRunsRequest()
    for number in range(20):
        request.starts.add().definition.text = f"name: w{number}\nsteps: [{{name: a, task: {task}}}]\n"
    async with (
        Kernel(InMemoryBackend()) as kernel,
        served(kernel, address),
        stubs(address) as (runs, _),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(take_turns)
        await runs.StartRuns(request)
        tasks.cancel_scope.cancel()

    assert len(read_at) == len(set(read_at)) == 20


class Slow(InMemoryBackend):
    """Its commits wait until they may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.may = anyio.Event()
        self.begun = anyio.Event()

    async def append(self, commits: Any) -> dict[str, Refused]:
        if any(isinstance(commit, Commit) for commit in commits):
            self.begun.set()
            await self.may.wait()
        return await super().append(commits)


@pytest.mark.parametrize("way", ["cancelled", "deadline"])
async def test_a_call_that_ends_early_may_be_repeated(way: str, address: str) -> None:
    """What it has begun goes on, and the repeat finds it."""
    backend = Slow()
    starts = [NewRun("waiting", None, {"run_id": f"r-{number}"}) for number in range(3)]
    async with Kernel(backend, [waiting]) as kernel, served(kernel, address):
        async with Client(address, call_seconds=0.2 if way == "deadline" else 30) as client:
            if way == "deadline":
                with pytest.raises(CallTimeoutError):
                    await client.start_runs(starts)
            else:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(client.start_runs, starts)
                    await backend.begun.wait()
                    tasks.cancel_scope.cancel()
        backend.may.set()
        async with Client(address) as client:
            outcomes = await client.start_runs(starts)
        count = await kernel.count()

    assert [each.run_id for each in outcomes if isinstance(each, RunHandle)] == ["r-0", "r-1", "r-2"]
    assert count == 3


async def test_code_that_blocks_starts_many_as_well(address: str) -> None:
    """And may wait for each."""

    def start() -> list[Any]:
        with blocking.Client(address) as client:
            outcomes = client.start_runs([NewRun("doubling", {"number": 3}), NewRun("nothing")])
            assert isinstance(outcomes[0], blocking.RunHandle)
            return [outcomes[0].result(), type(outcomes[1])]

    async with Kernel(InMemoryBackend(), [doubling]) as kernel, served(kernel, address):
        found = await anyio.to_thread.run_sync(start)

    assert found == [6, WorkflowNotFoundError]
