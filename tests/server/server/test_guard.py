"""The guard itself: what is still at work, and what is logged of calls whose clients have gone."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import StatusCode, aio
from grpc_status import rpc_status

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Kernel
from flujo.kernel.errors import RunNotFoundError
from flujo.v1 import run_service_pb2 as pb
from kernel.harness import Harness
from server.flows import doubling, waiting, writing
from server.harness import CountingGuard, install_counting_guard, served, stubs


@pytest.fixture(autouse=True)
def counting_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every server here has one."""
    install_counting_guard(monkeypatch)


async def test_calls_are_counted_from_their_first_moment_to_their_last(address: str) -> None:
    """Of all kinds, also those that are refused."""
    kernel = Harness().kernel(waiting)
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        await kernel.start("waiting", run_id="r")
        calls = [stub.WatchRun(pb.WatchRunRequest(run_id="r")) for _ in range(4)]
        for call in calls:
            await call.read()
        assert CountingGuard.current.at_work == 4
        calls[0].cancel()
        await calls[0].code()
        await kernel.signal("r", "go")
        for call in calls[1:]:
            await drain(call)
        with anyio.fail_after(30):
            await CountingGuard.current.wait_idle()
        assert CountingGuard.current.at_work == 0


async def drain(call: Any) -> None:
    """Read a stream to its end."""
    while await call.read() is not aio.EOF:
        pass


class Stubborn(InMemoryBackend):
    """Its reads are interrupted, and then it fails in a way of its own."""

    reading = anyio.Event()
    error: Exception = RunNotFoundError("r", "memory:")

    async def load(self, run_id: str) -> Any:
        try:
            self.reading.set()
            await anyio.sleep_forever()
        except BaseException:
            raise self.error from None


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (RunNotFoundError("r", "memory:"), []),
        (ZeroDivisionError("a bug"), ["GetRun failed, after its client had gone"]),
    ],
    ids=["expected", "bug"],
)
async def test_what_fails_after_its_client_has_gone_is_logged_if_it_is_a_bug(
    error: Exception, logged: list[str], address: str, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nobody to answer, and nothing else goes wrong for that."""
    backend = Stubborn()
    backend.error, backend.reading = error, anyio.Event()
    kernel = Kernel(backend, [doubling])
    async with kernel, served(kernel, address), stubs(address) as (stub, _):
        call = stub.GetRun(pb.GetRunRequest(run_id="r"))
        await backend.reading.wait()
        call.cancel()
        await call.code()
        with anyio.fail_after(30):
            await CountingGuard.current.wait_idle()

    found = [record.getMessage().rpartition("/")[2] for record in caplog.records if record.levelno >= logging.WARNING]
    assert found == logged


async def test_a_client_that_goes_in_the_middle_of_a_message_is_no_bug(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A watcher that leaves while more is written to it than it has read leaves no trace in the log."""
    kernel = Harness().kernel(writing)
    async with kernel, served(kernel, address):
        await kernel.run("writing", {"size": 60_000, "times": 200}, run_id="r")
        for _ in range(5):
            async with stubs(address, **{"http2.bdp_probe": 0}) as (stub, _):
                call = stub.WatchRun(pb.WatchRunRequest(run_id="r"))
                await call.read()
                call.cancel()
                await call.code()
        with anyio.fail_after(30):
            await CountingGuard.current.wait_idle()

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_malformed_bytes_are_a_bad_argument(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """The client is told, of a call and of a stream, and nothing is logged: no bug of the server."""
    kernel = Harness().kernel(doubling)
    async with kernel, served(kernel, address), aio.insecure_channel(address) as channel:
        raw: Any = channel
        calls = [
            raw.unary_unary("/flujo.v1.RunService/GetRun")(b"\xff\xff"),
            raw.unary_stream("/flujo.v1.RunService/WatchRun")(b"\xff\xff").read(),
        ]
        for call in calls:
            with pytest.raises(aio.AioRpcError, match="malformed") as refused:
                await call
            assert refused.value.code() is StatusCode.INVALID_ARGUMENT
            told = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
            info = ErrorInfo()
            assert told is not None
            assert any(detail.Unpack(info) for detail in told.details)
            assert info.reason == "INVALID_FIELD"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
