#!/usr/bin/env bash
# gRPC in Python: without a deadline, time_remaining() of a server's context is None on asyncio and a vast number in threads.
#
# Guess:     None on both: the same sentence of the reference of grpc.ServicerContext and of grpc.aio.ServicerContext says so,
#            "or None if no deadline was specified".
# Behaviour: the asyncio server keeps to it. The threaded one subtracts the time of day from the core's idea of "never", and
#            returns some 9.2e18 seconds: a handler that asks `is None` never meets a call without a deadline, and one that
#            adds it to a datetime or hands it to a lock's timeout gets an OverflowError.
# Seen with: grpcio 1.85.3 and 1.62.3, Python 3.11.7:
#
#     1.62.3 threads: with a deadline 25 to 35, without one 9.2e+18
#     1.62.3 asyncio: with a deadline 25 to 35, without one None
#     1.85.3 threads: with a deadline 25 to 35, without one 9.2e+18
#     1.85.3 asyncio: with a deadline 25 to 35, without one None
#
# So: code that serves both takes anything above a year for no deadline.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > remaining.py <<'PYTHON'
import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc

told = []


def in_thread(request, context):
    told.append(context.time_remaining())
    return b""


async def on_loop(request, context):
    return in_thread(request, context)


class Service(grpc.GenericRpcHandler):
    def __init__(self, handler):
        self.handler = handler

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.handler)


def call(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for timeout in (30, None):
            channel.unary_unary("/shop.Shop/Pay")(b"", timeout=timeout)


def shown(server):
    with_one, without = told[-2:]
    without = without if without is None else f"{without:.1e}"
    print(f"{server}: with a deadline {'25 to 35' if 25 < with_one < 35 else with_one}, without one {without}")


async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Service(on_loop)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await asyncio.to_thread(call, port)
    await server.stop(None)


server = grpc.server(ThreadPoolExecutor(1))
server.add_generic_rpc_handlers([Service(in_thread)])
port = server.add_insecure_port("127.0.0.1:0")
server.start()
call(port)
server.stop(None).wait()
shown("threads")
asyncio.run(main())
shown("asyncio")
PYTHON

for version in 1.62.3 1.85.3; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "grpcio==$version"
    "venv-$version/bin/python" remaining.py 2>>log > output || { echo "changed: it fails"; cat log; exit 1; }
    while read -r line; do
        said="$version $line"
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
    done < output
done
