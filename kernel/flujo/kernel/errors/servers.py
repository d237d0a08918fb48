"""Errors of a server and of the way to it."""

from __future__ import annotations

from collections.abc import Iterable
from shlex import quote

from .base import FlujoError
from .stores import without_passwords


class ServerUnreachableError(FlujoError, ConnectionError):
    """No flujo server answers at this address, or it has gone away in the middle of a call.

    The server may have done what was asked: repeat the call with the same `request_id`, or look first.

    Start one with `flujoctl serve --listen ADDRESS`, or leave --server out to work on a store itself.
    """

    reason = "SERVER_UNREACHABLE"

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(
            f"the server at {address} cannot be reached: {problem}",
            [f"flujoctl serve --listen {quote(address)}", "or leave --server out to work on a store directly"],
        )
        self.address, self.problem = address, problem


class ServerFailedError(FlujoError, RuntimeError):
    """The server failed because of a bug of its own. `id` is what its log calls this failure.

    Look for the name of the failure in the log of the server, and report what stands there.
    """

    reason = "INTERNAL"
    reason_code = "server-failed"

    def __init__(self, id: str) -> None:
        super().__init__(f"the server failed because of a bug of its own; look for {id} in its log")
        self.id = id


class CallTimeoutError(FlujoError, TimeoutError):
    """A call to a server took longer than its caller allowed. The server may have done what was asked.

    Look with `flujoctl list` whether it was done, then ask again.
    """

    reason = "CALL_TIMED_OUT"

    def __init__(self, call: str, seconds: float) -> None:
        super().__init__(f"{call} took longer than {seconds:g} seconds")
        self.call, self.seconds = call, seconds


class CallFailedError(FlujoError):
    """A call to a server failed with a gRPC status that carries no error of flujo; `code` is its name.

    If the code is UNIMPLEMENTED, the server is older than the client: upgrade it. Otherwise something between the
    two, such as a proxy, answers.
    """

    reason = "CALL_FAILED"

    def __init__(self, call: str, code: str, problem: str) -> None:
        hints = ["upgrade the server: pip install --upgrade 'flujoctl[grpc]'"] if code == "UNIMPLEMENTED" else []
        super().__init__(f"{call} failed: {code}: {problem}", hints)
        self.call, self.code, self.problem = call, code, problem


class ServerStoppingError(FlujoError, ConnectionError):
    """The server is shutting down. What it was asked has not happened; ask again once another one listens.

    Ask again once another server listens at this address.
    """

    reason = "SERVER_STOPPING"

    def __init__(self) -> None:
        super().__init__("the server is stopping; ask again once another one listens")


class ServerBusyError(FlujoError):
    """The server is at work on as many calls as it takes; `limit` names what is used up, `size` is how many that is.

    Ask again later, or start the server with higher limits.
    """

    reason = "TOO_MANY_CALLS"
    reason_code = "server-busy"

    def __init__(self, limit: str, size: int) -> None:
        super().__init__(f"the server is busy: {limit} allows {size} calls at a time; try again later")
        self.limit, self.size = limit, size


class UnauthenticatedError(FlujoError, PermissionError):
    """The server does not know who calls.

    Pass `--token-file FILE`, or set FLUJO_TOKEN; `flujoctl token create NAME --role operator` makes a token, where
    the server runs.
    """

    reason = "UNAUTHENTICATED"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the server does not know who you are: {problem}",
            [
                "pass --token-file FILE, or set FLUJO_TOKEN",
                "flujoctl token create NAME --role operator  # makes one, where the server runs",
            ],
        )
        self.problem = problem


class PermissionDeniedError(FlujoError, PermissionError):
    """The server knows who calls, and the role of the caller does not allow the call.

    Ask who runs the server for a token with the role that the message names.
    """

    reason = "PERMISSION_DENIED"

    def __init__(self, principal: str, role: str, call: str, needed: str) -> None:
        super().__init__(
            f"{call} needs the role {needed}, and {principal!r} has the role {role}",
            [f"flujoctl token create NAME --role {needed}  # makes a token for it, where the server runs"],
        )
        self.principal, self.role, self.call, self.needed = principal, role, call, needed


class DefinitionsNotAllowedError(FlujoError, PermissionError):
    """The server runs only the workflows it was started with, and no definition that comes with a call.

    Name a workflow that the server was started with, or start it with --allow-definitions if all who reach it may
    run any command there.
    """

    reason = "DEFINITIONS_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__(
            "the server takes no definitions over the network: who may send one may run any command there",
            ["name a workflow that it was started with", "flujoctl serve … --allow-definitions  # takes them"],
        )


class UnsafeListenerError(FlujoError, ValueError):
    """A server was told to listen where others reach it, without what keeps them out.

    Listen on a unix socket, or give the server tokens and a certificate.
    """

    reason = "UNSAFE_LISTENER"

    def __init__(self, address: str, problem: str, hints: Iterable[str]) -> None:
        super().__init__(f"refusing to listen at {address}: {problem}", hints)
        self.address, self.problem = address, problem


class InvalidTokensError(FlujoError, ValueError):
    """A file of tokens, of a token or of a certificate cannot be used.

    The message names the file and what is wrong with it; a file of tokens must be readable by its owner alone.
    """

    reason = "INVALID_TOKENS"

    def __init__(self, path: str, problem: str, hints: Iterable[str] = ()) -> None:
        super().__init__(f"{path}: {problem}", hints)
        self.path, self.problem = path, problem


class InvalidAddressError(FlujoError, ValueError):
    """A text does not say where a server listens.

    Write unix:PATH, as in unix:.flujo/server.sock, or tcp://HOST:PORT.
    """

    reason = "INVALID_FIELD"
    reason_code = "invalid-address"

    def __init__(self, address: str, problem: str) -> None:
        address = without_passwords(address)
        super().__init__(
            f"{address!r} is no address: {problem}",
            ["write unix:PATH, as in unix:.flujo/server.sock", "or tcp://HOST:PORT, as in tcp://127.0.0.1:7777"],
        )
        self.address, self.problem = address, problem


class AddressInUseError(FlujoError):
    """Another server listens at this address already.

    Use the server that is there, or choose another --listen.
    """

    reason = "ADDRESS_IN_USE"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"another server listens at {address}",
            [f"flujoctl list --server {quote(address)}", "choose another --listen"],
        )
        self.address = address
