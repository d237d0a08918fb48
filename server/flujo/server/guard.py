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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import anyio
import grpc
from grpc import aio
from grpc_status import rpc_status

from flujo.client.statuses import to_status
from flujo.kernel.errors import FlujoError, KernelClosedError, ServerFailedError

logger = logging.getLogger("flujo.server")

OURS = "/flujo."

CANCELLATION_SECONDS = 1.0

Handler = Callable[[Any, Any], Awaitable[Any]]
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
        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        inner: Handler = handler.unary_stream if handler.response_streaming else handler.unary_unary
        return make(
            self._guarded(inner, method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _guarded(self, inner: Handler, method: str) -> Handler:
        async def guarded(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
            async with self._watched(method, context):
                if self.closing.is_set():
                    raise KernelClosedError
                return await inner(request, context)

        return guarded

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
        await context.abort_with_status(rpc_status.to_status(to_status(error)))
    if isinstance(error, aio.AbortError) or not isinstance(error, Exception):
        raise error
    failed = ServerFailedError(secrets.token_hex(8))
    logger.error("%s failed (%s)", method, failed.id, exc_info=error)
    await context.abort_with_status(rpc_status.to_status(to_status(failed)))
    raise AssertionError("abort has returned")


def _is_cancelled() -> bool:
    """True if this call is over for gRPC: its client has gone, or the server has cut it off."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _single(error: BaseException) -> BaseException:
    """Return the error inside of groups that hold nothing else."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
