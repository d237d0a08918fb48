"""Call a server over one connection. Both ends of grpc.aio need a wrapper; this is the client's.

A unary call that is awaited inside an anyio cancel scope loses the scope's mark when it is cancelled, so that the
cancellation would travel on through the scope that caused it. A stream that is left early continues until the
channel is closed. Neither happens through `Calls`, and every failure is raised as an error of `flujo.kernel.errors`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import grpc
from anyio.lowlevel import checkpoint_if_cancelled
from grpc import aio
from grpc_status import rpc_status

from flujo.kernel.errors import (
    CallFailedError,
    CallTimeoutError,
    FlujoError,
    KernelClosedError,
    ServerUnreachableError,
)
from flujo.kernel.loops import require_asyncio

from .addresses import ServerAddress
from .credentials import NO_CREDENTIALS, Credentials, read_file
from .statuses import from_status

Request = TypeVar("Request")
Response = TypeVar("Response")

OPTIONS = (
    # A server that has come back is noticed soon, and one that is gone costs nearly nothing on a local socket.
    # The minimum is also how long a connection may take to be made (test_a_server_that_is_slow_to_connect_is_reached).
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A connection of its own for each client, and not one for all of the process.
    ("grpc.use_local_subchannel_pool", 1),
    # A path that has gone dead is noticed, whether a call waits for an answer or not. Servers allow a ping each 10 s.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


UNBOUNDED_SECONDS = 1e9
"""From here on, some thirty years, a call has no bound."""


class SilentError(ServerUnreachableError):
    """Nothing has come over the connection of a watch for too long."""


class ConnectionCutError(ServerUnreachableError):
    """The connection ended after a request was sent: the server may have done what was asked, or not."""


_NOT_SENT = ("failed to connect", "no such file", "connection refused")
"""What gRPC says when there was no connection to send a request over."""

SILENT = "nothing has come from it for too long"
"""What is wrong with a connection that was given up."""

ENDING_SECONDS = 1.0
"""How long to wait for the end of a cancelled stream; it comes from gRPC in this process, at once."""


class Calls:
    """A connection to the server at `address`. Made inside a running event loop, which has to be asyncio's."""

    def __init__(self, address: ServerAddress, credentials: Credentials = NO_CREDENTIALS) -> None:
        """Raises InvalidAddressError, InvalidTokensError."""
        require_asyncio("the gRPC client")
        credentials.check(address)
        self.address = address
        self.channel = _channel(address, credentials)
        token = credentials.token
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        self._closed = False
        self._lost = False

    async def close(self, *, lost: bool = False) -> None:
        """End the connection; calls under way raise KernelClosedError, or ServerUnreachableError if it was lost."""
        self._closed, self._lost = True, lost
        await self.channel.close(None)

    async def unary(
        self,
        method: aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        seconds: float,
        wait_for_ready: bool = False,
    ) -> Response:
        """Return the answer to a request, within `seconds`, of which `inf` is no bound.

        With `wait_for_ready` the call waits for a server that does not answer yet; otherwise it fails at once.
        """
        call = method(request, timeout=_timeout(seconds), wait_for_ready=wait_for_ready, metadata=self._metadata)
        try:
            return await call
        except asyncio.CancelledError:
            call.cancel()
            await checkpoint_if_cancelled()  # raises the cancellation of the scope that caused it, mark and all
            self._require_open()
            raise
        except aio.AioRpcError as error:
            raise self._error(error, _name(request), seconds) from error

    async def sending(self, method: Any, requests: AsyncIterator[Any], *, seconds: float) -> Any:
        """Return the answer to a stream of requests, within `seconds`."""
        call = method(requests, timeout=_timeout(seconds), metadata=self._metadata)
        try:
            return await call
        except asyncio.CancelledError:
            call.cancel()
            await checkpoint_if_cancelled()
            self._require_open()
            raise
        except aio.AioRpcError as error:
            raise self._error(error, "ImportRun", seconds) from error

    @asynccontextmanager
    async def stream(
        self, method: aio.UnaryStreamMultiCallable[Request, Response], request: Request
    ) -> AsyncIterator[AsyncIterator[Response]]:
        """Yield the answers to a request as they come. Leaving the block ends the call, on the server as well."""
        async with self._begun(method, request) as call:
            yield call.__aiter__()

    @asynccontextmanager
    async def watch(self, method: Any, request: Any, seconds: float) -> AsyncIterator[Listener]:
        """Yield what waits for each message of a watch, for at most `seconds`. Leaving the block ends the call."""
        async with self._begun(method, request) as call:
            listener = Listener(call, self.address, seconds)
            try:
                yield listener
            finally:
                listener.leave()

    @asynccontextmanager
    async def _begun(self, method: Any, request: Any) -> AsyncIterator[Any]:
        call = method(request, metadata=self._metadata)
        try:
            yield call
        except asyncio.CancelledError:
            self._require_open()
            raise
        except aio.AioRpcError as error:
            raise self._error(error, _name(request), 0) from error
        finally:
            call.cancel()
            with anyio.move_on_after(ENDING_SECONDS, shield=True):
                await (
                    call.code()
                )  # the call has ended only now; an event loop that ends before would leave it half open

    def _require_open(self) -> None:
        """Raise what says so if a call was cancelled because the connection was closed, and not its caller."""
        task = asyncio.current_task()
        if self._closed and task is not None and not task.cancelling():
            if self._lost:
                raise ServerUnreachableError(self.address.text, SILENT) from None
            raise KernelClosedError from None

    def _error(self, error: aio.AioRpcError, call: str, seconds: float) -> FlujoError:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has what a call has
        found = None if status is None else from_status(status)
        if found is not None:
            return found
        problem = error.details() or error.code().name
        match error.code():
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
                # gRPC wraps the one thing that matters: `… last error: …: connect failed: … error: No such file or …`
                kind = ServerUnreachableError if _was_not_sent(problem) else ConnectionCutError
                return kind(self.address.text, problem.rpartition("error: ")[2])
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return CallTimeoutError(call, seconds)
            case code:
                return CallFailedError(call, code.name, problem)


class Listener:
    """Waits for the messages of a call, for each at most `seconds`. One timer serves them all: a cancel scope for each
    would take longer than it takes to read the message."""

    def __init__(self, call: Any, address: ServerAddress, seconds: float) -> None:
        self._seconds = seconds
        self._call = call
        self._messages = call.__aiter__()
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._waits_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._was_silent = False

    async def next(self) -> Any:
        """Return the next message, None at the end; raises SilentError when none comes in time."""
        self._waits_since = self._loop.time()
        if self._timer is None:
            self._look_again(self._seconds)
        try:
            return await anext(self._messages, None)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._was_silent and task is not None and not task.cancelling():
                raise SilentError(self._address.text, SILENT) from None
            raise
        finally:
            self._waits_since = None

    def expect(self, seconds: float) -> None:
        """Wait at most so long from now on."""
        self._seconds = seconds
        self.leave()  # a timer may be set for much later

    def leave(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Cancel the call if nobody has heard of it for too long; whoever is busy with a message does not listen."""
        self._timer = None
        if self._waits_since is None:
            return
        left = self._waits_since + self._seconds - self._loop.time()
        if left > 0:
            self._look_again(left)
        else:
            self._was_silent = True
            self._call.cancel()


def _was_not_sent(problem: str) -> bool:
    return any(sign in problem.lower() for sign in _NOT_SENT)


def _channel(address: ServerAddress, credentials: Credentials) -> aio.Channel:
    if credentials.ca is None:
        return aio.insecure_channel(address.target, options=OPTIONS)
    authority = read_file(credentials.ca)
    certificate = None if credentials.certificate is None else read_file(credentials.certificate)
    key = None if credentials.key is None else read_file(credentials.key)
    made = grpc.ssl_channel_credentials(authority, private_key=key, certificate_chain=certificate)
    return aio.secure_channel(address.target, made, options=OPTIONS)


def _timeout(seconds: float) -> float | None:
    """Return the timeout that gRPC is given: it takes infinity, and what is beyond the end of its time, for a deadline
    that has passed."""
    return seconds if seconds < UNBOUNDED_SECONDS else None


def _name(request: Any) -> str:
    return type(request).__name__.removesuffix("Request")
