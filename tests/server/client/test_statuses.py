"""The table between errors and statuses: every class is in it, arrives as itself, and fits into a header."""

from __future__ import annotations

import base64
import inspect
import json
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_status import rpc_status

from flujo.client.statuses import HINTS_ROOM, LIST_ROOM, MESSAGE_ROOM, ROOM, TABLE, TEXT_ROOM, from_status, to_status
from flujo.kernel import errors
from flujo.kernel.errors import Difference, FlujoError, Problem
from server.harness import told_by

SAMPLES: list[FlujoError] = [
    errors.InvalidNameError("run id", "not an id", "a letter or digit, then …"),
    errors.InvalidInputError("report", {"day": "Input should be a valid string", "colour": "Zürich → extra"}),
    errors.StepChoiceError("report", "flow", "there is no flow `shop`; did you mean `ship`?"),
    errors.InvalidDurationError("1:30"),
    errors.InvalidExportError("event 3 follows event 1", ["export it again"]),
    errors.InvalidValueError("$.rows[3].price", "nan has no JSON form"),
    errors.SignalMisfitError("r", "pay", "$.amount", "it is no number", '{"amount": integer}'),
    errors.OutputTooLargeError(70_000_000, 67_108_864),
    errors.PayloadTooLargeError("the inputs", 1_048_577, 1_048_576),
    errors.DefinitionError(
        [Problem("a.yaml", 3, 7, "there is no task 'ecko'"), Problem("a.yaml", 0, 0, "no steps")], ["x"]
    ),
    errors.DeclarationError("this kernel has another workflow called 'a'", ["give one of them a name of its own"]),
    errors.UnsafeStepNameError("fetch", "it is used by two branches"),
    errors.RunNotFoundError("r-1", "sqlite:.flujo/state.db"),
    errors.RunReplacedError("r-1"),
    errors.RunDeletedError("r-1"),
    errors.CursorError("r-1", 9, 4),
    errors.ForeignCursorError("another.17"),
    errors.RunExistsError("r-1", "other inputs"),
    errors.RequestReusedError("r-1", "req-1"),
    errors.RunOverlapError("report", "r-1", "interrupted", "fail"),
    errors.RunActiveError("r-1", "host-17-abc"),
    errors.RunFinishedError("r-1", "completed"),
    errors.RunNotResumableError("r-1", "completed"),
    errors.RunNotPausedError("r-1", "completed"),
    errors.NoLogError("r-1", "only runs of YAML workflows keep one"),
    errors.StepNotFoundError("r-1", "fourth", ["first", "second"]),
    errors.StepCompletedError("r-1", "first"),
    errors.StateNotRecordableError("r-1", "nobody ran it", ["flujoctl run FILE"]),
    errors.WorkflowNotFoundError("tripling", ["doubling", "waiting"]),
    errors.WorkflowFixedError("tripling"),
    errors.TaskNotFoundError("ecko", ["echo", "shell"]),
    errors.StateIncompatibilityError("r-1", [Difference("a", "changed", "its task has changed")], "my file.yaml"),
    errors.StepFailed("fetch", "ConnectionError", "no route to café", 3),
    errors.RunFailed("r-1", "ConnectionError", "no route\nto host", None),
    errors.RunFailed("r-1", "ConnectionError", "", "fetch"),
    errors.RunCancelled("r-1", None),
    errors.RunCancelled("r-1", "it takes too long"),
    errors.RunPaused("r-1", "StepInterrupted"),
    errors.RunInterrupted("r-1"),
    errors.KernelClosedError(),
    errors.ServerStoppingError(),
    errors.ServerBusyError("max_calls", 2000),
    errors.UnauthenticatedError("the call has no token"),
    errors.PermissionDeniedError("ci", "viewer", "StartRun", "operator"),
    errors.DefinitionsNotAllowedError(),
    errors.UnsafeListenerError("tcp://0.0.0.0:1", "it needs tokens", ["--tokens FILE"]),
    errors.InvalidTokensError("tokens.json", "it belongs to eve", ["chown"]),
    errors.UnsupportedEventLoopError("the gRPC server", "trio", ("asyncio",)),
    errors.WrongEventLoopError("kernel host-7-01234567"),
    errors.ForkedProcessError("kernel host-7-01234567"),
    errors.WaitTimedOutError("r-1", 30.0),
    errors.ServerUnreachableError("unix:.flujo/server.sock", "Connection refused"),
    errors.ServerFailedError("0123456789abcdef"),
    errors.CallTimeoutError("GetRun", 30.0),
    errors.CallFailedError("GetRun", "UNIMPLEMENTED", "Method not found!"),
    errors.InvalidAddressError("tcp:1", "TCP is not there yet"),
    errors.AddressInUseError("unix:s"),
    errors.PlaceTakenError("/tmp/app.db-kernels", "a link of eve"),
    errors.UntrustedOwnerError("/tmp/.flujo", "eve", "flujoctl list --store sqlite:/tmp/.flujo/state.db"),
    errors.BlockingCallError("WorkflowState.load"),
    errors.ExtraMissingError("flujo.client", "grpc"),
    errors.StoreError("sqlite:a.db", "the disk is on fire", ["run"]),
    errors.StoreNotFoundError("sqlite:a.db"),
    errors.StoreUrlError("sqlight:a.db", "there is no such backend"),
    errors.ForeignStoreError("sqlite:a.db", "it holds tables of others"),
    errors.NewerStoreError("sqlite:a.db", 7, 3),
    errors.OlderStoreError("sqlite:a.db", 1, 2),
    errors.StoreInUseError("sqlite:a.db", "restoring", ["one", "two"], "a.db"),
    errors.StoreExistsError("sqlite:a.db"),
    errors.CorruptStoreError("sqlite:a.db", "page 7 is torn"),
    errors.StoreFullError("sqlite:a.db"),
    errors.StoreLeaseLostError("postgresql://host/db", "host-7-abc"),
    errors.StoreBusyError("sqlite:a.db", Path("a.db-lock"), 30),
    errors.UnknownEventError("step_teleported", 2),
    FlujoError("something else", ["hint"]),
]

LONG = ["x" * 20_000, "é" * 20_000, "東" * 20_000, "🙂" * 20_000, "%\n\x00" * 7_000, "word " * 4_000]
MANY = [f"step-{number}-🙂" for number in range(2_000)]
HUGE: list[FlujoError] = [
    *[errors.InvalidNameError(text, text, text) for text in LONG],
    *[errors.InvalidInputError(text, {f"{text}{number}": text for number in range(50)}) for text in LONG],
    *[errors.DefinitionError([Problem(text, 1, 1, text)] * 50, [text] * 9) for text in LONG],
    *[errors.RunFailed(text, text, text, text) for text in LONG],
    *[errors.CallFailedError(text, text, text) for text in LONG],
    errors.RunCancelled("r", LONG[1]),
    errors.NoLogError("r" * 100, LONG[3]),
    errors.StepNotFoundError("r" * 100, "s" * 100, MANY),
    errors.WorkflowNotFoundError("w" * 100, MANY),
    errors.TaskNotFoundError("t" * 100, MANY),
    errors.StateIncompatibilityError(
        "r" * 100, [Difference("s" * 100, "changed", f"{number} " + "é" * 300) for number in range(200)], "f" * 4000
    ),
    errors.DefinitionError([Problem("a.yaml", number, 1, "no") for number in range(5_000)]),
]


def name(error: FlujoError) -> str:
    return type(error).__name__


def details(status: Status) -> dict[str, Any]:
    """The details of a status by their types."""
    found = {}
    for packed in status.details:
        for kind in (ErrorInfo, BadRequest, PreconditionFailure, RetryInfo):
            detail = kind()
            if packed.Unpack(detail):
                found[kind.__name__] = detail
    assert len(found) == len(status.details)
    return found


def test_every_error_is_in_the_table() -> None:
    """Each class of flujo.kernel.errors has a code of its own, and a sample in this test."""
    classes = {each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, FlujoError)}

    assert set(TABLE) == classes
    assert {type(sample) for sample in SAMPLES} == classes


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_every_field_of_an_error_travels(kind: type[FlujoError]) -> None:
    """What is left out is said by its message; there is one such field."""
    sample = next(each for each in SAMPLES if type(each) is kind)

    assert set(vars(sample)) - {"message", "hints"} == set(TABLE[kind][1])


@pytest.mark.parametrize("error", SAMPLES, ids=name)
def test_an_error_arrives_as_itself(error: FlujoError) -> None:
    """The same class, fields, message, hints and reason."""
    arrived = from_status(Status.FromString(to_status(error).SerializeToString()))

    assert arrived is not None
    assert told_by(arrived) == told_by(error)


@pytest.mark.parametrize("error", SAMPLES, ids=name)
def test_other_languages_read_the_same(error: FlujoError) -> None:
    """Code, domain, reason and fields are there without our classes."""
    status = to_status(error)
    info = details(status)["ErrorInfo"]

    assert status.code == TABLE[type(error)][0].value[0]
    assert (info.domain, info.reason) == ("flujo", error.reason)
    assert set(TABLE[type(error)][1]) <= set(info.metadata)
    assert status.message == str(error)


@pytest.mark.parametrize("error", HUGE, ids=name)
def test_an_error_fits_into_a_header(error: FlujoError) -> None:
    """However much it has to say: with message and details as they travel it stays below the 8 KiB that peers accept,
    and it arrives as what it is, cut with a sign."""
    status = to_status(error)
    on_the_wire = len(base64.b64encode(status.SerializeToString())) + len(quote(status.message))

    assert status.ByteSize() <= ROOM
    assert on_the_wire < 7.7 * 1024
    arrived = from_status(status)
    assert type(arrived) is type(error)
    assert arrived is not None
    assert "…" in str(arrived)


async def test_errors_as_large_as_can_be_arrive_every_time(folder: Path) -> None:
    """gRPC refuses what is close to its limit now and then, so each is sent many times."""
    statuses = [rpc_status.to_status(to_status(error)) for error in HUGE]
    asked: list[int] = []

    async def refuse(request: bytes, context: aio.ServicerContext[Any, Any]) -> bytes:
        asked.append(len(asked))
        await context.abort_with_status(statuses[asked[-1] % len(statuses)])
        raise AssertionError

    server = aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(refuse)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Test", {"Refuse": handler})])
    server.add_insecure_port(f"unix:{folder}/s")
    await server.start()
    try:
        async with aio.insecure_channel(f"unix:{folder}/s") as channel:
            call: Any = channel.unary_unary("/test.Test/Refuse")
            for index in range(20 * len(statuses)):
                with pytest.raises(aio.AioRpcError) as refused:
                    await call(b"")
                status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
                assert status is not None, refused.value.details()
                assert type(from_status(status)) is type(HUGE[index % len(HUGE)])
    finally:
        await server.stop(None)


def test_lists_lose_their_last_items() -> None:
    """What is kept is whole."""
    arrived = from_status(to_status(errors.WorkflowNotFoundError("w", MANY)))

    assert isinstance(arrived, errors.WorkflowNotFoundError)
    assert 10 < len(arrived.known) < 200
    assert list(arrived.known) == MANY[: len(arrived.known)]


def test_hints_are_commands_and_stay_whole() -> None:
    """A hint that has no room is left out: half a command is none."""
    error = errors.StateIncompatibilityError("r" * 100, [Difference("s" * 100, "changed", "new")])

    arrived = from_status(to_status(error))

    assert arrived is not None
    assert 3 <= len(arrived.hints) < len(error.hints)
    assert arrived.hints == error.hints[: len(arrived.hints)]


def metadata(error: FlujoError) -> dict[str, str]:
    """What travels of an error beside its message."""
    info = ErrorInfo()
    assert to_status(error).details[0].Unpack(info)
    return dict(info.metadata)


def test_hints_that_just_fit_travel_whole() -> None:
    """One byte more, and the last one stays behind. A line break takes a byte."""
    first = "h" * 300

    def arriving(last: str) -> list[str]:
        return metadata(errors.StateNotRecordableError("r", "why", [first, last]))["hints"].split("\n")

    fits = "x" * (HINTS_ROOM - len(first) - 2)

    assert arriving(fits) == [first, fits]
    assert arriving(fits + "x") == [first]


def test_a_list_that_just_fits_travels_whole() -> None:
    """One byte more, and its last item stays behind. Quotes and a comma take four bytes of each."""
    first, second, third = "a" * 396, "b" * 396, "c" * 396
    fits = "d" * (LIST_ROOM - 3 * 400 - 4)

    def arriving(last: str) -> Any:
        return json.loads(metadata(errors.StepNotFoundError("r", "s", [first, second, third, last]))["known"])

    assert arriving(fits) == [first, second, third, fits]
    assert arriving(fits + "d") == [first, second, third]


def test_a_text_that_just_fits_travels_whole() -> None:
    """A longer one is cut to the same size, and says so by its last sign."""
    fits = "é" * (TEXT_ROOM // 2)

    assert metadata(errors.RunNotFoundError(fits, "u"))["run_id"] == fits
    assert metadata(errors.RunNotFoundError(fits + "x", "u"))["run_id"] == "é" * (TEXT_ROOM // 2 - 2) + "…"


def test_a_message_that_just_fits_travels_whole() -> None:
    """It is measured as it stands in the header, where a sign that is not ASCII takes nine bytes."""
    plain = len(str(errors.RunInterrupted("")))

    def arriving(run_id: str) -> str:
        return str(to_status(errors.RunInterrupted(run_id)).message)

    fits = "i" * (MESSAGE_ROOM - plain)

    assert arriving(fits) == str(errors.RunInterrupted(fits))
    assert arriving(fits + "i").endswith("…")
    assert MESSAGE_ROOM - 3 <= len(quote(arriving(fits + "i"), safe=string.printable)) <= MESSAGE_ROOM


def test_a_wrong_request_lists_its_fields() -> None:
    """In the form that clients of other languages know."""
    wrong = details(to_status(SAMPLES[1]))["BadRequest"].field_violations
    assert [(each.field, each.description) for each in wrong] == [
        ("inputs", "day: Input should be a valid string"),
        ("inputs", "colour: Zürich → extra"),
    ]
    assert [each.field for each in details(to_status(SAMPLES[0]))["BadRequest"].field_violations] == ["run_id"]


def test_a_changed_definition_lists_its_differences() -> None:
    """In the form that clients of other languages know; as many as there is room for."""
    few = errors.StateIncompatibilityError("r", [Difference("a", "changed", "new"), Difference("b", "removed", "gone")])
    many = errors.StateIncompatibilityError("r", [Difference(step, "changed", "é" * 90) for step in MANY])

    listed = details(to_status(few))["PreconditionFailure"].violations
    assert [(each.type, each.subject, each.description) for each in listed] == [
        ("changed", "a", "new"),
        ("removed", "b", "gone"),
    ]
    assert 1 <= len(details(to_status(many))["PreconditionFailure"].violations) < 50


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_an_error_that_a_repeat_may_not_meet_says_when(kind: type[FlujoError]) -> None:
    """So every UNAVAILABLE of a server; not what stays wrong however often it is asked, nor what a client finds out."""
    told = details(to_status(next(each for each in SAMPLES if type(each) is kind))).get("RetryInfo")
    passes = TABLE[kind][0] is grpc.StatusCode.UNAVAILABLE or kind is errors.ServerBusyError

    assert (told is not None) == (passes and kind is not errors.ServerUnreachableError)
    assert told is None or told.retry_delay.seconds >= 1


def test_text_that_utf8_cannot_hold_is_replaced() -> None:
    """File names may be any bytes; the error about them still arrives."""
    arrived = from_status(to_status(errors.StoreError("sqlite:\udcff.db", "\udcfe", ["\udcfd"])))

    assert isinstance(arrived, errors.StoreError)
    assert (arrived.store, arrived.problem, arrived.hints) == ("sqlite:?.db", "?", ("?",))


def test_a_class_of_ones_own_arrives_as_its_nearest_base() -> None:
    """With its message, its hints and its reason."""

    class StoreOnFireError(errors.StoreFullError):
        reason = "STORE_ON_FIRE"

    status = to_status(StoreOnFireError("sqlite:a.db"))
    arrived = from_status(status)

    assert type(arrived) is errors.StoreFullError
    assert details(status)["ErrorInfo"].reason == "STORE_ON_FIRE"


def test_an_error_of_a_newer_server_keeps_what_can_be_kept() -> None:
    """A class this release does not know is a FlujoError with that reason; a field it expects may be missing."""
    status = to_status(errors.RunFinishedError("r", "completed"))
    info = details(status)["ErrorInfo"]
    info.metadata["class"] = "RunOverError"
    status.details[0].Pack(info)
    unknown = from_status(status)
    assert type(unknown) is FlujoError
    assert (unknown.reason, str(unknown)) == ("RUN_FINISHED", "run 'r' is already completed")

    info.metadata["class"] = "RunFinishedError"
    del info.metadata["status"]
    status.details[0].Pack(info)
    partial = from_status(status)
    assert isinstance(partial, errors.RunFinishedError)
    assert vars(partial)["status"] is None
    assert partial.run_id == "r"


def test_a_status_of_somebody_else_is_left_alone() -> None:
    """Without our ErrorInfo there is no error of ours."""
    foreign = Status(code=5, message="no such thing")
    assert from_status(foreign) is None

    foreign.details.add().Pack(ErrorInfo(domain="googleapis.com", reason="RUN_NOT_FOUND"))
    assert from_status(foreign) is None
