"""Turn every outcome of a handler into a status that the client can use.

    FlujoError                    its row in the table of flujo.client.statuses
    any other exception           INTERNAL with an id; its text stays here, in the log
    a cancellation of the call    passes through; the client has gone
    any other cancellation        ABORTED: grpc.aio would send nothing at all, and the client would wait for ever

The guard also counts the running handlers, so that a server that closes can wait for them, and refuses new calls from
the moment the server begins to close.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, NoReturn

import anyio
import grpc
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_status import rpc_status

from flujo.client.statuses import to_status
from flujo.kernel.errors import FlujoError, KernelClosedError, ServerFailedError

logger = logging.getLogger("flujo.server")

OURS = "/flujo."

CANCELLATION_SECONDS = 1.0

Handler = Callable[[Any, Any], Awaitable[Any]]
StreamHandler = Callable[[Any, Any], AsyncGenerator[Any, None]]
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]]


class Guard(aio.ServerInterceptor):
    """Wraps the handlers of our services; health and reflection are left as they are."""

    def __init__(self) -> None:
        self.closing = anyio.Event()
        self._running = 0
        self._idle = anyio.Event()
        self._idle.set()

    async def wait_idle(self) -> None:
        """Return when no handler is running."""
        while self._running:
            await self._idle.wait()

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler: Any = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or not method.startswith(OURS):
            return handler  # type: ignore[no-any-return]
        coding = {
            "request_deserializer": _read_or_refuse(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._guarded_stream(handler.unary_stream, method), **coding)
        return grpc.unary_unary_rpc_method_handler(self._guarded(handler.unary_unary, method), **coding)

    def _guarded(self, inner: Handler, method: str) -> Handler:
        async def guarded(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
            async with self._watched(method, context):
                await self._admit(request, context)
                return await inner(request, context)

        return guarded

    def _guarded_stream(self, inner: StreamHandler, method: str) -> Callable[[Any, Any], AsyncIterator[Any]]:
        # An async generator, as other interceptors expect of a handler that answers with a stream (test_tracing.py). It
        # yields nothing and writes the answers itself: what gRPC raises for a client that has gone in the middle of a
        # message would otherwise be raised, and logged, outside of this guard (test_guard.py).
        async def guarded(request: Any, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async with self._watched(method, context):
                await self._admit(request, context)
                async with aclosing(inner(request, context)) as answers:
                    async for answer in answers:
                        await context.write(answer)
            return
            yield

        return guarded

    async def _admit(self, request: Any, context: aio.ServicerContext[Any, Any]) -> None:
        if isinstance(request, _Malformed):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the bytes of the request are malformed: {request}")
        if self.closing.is_set():
            raise KernelClosedError

    @asynccontextmanager
    async def _watched(self, method: str, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
        if not self._running:
            self._idle = anyio.Event()
        self._running += 1
        try:
            yield
        except BaseException as error:
            await _end(error, method, context)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()


async def _end(error: BaseException, method: str, context: aio.ServicerContext[Any, Any]) -> NoReturn:
    """End a call whose handler raised."""
    if isinstance(error, GeneratorExit):  # the stream is closed: its client has gone
        raise error
    error = _single(error)
    if isinstance(error, aio.InternalError) and not _is_cancelled():
        # Something was written to a client that has gone; the cancellation that says so is on its way.
        with anyio.move_on_after(CANCELLATION_SECONDS):
            await anyio.sleep_forever()
    if _is_cancelled():
        if not isinstance(error, (asyncio.CancelledError, FlujoError, aio.InternalError)):
            logger.error("%s failed, after its client had gone", method, exc_info=error)
        raise asyncio.CancelledError from None
    if isinstance(error, asyncio.CancelledError):
        logger.warning("%s was cancelled from inside", method)
        await context.abort(grpc.StatusCode.ABORTED, "what the call waited for was cancelled")
    if isinstance(error, FlujoError):
        await _abort(error, context)
    if isinstance(error, aio.AbortError) or not isinstance(error, Exception):
        raise error
    failed = ServerFailedError(secrets.token_hex(8))
    logger.error("%s failed (%s)", method, failed.id, exc_info=error)
    await _abort(failed, context)
    raise AssertionError("abort has returned")


async def _abort(error: FlujoError, context: aio.ServicerContext[Any, Any]) -> None:
    """End a call with the status of an error. By `abort`, which other interceptors see, and not abort_with_status."""
    status = rpc_status.to_status(to_status(error))
    await context.abort(status.code, status.details, status.trailing_metadata)


class _Malformed(Exception):
    """Stands for a request whose bytes cannot be read: the text says why."""


def _read_or_refuse(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read_or_refuse(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError as error:  # gRPC would answer UNKNOWN, and log a traceback
            return _Malformed(str(error))

    return read_or_refuse


def _is_cancelled() -> bool:
    """True if this call is over for gRPC: its client has gone, or the server has cut it off."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _single(error: BaseException) -> BaseException:
    """Return the error inside of groups that hold nothing else."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
