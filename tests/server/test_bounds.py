"""No answer is too large for a client with gRPC's own limits, whatever is stored and whatever was asked before.

The messages are filled from the contract itself: every text to its limit, every list and map as full as it may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from flujo.client.wire.events import from_event, recorded_fact, to_event
from flujo.client.wire.limits import MAX_ANSWER_BYTES, MAX_MESSAGE_BYTES, Room, fitting, shorten, violations
from flujo.client.wire.runs import from_run, put_details, to_run
from flujo.client.wire.values import Payloads
from flujo.kernel import Context, workflow
from flujo.kernel.backend import RunSummary
from flujo.kernel.events import Event, RunResumed
from flujo.kernel.state import Failure, StepState, WorkflowState
from flujo.kernel.transitions import summarize
from flujo.v1 import event_pb2, limits_pb2, run_pb2, run_service_pb2, system_service_pb2, workflow_service_pb2
from flujo.v1 import run_service_pb2 as pb
from flujo.v1.payload_pb2 import Payload
from kernel.harness import Harness
from server.flows import double, doubling, waiting
from server.harness import both, stubs

METHODS = [
    method
    for file in (run_service_pb2, system_service_pb2, workflow_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
MANY = 3_000
"""How many entries a list gets that has no limit of its own."""


def full(descriptor: Descriptor, items: int | None = None) -> Any:
    """A message with every field filled to its limit; lists have `items` entries at most."""
    made = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        fill(made, field, items)
    return made


def fill(message: Any, field: FieldDescriptor, items: int | None) -> None:
    """Fill one field to its limit."""
    limit = field.GetOptions().Extensions[limits_pb2.limit]
    count = min(limit.items or MANY, items or MANY)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        for index in range(count):
            name = text(limit.key_bytes, index)
            if value.message_type is not None:
                getattr(message, field.name)[name].json = "1"
            else:
                getattr(message, field.name)[name] = (
                    text(limit.bytes, index) if value.type == value.TYPE_STRING else 0.1
                )
    elif field.is_repeated:
        getattr(message, field.name).extend(one(field, limit, index) for index in range(count))
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(one(field, limit, 0))
    else:
        setattr(message, field.name, one(field, limit, 0))


def one(field: FieldDescriptor, limit: Any, index: int) -> Any:
    """One value of a field, as large as it may be."""
    if field.message_type is not None:
        match field.message_type.name:
            case "Payload":
                return Payload(json="1")
            case "Duration" | "Timestamp":
                return GetMessageClass(field.message_type)(seconds=1_700_000_000)
            case _:
                return full(field.message_type, 3)
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return text(limit.bytes, index)
        case FieldDescriptor.TYPE_BYTES:
            return b"x" * limit.bytes
        case FieldDescriptor.TYPE_ENUM:
            assert field.enum_type is not None
            return field.enum_type.values[-1].number
        case FieldDescriptor.TYPE_BOOL:
            return True
        case _:
            return 1


def text(size: int, index: int) -> str:
    """A text of so many bytes, most of them of a script that takes three for each character."""
    number = f"{index:05}"[-min(5, size) :]
    left = size - len(number)
    return number + "東" * (left // 3) + "x" * (left % 3)


# -- requests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_request_at_its_limits_is_taken_and_fits(method: Any) -> None:
    """Every text, list and map as large as it may be, all at once."""
    request: Any
    if "starts" in method.input_type.fields_by_name:  # a thousand of them are limited by gRPC alone
        request = GetMessageClass(method.input_type)()
        request.starts.append(full(run_service_pb2.StartRunRequest.DESCRIPTOR))
    else:
        request = full(method.input_type)

    assert list(violations(request)) == []
    assert request.ByteSize() < MAX_MESSAGE_BYTES or "skip" in method.input_type.fields_by_name


def limited(descriptor: Descriptor, path: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    """The path of every field of a request that has a limit, also of those inside of it."""
    for field in descriptor.fields:
        if field.GetOptions().Extensions[limits_pb2.limit].ByteSize() and field.name != "json":
            yield f"{path}{field.name}", field
        inner = field.message_type
        if inner is not None and inner.file.package == "flujo.v1" and not inner.GetOptions().map_entry:
            yield from limited(inner, f"{path}{field.name}.")


BEYOND = [(method, path, field) for method in METHODS for path, field in limited(method.input_type)]


@pytest.mark.parametrize(("method", "path", "field"), BEYOND, ids=lambda each: getattr(each, "name", each))
def test_one_more_than_the_limit_is_refused_by_its_path(method: Any, path: str, field: FieldDescriptor) -> None:
    """A byte, an item, an entry, or a byte of a name."""
    limit = field.GetOptions().Extensions[limits_pb2.limit]
    holder = path.rpartition(".")[0]
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry

    def refused(*values: Any, **entries: Any) -> list[str]:
        request: Any = GetMessageClass(method.input_type)()
        inner: Any = request
        for part in filter(None, holder.split(".")):
            inner = getattr(inner, part)
            inner = inner.add() if part == "starts" else inner
        if is_map:
            for name, value in entries.items():
                if field.name == "skip":
                    inner.skip[name].json = value
                else:
                    getattr(inner, field.name)[name] = value
        elif field.name == "starts":
            for _ in values:
                inner.starts.add()
        elif field.is_repeated:
            getattr(inner, field.name).extend(values)
        else:
            setattr(inner, field.name, values[0])
        found = [violation.path.replace("starts[0].", "starts.") for violation in violations(request)]
        return [violation.partition("[")[0] for violation in found]

    if is_map:
        assert refused(**{text(limit.key_bytes + 1, 0): "1"}) == [path]
        assert path in refused(**{f"k{index}": "1" for index in range(limit.items + 1)})
        if field.name == "labels":
            assert refused(a=text(limit.bytes + 1, 0)) == [path]
            assert refused(**{"": "1"}) == [path]
    elif field.is_repeated:
        wanted: Any = 1 if field.enum_type is not None else "x"
        assert refused(*[wanted] * (limit.items + 1)) == [path]
        if field.type == field.TYPE_STRING:
            assert refused(text(limit.bytes + 1, 0)) == [path]
    elif field.type == field.TYPE_BYTES:
        assert refused(b"x" * (limit.bytes + 1)) == [path]
        assert refused(b"a\0b") == []
    else:
        assert refused(text(limit.bytes + 1, 0)) == [path]
        assert refused("a\0b") == [path]


# -- answers ------------------------------------------------------------------------------------------------------

LARGE = '"' + "x" * 2_000_000 + '"'


@pytest.mark.parametrize(
    "kind", list(event_pb2.Event.DESCRIPTOR.oneofs_by_name["fact"].fields), ids=lambda each: each.name
)
def test_an_event_at_its_limits_is_no_more_than_an_answer(kind: FieldDescriptor) -> None:
    """Whatever it holds: what does not fit is left out, and said to be; a batch ends after it."""
    message = event_pb2.Event(seq=1, type=kind.name)
    assert kind.message_type is not None
    getattr(message, kind.name).CopyFrom(full(kind.message_type))
    whole = from_event(message)
    sent = to_event(whole, Payloads())

    assert sent.ByteSize() < MAX_ANSWER_BYTES
    assert len(sent.SerializeToString()) == sent.ByteSize()
    batch = [sent] * 64
    kept = fitting(batch, Room())
    assert sum(each.ByteSize() for each in batch[:kept]) <= MAX_ANSWER_BYTES or kept == 1
    assert from_event(sent, recorded_fact(whole)) == whole  # nothing is lost: the rest is read by its own call


def test_what_is_longer_than_its_limit_is_cut_and_said_to_be() -> None:
    """Stored by a kernel that knows no such limit, or by an earlier release."""
    long = Event(1, 0, RunResumed([f"item[{number}]" for number in range(100_000)], by="x" * 100_000))
    sent = to_event(long, Payloads())

    assert sent.cut
    assert sent.ByteSize() < MAX_ANSWER_BYTES
    assert 0 < len(sent.run_resumed.reset) < 100_000
    assert sent.run_resumed.by.endswith("…")
    assert from_event(sent, recorded_fact(long)) == long
    assert not to_event(Event(1, 0, RunResumed(["a"], by="x" * 3_000)), Payloads()).cut


def summary_at_its_limits() -> RunSummary:
    """A run each of whose texts is as long as it may be."""
    return from_run(full(run_pb2.Run.DESCRIPTOR, 64))


def state_at_its_limits() -> WorkflowState:
    """A run with many large steps, variables, failures and differences."""
    long = text(4000, 0)
    state = WorkflowState("r", "u", seq=9)
    for number in range(MANY):
        key = text(4000, number)
        state.steps[key] = StepState(
            key, output_json=LARGE[:60_000], settled_seq=1, error=Failure(long, long * 2, key, 1, long * 4)
        )
    state.failed_steps = tuple(state.steps)
    state.plan = [[text(4000, number), "digest", *[long] * 5] for number in range(MANY)]
    state.differences = [[text(4000, number), "changed", long] for number in range(MANY)]
    state.variables = {f"v{number}": "x" * 500_000 for number in range(20)}
    state.environment = {"env": {f"v{number}": "x" * 100_000 for number in range(30)}}
    state.inputs_json = LARGE
    state.output_json = LARGE
    state.error = Failure(long, long * 9, long, 1, long * 9)
    state.labels = {text(200, number): text(1000, number) for number in range(64)}
    return state


def test_the_details_of_a_run_at_its_limits_fit() -> None:
    """Each list ends, with a number of what is left out, and each large value is a reference."""
    state = state_at_its_limits()
    run = to_run(summarize(state, None, 1), interrupted=False)
    put_details(run, state)
    details = run.details

    assert run.ByteSize() < 1.5 * MAX_ANSWER_BYTES
    for steps, omitted in (
        (details.steps, details.steps_omitted),
        (details.failed_steps, details.failed_steps_omitted),
        (details.plan, details.plan_omitted),
        (details.differences, details.differences_omitted),
    ):
        assert len(steps) > 0
        assert len(steps) + omitted == MANY


@pytest.mark.parametrize("message", ["Run", "Step", "Wait", "PlannedStep", "StepDifference"])
def test_an_item_at_its_limits_is_sent_as_it_is(message: str) -> None:
    """What may be there is not cut."""
    made: Message = full(run_pb2.DESCRIPTOR.message_types_by_name[message], 10)
    before = made.SerializeToString(deterministic=True)

    assert not shorten(made)
    assert made.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_answer_at_its_limits_fits(method: Any) -> None:
    """Its items are as large as they may be, and there are as many as the server puts into one answer."""
    answer = full(method.output_type, 3)
    for descriptor, value in answer.ListFields():
        if descriptor.is_repeated and descriptor.message_type is not None:
            item = value[0]
            kept = fitting([item] * 1000, Room())
            del value[:]
            value.extend([item] * kept)

    assert answer.ByteSize() < MAX_MESSAGE_BYTES


# -- sequences of calls -------------------------------------------------------------------------------------------


async def read_everything(runs: Any, run_id: str, uid: str) -> None:
    """Read a run in every way, as a client with gRPC's own limits; raises where an answer is too large."""
    await runs.GetRun(pb.GetRunRequest(run_id=run_id, view=run_pb2.RUN_VIEW_FULL))
    await runs.WaitRun(pb.WaitRunRequest(run_id=run_id, view=run_pb2.RUN_VIEW_FULL, max_wait={}))  # type: ignore[arg-type]
    await runs.ListRuns(pb.ListRunsRequest(page_size=1000))
    await runs.ListEvents(pb.ListEventsRequest(run_id=run_id, page_size=1000))
    await runs.ListSteps(pb.ListStepsRequest(run_id=run_id))
    await runs.ExplainRun(pb.ExplainRunRequest(run_id=run_id))
    call = runs.WatchRun(pb.WatchRunRequest(run_id=run_id))
    seen = 0
    head = (await runs.GetRun(pb.GetRunRequest(run_id=run_id))).run.seq
    while seen < head:
        message = await call.read()
        seen = message.events.through_seq or seen
    call.cancel()


async def test_five_variables_of_a_megabyte_leave_the_run_readable(address: str) -> None:
    """Each is legal by itself; together they are more than a client takes."""
    async with both(Harness().kernel(waiting), address) as (kernel, client), stubs(address) as (runs, _):
        await kernel.start("waiting", run_id="r")
        for number in range(5):
            await client.set_variable("r", f"v{number}", "x" * 1_000_000)

        await read_everything(runs, "r", "")

        assert (await client.inspect("r")).variables == (await kernel.inspect("r")).variables


async def test_long_words_about_a_run_leave_it_readable(address: str) -> None:
    """Labels, reasons and names as long as they may be, on a thousand runs of one list."""
    labels = {text(200, number): text(1000, number) for number in range(64)}
    async with both(Harness().kernel(doubling, waiting), address) as (_, client), stubs(address) as (runs, _):
        for number in range(60):
            await client.start("waiting", run_id=f"r{number}", labels=labels)
        for number in range(300):
            await client.set_variable("r0", "v", number, by=text(4000, 1), reason=text(4000, 2))
        await client.cancel("r1", text(4000, 3), by=text(4000, 4))

        await read_everything(runs, "r0", "")
        pages, token = 0, ""
        found: list[str] = []
        while True:
            page = await runs.ListRuns(pb.ListRunsRequest(page_size=1000, page_token=token))
            assert page.ByteSize() <= MAX_ANSWER_BYTES
            found += [run.run_id for run in page.runs]
            pages += 1
            if not (token := page.next_page_token):
                break

        assert pages > 1
        assert sorted(found) == sorted({f"r{number}" for number in range(60)})
        assert len([run async for run in listed(client)]) == 60


async def listed(client: Any) -> Any:
    """Every run of a client, page by page."""
    page = None
    while True:
        found = await client.list(limit=1000, page=page)
        for run in found.runs:
            yield run
        if (page := found.next) is None:
            return


async def test_a_resume_of_many_steps_leaves_the_run_readable(address: str) -> None:
    """The event that says so names each of them; a client of ours reads the whole of it by its own call."""
    long = "d" * 100

    @workflow()
    async def wide(ctx: Context) -> int:
        return len(await ctx.map(double, range(2_600), name=long))

    async with both(Harness().kernel(wide), address) as (kernel, client), stubs(address) as (runs, _):
        await kernel.run("wide", run_id="r")
        await kernel.resume("r", from_step=f"{long}[0]")
        await kernel.wait("r")

        await read_everything(runs, "r", "")

        state = await client.inspect("r")
        assert state.to_dict() == (await kernel.inspect("r")).to_dict()
        events = await kernel.events("r", 0, limit=100_000)
        resumed = next(event for event in events if isinstance(event.fact, RunResumed))
        assert isinstance(resumed.fact, RunResumed)
        assert len(resumed.fact.reset) == 2_600
        assert to_event(resumed, Payloads()).cut
        async with aclosing(client.watch("r", resumed.seq - 1)) as watched:
            assert await anext(watched) == resumed
