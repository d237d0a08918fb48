"""Errors of a server and of the way to it."""

from __future__ import annotations

from shlex import quote

from .base import FlujoError


class ServerUnreachableError(FlujoError, ConnectionError):
    """No flujo server answers at this address, or it has gone away in the middle of a call.

    The server may have done what was asked: repeat the call with the same `request_id`, or look first."""

    reason = "SERVER_UNREACHABLE"

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(
            f"the server at {address} cannot be reached: {problem}",
            [f"flujoctl serve --listen {quote(address)}", "or leave --server out to work on a store directly"],
        )
        self.address, self.problem = address, problem


class ServerFailedError(FlujoError, RuntimeError):
    """The server failed because of a bug of its own. `id` is what its log calls this failure."""

    reason = "INTERNAL"

    def __init__(self, id: str) -> None:
        super().__init__(f"the server failed because of a bug of its own; look for {id} in its log")
        self.id = id


class CallTimeoutError(FlujoError, TimeoutError):
    """A call to a server took longer than its caller allowed. The server may have done what was asked."""

    reason = "CALL_TIMED_OUT"

    def __init__(self, call: str, seconds: float) -> None:
        super().__init__(f"{call} took longer than {seconds:g} seconds")
        self.call, self.seconds = call, seconds


class CallFailedError(FlujoError):
    """A call to a server failed with a gRPC status that carries no error of flujo; `code` is its name."""

    reason = "CALL_FAILED"

    def __init__(self, call: str, code: str, problem: str) -> None:
        hints = ["upgrade the server: pip install --upgrade 'flujoctl[grpc]'"] if code == "UNIMPLEMENTED" else []
        super().__init__(f"{call} failed: {code}: {problem}", hints)
        self.call, self.code, self.problem = call, code, problem


class InvalidAddressError(FlujoError, ValueError):
    """A text does not say where a server listens."""

    reason = "INVALID_FIELD"

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"{address!r} is no address: {problem}", ["write unix:PATH, as in unix:.flujo/server.sock"])
        self.address, self.problem = address, problem


class AddressInUseError(FlujoError):
    """Another server listens at this address already."""

    reason = "ADDRESS_IN_USE"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"another server listens at {address}",
            [f"flujoctl list --server {quote(address)}", "choose another --listen"],
        )
        self.address = address
