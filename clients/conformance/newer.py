"""A server of a later release: it answers with events, fields, values and outcomes that today's contract does not know,
and numbers that need all of 64 bits. It is also closing, if the run is called so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio
from grpc_status import rpc_status

from flujo.client.statuses import to_status
from flujo.kernel.errors import ServerStoppingError
from flujo.v1 import event_pb2, run_pb2, run_service_pb2_grpc
from flujo.v1 import run_service_pb2 as pb

UNKNOWN_FIELD = b"\xa2\x38\x06beamed"
"""A field with the number 900, which holds six bytes."""

UID = "f" * 32
LARGE = 2**63 + 5
UNKNOWN = 42
SEQS = [1, 2**53 + 1, LARGE - 1, LARGE]
TYPES = ["run_created", "teleported", "step_completed", "run_completed"]
CLOSING = "closing"


def run(run_id: str) -> run_pb2.Run:
    """A run with a status that nobody knows."""
    made = run_pb2.Run(run_id=run_id, uid=UID, workflow="beaming", seq=LARGE, token=2**64 - 1)
    made.MergeFromString(b"\x28\x2a" + UNKNOWN_FIELD)  # status = 42
    return made


def events() -> pb.EventBatch:
    """Four events, of which the second is of a kind that nobody knows."""
    made = [event_pb2.Event(seq=seq, type=name) for seq, name in zip(SEQS, TYPES, strict=True)]
    made[0].run_created.workflow = "beaming"
    made[1].MergeFromString(UNKNOWN_FIELD)
    made[2].step_completed.step = "beam"
    made[3].run_completed.MergeFromString(UNKNOWN_FIELD)
    return pb.EventBatch(events=made, through_seq=LARGE)


class NewerRuns(run_service_pb2_grpc.RunServiceServicer):
    """Answers some of the calls."""

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        if request.run_id == CLOSING:
            await context.abort_with_status(rpc_status.to_status(to_status(ServerStoppingError())))
        return pb.GetRunResponse(run=run(request.run_id))

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        return pb.CancelRunResponse.FromString(b"\x08\x4d")  # outcome = 77

    async def WatchRun(self, request: pb.WatchRunRequest, context: Any) -> AsyncIterator[pb.WatchRunResponse]:
        yield pb.WatchRunResponse(header=pb.WatchHeader(run=run(request.run_id)))
        yield pb.WatchRunResponse(events=events())
        yield pb.WatchRunResponse.FromString(UNKNOWN_FIELD)
        yield pb.WatchRunResponse(end=pb.WatchEnd.FromString(b"\x08\x85\x80\x80\x80\x80\x80\x80\x80\x80\x01\x10\x2a"))


@asynccontextmanager
async def newer_server() -> AsyncIterator[str]:
    """The address of such a server, on this machine and without TLS."""
    server = aio.server(options=[("grpc.http2.min_ping_interval_without_data_ms", 10_000)])
    run_service_pb2_grpc.add_RunServiceServicer_to_server(NewerRuns(), server)  # type: ignore[abstract]  # it has what it is asked for
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        await server.stop(None)
