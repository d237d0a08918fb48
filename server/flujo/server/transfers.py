"""Documents of runs over the wire: ExportRun in pieces, ImportRun out of pieces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from functools import partial

from flujo.client.wire.runs import put_fitting
from flujo.client.wire.store_keeping import IMPORT_OUTCOMES
from flujo.client.wire.values import MAX_INLINE_BYTES
from flujo.kernel import Kernel
from flujo.kernel.errors import PayloadTooLargeError
from flujo.kernel.loops import in_thread
from flujo.kernel.transfer import export_run, from_json, import_run, to_json
from flujo.v1 import run_service_pb2 as pb

MAX_DOCUMENT_BYTES = 256 * 1024 * 1024


async def export_in_pieces(kernel: Kernel, request: pb.ExportRunRequest) -> AsyncGenerator[pb.ExportRunResponse, None]:
    """Yield the document of a run. It is written in a thread, beside which the event loop goes on."""
    export = await export_run(kernel.backend, request.run_id, with_children=request.with_children, clock=kernel.clock)
    document = await in_thread(lambda: to_json(export).encode())
    for piece in pieces_of(document):
        yield pb.ExportRunResponse(chunk=piece)


async def import_out_of_pieces(kernel: Kernel, requests: AsyncIterator[pb.ImportRunRequest]) -> pb.ImportRunResponse:
    """Store the runs of a document; raises PayloadTooLargeError as soon as it is too long.

    The loop ends for a client that has gone as for one that has sent everything
    (findings/grpc-a-cancelled-upload-ends-like-a-whole-one.sh). The document tells: no shorter part of it is JSON
    (tests/server/test_store_keeping.py: broken_off)."""
    document = bytearray()
    async for request in requests:
        document += request.chunk
        if len(document) > MAX_DOCUMENT_BYTES:
            raise PayloadTooLargeError("the document", len(document), MAX_DOCUMENT_BYTES)
    export = await in_thread(partial(from_json, bytes(document)))
    del document
    arrivals = await import_run(kernel.backend, export)
    answer = pb.ImportRunResponse()
    runs = (pb.ImportedRun(run_id=each.run_id, outcome=IMPORT_OUTCOMES.number(each.outcome.value)) for each in arrivals)
    answer.runs_omitted = put_fitting(answer.runs, runs, len(arrivals))
    return answer


def pieces_of(data: bytes) -> Iterator[bytes]:
    """Yield bytes in pieces of 64 KiB."""
    for start in range(0, len(data), MAX_INLINE_BYTES):
        yield data[start : start + MAX_INLINE_BYTES]
