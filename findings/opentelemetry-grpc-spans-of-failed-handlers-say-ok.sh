#!/usr/bin/env bash
# OpenTelemetry for gRPC in Python: the server's span of a handler that raised, or was too late, says rpc.grpc.status_code 0.
#
# Guess:     client and server record the status that the call had: 2 (UNKNOWN) on both sides if the handler raises, 4
#            (DEADLINE_EXCEEDED) or 1 (CANCELLED) on the server if the client's deadline ends it, with the span's status
#            ERROR.
# Behaviour: the server's span begins with 0 and learns of another status only through the context's abort, set_code and
#            set_details. gRPC itself sets the status of a handler that raises, behind the interceptor, so the span stays at 0
#            and UNSET; the exception is an event of it. A call ended by its deadline is the same, without that event. A rate
#            of failures counted by status from servers' spans is too good; from clients' spans it is right.
# Seen with: opentelemetry-instrumentation-grpc 0.66b2 and 0.55b0, grpcio 1.85.3, Python 3.11.7:
#
#     0.55b0 aborts: client 5 ERROR, server 5 UNSET
#     0.55b0 raises: client 2 ERROR, server 0 UNSET
#     0.55b0 is late: client 4 ERROR, server 0 UNSET
#     0.66b2 aborts: client 5 ERROR, server 5 UNSET
#     0.66b2 raises: client 2 ERROR, server 0 UNSET
#     0.66b2 is late: client 4 ERROR, server 0 UNSET
#
# So: end a failed call with the context's abort in the handler, and count failures at the clients.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > spans.py <<'PYTHON'
import asyncio

import grpc
from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


async def aborts(request, context):
    await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


async def raises(request, context):
    raise ValueError("a mistake in the handler")


async def is_late(request, context):
    await asyncio.sleep(30)


class Service(grpc.GenericRpcHandler):
    def __init__(self, handler):
        self.handler = handler

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.handler)


async def spans(handler):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    server = grpc.aio.server(interceptors=[aio_server_interceptor(provider)])
    server.add_generic_rpc_handlers([Service(handler)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=aio_client_interceptors(provider)) as channel:
        try:
            await channel.unary_unary("/shop.Shop/Pay")(b"", timeout=1 if handler is is_late else 20)
        except grpc.RpcError:
            pass
    await server.stop(5)
    by_kind = {span.kind.name: span for span in exporter.get_finished_spans()}
    return ", ".join(
        f"{kind.lower()} {by_kind[kind].attributes['rpc.grpc.status_code']} {by_kind[kind].status.status_code.name}"
        for kind in ("CLIENT", "SERVER")
    )


async def main():
    for handler in (aborts, raises, is_late):
        print(f"{handler.__name__.replace('_', ' ')}: {await spans(handler)}")


asyncio.run(main())
PYTHON

for versions in 0.55b0/1.34.0 0.66b2/1.45.2; do
    version=${versions%/*}
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check \
        "opentelemetry-instrumentation-grpc==$version" "opentelemetry-sdk==${versions#*/}" grpcio==1.85.3
    "venv-$version/bin/python" spans.py 2>>log | while read -r line; do
        said="$version $line"
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
    done
done
