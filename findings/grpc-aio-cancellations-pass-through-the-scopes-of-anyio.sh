#!/usr/bin/env bash
# grpc.aio under anyio: a scope that ends a unary call lets the cancellation out; one that ends a stream does not.
#
# A server takes its time. A caller gives it a moment, by anyio's move_on_after, by fail_after, and by asyncio's own timeout, around
# `await stub(request)` and around `async for answer in stub(request)`.
# Guess:     the three are one in what they do to a call: move_on_after goes on behind its block, fail_after and asyncio.timeout
#            raise TimeoutError; what kind of call is awaited makes no difference.
# Behaviour: for a stream it is so. For a unary call CancelledError comes out of both of anyio's blocks, although nobody
#            has cancelled the task: grpc.aio takes the cancellation and raises one of its own, which lacks the mark by which
#            anyio knows what its scope has raised, so the scope takes it for somebody else's. What stands behind the block does not run, and
#            `except Exception` does not see it. asyncio.timeout counts cancellations instead of marking them, and raises
#            TimeoutError.
# Seen with: grpcio 1.62.3 and 1.85.3, anyio 4.16.0, Python 3.11.7:
#
#     1.62.3 unary: move_on_after CancelledError, fail_after CancelledError, asyncio.timeout TimeoutError
#     1.62.3 stream: move_on_after goes on, fail_after TimeoutError, asyncio.timeout TimeoutError
#     1.85.3 unary: move_on_after CancelledError, fail_after CancelledError, asyncio.timeout TimeoutError
#     1.85.3 stream: move_on_after goes on, fail_after TimeoutError, asyncio.timeout TimeoutError
#
# So: catch CancelledError around a unary call of grpc.aio and await anyio.lowlevel.checkpoint_if_cancelled() first: it raises the
# scope's own cancellation. flujo's client does that in its calls (server/flujo/client/calls.py).
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > calls.py <<'PYTHON'
import asyncio

import anyio
import grpc


class Slow(grpc.GenericRpcHandler):
    """Answer nothing to Ask, and one message to Follow."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def ask(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            await asyncio.Event().wait()

        async def follow(request: bytes, context: grpc.aio.ServicerContext):
            yield b""
            await asyncio.Event().wait()

        if details.method == "/try.Slow/Ask":
            return grpc.unary_unary_rpc_method_handler(ask)
        return grpc.unary_stream_rpc_method_handler(follow)


async def main() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Slow(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask, follow = channel.unary_unary("/try.Slow/Ask"), channel.unary_stream("/try.Slow/Follow")

        async def unary() -> None:
            await ask(b"")

        async def stream() -> None:
            async for _ in follow(b""):
                pass

        async def by(scope, call) -> str:
            """Return what comes of a call that a scope ends after a moment."""
            try:
                if scope is asyncio.timeout:
                    async with scope(0.3):
                        await call()
                else:
                    with scope(0.3):
                        await call()
                return "goes on"
            except BaseException as error:
                return type(error).__name__

        scopes = {"move_on_after": anyio.move_on_after, "fail_after": anyio.fail_after, "asyncio.timeout": asyncio.timeout}
        for call in unary, stream:
            print(f"{call.__name__}: {', '.join([f'{name} {await by(scope, call)}' for name, scope in scopes.items()])}")
    await server.stop(None)


asyncio.run(main())
PYTHON

for version in 1.62.3 1.85.3; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "grpcio==$version" anyio==4.16.0 > log 2>&1 || { cat log; exit 1; }
    "$version/bin/python" calls.py 2> log | sed "s/^/$version /" | tee -a seen.log || { cat log; exit 1; }
done
diff <(sed -n 's/^#     \([0-9]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; cat log; exit 1; }
