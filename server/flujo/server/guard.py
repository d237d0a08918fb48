"""Admit every call, and turn every outcome of a handler into a status that the client can use.

    who calls, and whether that may       access.py
    whether there is a slot for it        slots.py
    what is wrong with the request        flujo.client.wire.limits

    FlujoError                    its row in the table of flujo.client.statuses, in words for clients (wording.py)
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
from contextlib import AbstractContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, NoReturn

import anyio
import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_status import rpc_status

from flujo.client.statuses import to_status
from flujo.client.wire.limits import violations
from flujo.kernel.errors import (
    DefinitionsNotAllowedError,
    FlujoError,
    InvalidNameError,
    ServerFailedError,
    ServerStoppingError,
)
from flujo.kernel.principals import acting_as

from .access import BRING_DEFINITIONS, OPEN, RULES, Access, Caller, answer_for
from .closing import Closing
from .observing import NOBODY, Observers
from .slots import Slots
from .tokens import Role
from .wording import for_clients

logger = logging.getLogger("flujo.server")

OURS = "/flujo."

CANCELLATION_SECONDS = 1.0

Handler = Callable[[Any, Any], Awaitable[Any]]
RequestsHandler = Callable[[AsyncIterator[Any], Any], Awaitable[Any]]
StreamHandler = Callable[[Any, Any], AsyncGenerator[Any, None]]
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]]


class _Method(NamedTuple):
    """One of our methods: its path, how its requests are read, and their type."""

    path: str
    read: Callable[[bytes], Any]
    request: Descriptor

    @property
    def acts(self) -> bool:
        """True if the method changes something."""
        return RULES.get(self.path) is not Role.VIEWER


class Guard(aio.ServerInterceptor):
    """Wraps the handlers of our services. Of others, health is left as it is, and the rest needs a caller who may."""

    def __init__(self, access: Access, slots: Slots, observers: Observers = NOBODY) -> None:
        self.closing = Closing()
        self._observers = observers
        self._access = access
        self._slots = slots
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
        path: str = handler_call_details.method
        if handler is None or path in OPEN:
            return handler  # type: ignore[no-any-return]
        if not path.startswith(OURS):
            return self._only_admitted(handler, path)  # type: ignore[no-any-return]
        method = _Method(path, handler.request_deserializer, request_of(path))
        # Requests are read in here, when it is known who calls, and what cannot be read is answered with a status.
        write = handler.response_serializer
        if handler.response_streaming:
            guarded = self._guarded_stream(handler.unary_stream, method)
            return grpc.unary_stream_rpc_method_handler(guarded, response_serializer=partial(_serialized, write))
        if handler.request_streaming:
            taken = self._guarded_requests(handler.stream_unary, method)
            return grpc.stream_unary_rpc_method_handler(taken, response_serializer=write)
        return grpc.unary_unary_rpc_method_handler(
            self._guarded(handler.unary_unary, method), response_serializer=write
        )

    def _guarded(self, inner: Handler, method: _Method) -> Handler:
        async def guarded(data: bytes, context: aio.ServicerContext[Any, Any]) -> Any:
            async with self._watched(method, context):
                with self._observed(method, context), self._slots.taken(method.path):
                    caller, request = self._admit(data, method, context)
                    with self._slots.of_caller(caller.principal), acting_as(caller.principal):
                        answer = await inner(request, context)
                _log(method, request, caller)
                return answer

        return guarded

    def _guarded_requests(self, inner: RequestsHandler, method: _Method) -> Callable[[Any, Any], Awaitable[Any]]:
        async def guarded(pieces: AsyncIterator[bytes], context: aio.ServicerContext[Any, Any]) -> Any:
            async with self._watched(method, context):
                with self._observed(method, context), self._slots.taken(method.path):
                    caller = self._caller(method, context)
                    with self._slots.of_caller(caller.principal), acting_as(caller.principal):
                        answer = await inner(self._requests(pieces, method), context)
                _log(method, None, caller)
                return answer

        return guarded

    async def _requests(self, pieces: AsyncIterator[bytes], method: _Method) -> AsyncIterator[Any]:
        async for data in pieces:
            if self.closing.is_set():
                raise ServerStoppingError
            yield _read(data, method)

    def _guarded_stream(self, inner: StreamHandler, method: _Method) -> Callable[[Any, Any], AsyncIterator[Any]]:
        # An async generator, as other interceptors expect of a handler that answers with a stream (test_tracing.py). It
        # yields nothing and writes the answers itself: what gRPC raises for a client that has gone in the middle of a
        # message would otherwise be raised, and logged, outside of this guard (test_guard.py).
        async def guarded(data: bytes, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async with self._watched(method, context):
                with self._observed(method, context), self._slots.taken(method.path):
                    caller, request = self._admit(data, method, context)
                    with self._slots.of_caller(caller.principal):
                        async with aclosing(inner(request, context)) as answers:
                            async for answer in answers:
                                self._access.admit(method.path, context)  # who is let in no longer gets nothing more
                                await context.write(answer)
            return
            yield

        return guarded

    def _observed(self, method: _Method, context: aio.ServicerContext[Any, Any]) -> AbstractContextManager[None]:
        return self._observers.call(method.path, tuple(context.invocation_metadata() or ()))

    def _only_admitted(self, handler: Any, path: str) -> Any:
        """Return the handler of another service, such as reflection, for callers who may call it."""
        if not handler.request_streaming or not handler.response_streaming:
            return None
        inner = handler.stream_stream

        async def admitted(requests: Any, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            try:
                self._access.admit(path, context)
            except FlujoError as error:
                await _abort(error, context)
            async for answer in inner(requests, context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(
            admitted,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _admit(self, data: bytes, method: _Method, context: aio.ServicerContext[Any, Any]) -> tuple[Caller, Any]:
        """Return who calls, and the request; raise what is against the call."""
        caller = self._caller(method, context)
        request = _read(data, method)
        if not caller.may_define and _brings_a_definition(request):
            raise DefinitionsNotAllowedError
        return caller, request

    def _caller(self, method: _Method, context: aio.ServicerContext[Any, Any]) -> Caller:
        """Return who calls; raise what is against the call whatever it asks."""
        if self.closing.is_set():
            raise ServerStoppingError
        caller = self._access.admit(method.path, context)
        answer_for(caller)
        if method.path in BRING_DEFINITIONS and not caller.may_define:
            raise DefinitionsNotAllowedError
        return caller

    @asynccontextmanager
    async def _watched(self, method: _Method, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
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


def _serialized(write: Callable[[Any], bytes], answer: Any) -> bytes:
    """Return the bytes of an answer of a stream, which may be bytes already (encoding.py)."""
    return answer if isinstance(answer, bytes) else write(answer)


def _read(data: bytes, method: _Method) -> Any:
    """Return a request; raise what is wrong with it."""
    try:
        request = method.read(data)
    except DecodeError as error:  # gRPC would answer UNKNOWN, and log a traceback
        raise InvalidNameError("request", f"{len(data)} bytes", f"they are malformed: {error}") from None
    for path, value, rule in violations(request):
        raise InvalidNameError(path, value, rule)
    return request


def _brings_a_definition(request: Any) -> bool:
    """True if a request holds a definition to run, itself or in one of its starts."""
    fields = request.DESCRIPTOR.fields_by_name
    if "starts" in fields:
        return any(map(_brings_a_definition, request.starts))
    return "definition" in fields and request.HasField("definition")


def request_of(path: str) -> Descriptor:
    """Return the type of the requests of one of our methods, from the contract."""
    service, _, name = path.removeprefix("/").rpartition("/")
    found = _POOL.FindServiceByName(service).methods_by_name[name].input_type
    assert isinstance(found, Descriptor)
    return found


def _log(method: _Method, request: Any, caller: Caller) -> None:
    """Log a call that has changed something: who asked for what."""
    if not method.acts:
        return
    told = {name: text for name in _LOGGED if (text := getattr(request, name, ""))}
    if starts := getattr(request, "starts", ()):
        told["starts"] = str(len(starts))
    who = caller.principal or "the owner"
    about = " ".join(f"{name}={text}" for name, text in told.items())
    level = logging.WARNING if method.path in _FORGETTING and not getattr(request, "dry_run", False) else logging.INFO
    extra = {**told, "method": method.path, "principal": who}
    logger.log(level, "%s by %s: %s", method.path.rpartition("/")[2], who, about or "no ids", extra=extra)


_POOL = descriptor_pool.Default()

_LOGGED = ("run_id", "new_run_id", "step", "request_id")

_FORGETTING = ("/flujo.v1.RunService/DeleteRun", "/flujo.v1.RunService/PruneRuns")
"""What takes its own record along: the log is the only place that says who has done it."""


async def _end(error: BaseException, method: _Method, context: aio.ServicerContext[Any, Any]) -> NoReturn:
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
            logger.error("%s failed, after its client had gone", method.path, exc_info=error)
        raise asyncio.CancelledError from None
    if isinstance(error, asyncio.CancelledError):
        logger.warning("%s was cancelled from inside", method.path)
        await context.abort(grpc.StatusCode.ABORTED, "what the call waited for was cancelled")
    if isinstance(error, FlujoError):
        await _abort(error, context, method.request)
    if isinstance(error, aio.AbortError) or not isinstance(error, Exception):
        raise error
    failed = ServerFailedError(secrets.token_hex(8))
    logger.error("%s failed (%s)", method.path, failed.id, exc_info=error)
    await _abort(failed, context)
    raise AssertionError("abort has returned")


async def _abort(error: FlujoError, context: aio.ServicerContext[Any, Any], request: Descriptor | None = None) -> None:
    """End a call with the status of an error. By `abort`, which other interceptors see, and not abort_with_status."""
    status = rpc_status.to_status(to_status(for_clients(error), request))
    await context.abort(status.code, status.details, status.trailing_metadata)


def _is_cancelled() -> bool:
    """True if this call is over for gRPC: its client has gone, or the server has cut it off."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _single(error: BaseException) -> BaseException:
    """Return the error inside of groups that hold nothing else."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
