#!/usr/bin/env bash
# connectrpc for Python: a call that is cancelled raises ConnectError, so timeouts, task groups and cancelled tasks of asyncio see a
# failure.
#
# A gRPC server of grpcio takes its time with a unary call. Two clients, connectrpc (protocol gRPC) and grpc.aio, await it: within
# asyncio.timeout, within asyncio.wait_for, in a task that is cancelled, and in a TaskGroup whose other task fails.
# Guess:     cancelling is asyncio's matter: the client gives its call up and lets CancelledError pass, as grpc.aio does. So both
#            timeouts raise TimeoutError, the task is cancelled, and the group raises the one error that there was.
# Behaviour: connectrpc raises ConnectError with the code "canceled" instead, an Exception like those of failed calls. Neither
#            timeout raises TimeoutError, the task has failed and is not cancelled, the group tells of two errors, one of which
#            it made by itself. Code that repeats failed calls repeats this one, in a task that was told to end.
# Seen with: connectrpc 0.13.0 (protobuf-py 0.7.0, pyqwest 0.12.0), grpcio 1.85.3, protobuf 7.36.2, Python 3.11.7:
#
#     connectrpc: timeout ConnectError, wait_for ConnectError, task failed with ConnectError, group KeyError and ConnectError
#     grpc.aio: timeout TimeoutError, wait_for TimeoutError, task cancelled, group KeyError
#
# So: whoever writes a client of flujo with connectrpc takes the code "canceled" for its own cancellation where the task is being
# cancelled (asyncio.current_task().cancelling()), gives deadlines by timeout_ms, and does not repeat such calls.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > calls.py <<'PYTHON'
import asyncio

import grpc
from connectrpc.client import ConnectClient
from connectrpc.compat import google_protobuf_binary_codec
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from google.protobuf.empty_pb2 import Empty
from pyqwest import Client, HTTPTransport, HTTPVersion

ASK = MethodInfo(
    name="Ask",
    service_name="try.Slow",
    input=Empty,
    output=Empty,
    idempotency_level=IdempotencyLevel.UNKNOWN,
    stream_type=StreamType.UNARY,
)


class Slow(grpc.GenericRpcHandler):
    """Answer nothing."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def ask(request: Empty, context: grpc.aio.ServicerContext) -> Empty:
            arrived.set()
            await asyncio.Event().wait()

        return grpc.unary_unary_rpc_method_handler(ask, Empty.FromString, Empty.SerializeToString)


arrived = asyncio.Event()


async def outcome(awaitable) -> str:
    try:
        await awaitable
        return "nothing"
    except* Exception as group:
        said = " and ".join(sorted((type(error).__name__ for error in group.exceptions), reverse=True))
    return said


async def within_a_timeout(call) -> None:
    async with asyncio.timeout(0.3):
        await call()


async def beside_one_that_fails(call) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(call())
        await arrived.wait()
        raise KeyError("the other task")


async def of_a_cancelled_task(call) -> str:
    task = asyncio.ensure_future(call())
    await arrived.wait()
    task.cancel()
    await asyncio.wait([task])
    return "cancelled" if task.cancelled() else f"failed with {type(task.exception()).__name__}"


async def main() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Slow(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with HTTPTransport(http_version=HTTPVersion.HTTP2) as transport, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        connect = ConnectClient(
            f"http://127.0.0.1:{port}",
            codec=google_protobuf_binary_codec(),
            protocol=ProtocolType.GRPC,
            http_client=Client(transport),
            send_compression=None,
        )
        bare = channel.unary_unary("/try.Slow/Ask", Empty.SerializeToString, Empty.FromString)

        async def by_connect() -> None:
            await connect.execute_unary(request=Empty(), method=ASK)

        async def by_grpc() -> None:
            await bare(Empty())

        for name, call in {"connectrpc": by_connect, "grpc.aio": by_grpc}.items():
            said = [f"timeout {await outcome(within_a_timeout(call))}", f"wait_for {await outcome(asyncio.wait_for(call(), 0.3))}"]
            arrived.clear()
            said.append(f"task {await of_a_cancelled_task(call)}")
            arrived.clear()
            said.append(f"group {await outcome(beside_one_that_fails(call))}")
            print(f"{name}: {', '.join(said)}")
    await server.stop(None)


asyncio.run(main())
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check connectrpc==0.13.0 protobuf-py==0.7.0 pyqwest==0.12.0 grpcio==1.85.3 protobuf==7.36.2 \
    > log 2>&1 || { cat log; exit 1; }
venv/bin/python calls.py 2> log | tee seen.log || { cat log; exit 1; }
diff <(sed -nE 's/^#     (connectrpc|grpc.aio): /\1: /p' "$script") seen.log || { echo "changed: not what was seen before"; cat log; exit 1; }
