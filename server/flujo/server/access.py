"""Who may call what: the caller of each call, the role that each method needs, and what a listener must have.

    RULES            the role that each of our methods needs; a method without a rule is refused (test_access.py)
    Security         what keeps others out of a server that listens on TCP
    require_safe     refuse an address that others reach without it
    Access           tell who calls, and refuse who may not

A unix socket needs none of it: who can open the socket is its owner, or root.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from flujo.client.addresses import ServerAddress
from flujo.kernel.durations import format_instant
from flujo.kernel.errors import InvalidTokensError, PermissionDeniedError, UnauthenticatedError, UnsafeListenerError

from .tokens import Entry, Role, TokenFile

logger = logging.getLogger("flujo.server")

_RUNS = "/flujo.v1.RunService/"
_WORKFLOWS = "/flujo.v1.WorkflowService/"
_SYSTEM = "/flujo.v1.SystemService/"

RULES: Mapping[str, Role] = {
    **dict.fromkeys(
        (
            f"{_SYSTEM}GetSystemInfo",
            f"{_RUNS}GetRun",
            f"{_RUNS}ListRuns",
            f"{_RUNS}CountRuns",
            f"{_RUNS}GetStats",
            f"{_RUNS}ListSteps",
            f"{_RUNS}WaitRun",
            f"{_RUNS}WatchRun",
            f"{_RUNS}WatchRuns",
            f"{_RUNS}ListEvents",
            f"{_RUNS}ReadPayload",
            f"{_RUNS}ReadLogs",
            f"{_RUNS}ExplainRun",
            f"{_RUNS}ExportRun",
            f"{_WORKFLOWS}ListWorkflows",
            f"{_WORKFLOWS}GetWorkflow",
            f"{_WORKFLOWS}ListTasks",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ),
        Role.VIEWER,
    ),
    **dict.fromkeys(
        (
            f"{_RUNS}StartRun",
            f"{_RUNS}StartRuns",
            f"{_RUNS}ResumeRun",
            f"{_RUNS}SignalRun",
            f"{_RUNS}CancelRun",
            f"{_RUNS}PauseRun",
            f"{_RUNS}UnpauseRun",
            f"{_RUNS}SkipStep",
            f"{_RUNS}SetStepOutput",
            f"{_RUNS}SetVariable",
            f"{_RUNS}ForkRun",
            f"{_RUNS}CancelRuns",
            f"{_RUNS}PauseRuns",
            f"{_RUNS}UnpauseRuns",
            f"{_RUNS}ResumeRuns",
            f"{_RUNS}SignalRuns",
            f"{_WORKFLOWS}ValidateWorkflow",
            f"{_WORKFLOWS}DiffRun",
            f"{_SYSTEM}Check",
        ),
        Role.OPERATOR,
    ),
    **dict.fromkeys(
        (
            f"{_RUNS}DeleteRun",
            f"{_RUNS}PruneRuns",
            f"{_RUNS}ImportRun",
            f"{_WORKFLOWS}PutWorkflow",
            f"{_WORKFLOWS}DeleteWorkflow",
            f"{_SYSTEM}Backup",
        ),
        Role.ADMIN,
    ),
}

BRING_DEFINITIONS = (f"{_RUNS}ImportRun",)
"""Calls that may bring a definition without a field that says so: who may not send one may not call them."""

OPEN = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List")
"""What anybody may call who reaches the server: whether it serves, and nothing else."""

LONGEST_NAME = 200


class Security(NamedTuple):
    """What keeps others out of a server that listens on TCP: a file of tokens; the server's certificate and key, for
    TLS; the authority whose certificates clients must show, and the role of those that the file of tokens does not
    name. With `allow_definitions` operators may send definitions, which is to run any command."""

    tokens: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    client_role: Role = Role.VIEWER
    allow_definitions: bool = False

    @property
    def has_tls(self) -> bool:
        """True if connections are encrypted."""
        return self.certificate is not None

    @property
    def tells_callers_apart(self) -> bool:
        """True if the server finds out who calls."""
        return self.tokens is not None or self.client_ca is not None


NO_SECURITY = Security()


def require_safe(address: ServerAddress, security: Security) -> None:
    """Raise UnsafeListenerError for an address that others reach without being kept out."""
    where = f"flujoctl serve --listen {quote(address.text)}"
    if address.path is not None:
        if security != NO_SECURITY:
            hint = "flujoctl serve --listen tcp://127.0.0.1:7777"
            raise UnsafeListenerError(
                address.text, "tokens and TLS are for TCP; its owner alone opens a socket", [hint]
            )
        return
    if (security.certificate is None) != (security.key is None):
        raise UnsafeListenerError(
            address.text, "a certificate and its key go together", ["--tls-cert FILE --tls-key FILE"]
        )
    if security.client_ca is not None and not security.has_tls:
        hints = [f"{where} --tls-cert FILE --tls-key FILE --client-ca FILE"]
        raise UnsafeListenerError(address.text, "clients show a certificate over TLS only", hints)
    if not security.tells_callers_apart:
        tls = "" if address.is_local or security.has_tls else " --tls-cert FILE --tls-key FILE"
        raise UnsafeListenerError(
            address.text,
            "everybody who reaches it could run commands; it needs tokens, or certificates of clients",
            [
                "flujoctl token create NAME --role operator  # makes the file of tokens",
                f"{where} --tokens FILE{tls}",
                f"{where} --tls-cert FILE --tls-key FILE --client-ca FILE",
            ],
        )
    if not address.is_local and not security.has_tls:
        raise UnsafeListenerError(
            address.text,
            "without TLS everybody on the way reads the tokens",
            [f"{where} --tokens FILE --tls-cert FILE --tls-key FILE", "listen at tcp://127.0.0.1:7777 instead"],
        )


class Caller(NamedTuple):
    """Who calls. `principal` is None where callers are not told apart."""

    principal: str | None
    role: Role
    may_define: bool = True


OWNER = Caller(None, Role.ADMIN)
"""Who calls on a unix socket."""

_caller: ContextVar[Caller] = ContextVar("flujo_caller", default=OWNER)


def current_caller() -> Caller:
    """Return who makes the call that is being answered."""
    return _caller.get()


def answer_for(caller: Caller) -> None:
    """Let `current_caller` return this caller for the rest of the task."""
    _caller.set(caller)


class Denials:
    """Logs refused calls, but no more than some in a minute, so that nobody fills the disk by being refused.

    `now` returns seconds of a clock that only goes forward."""

    def __init__(self, now: Callable[[], float], limit: int = 20, seconds: float = 60.0) -> None:
        self._now = now
        self._limit = limit
        self._seconds = seconds
        self._since = now()
        self._count = 0

    def log(self, method: str, peer: str, error: Exception) -> None:
        """Log a refusal, or only count it."""
        if self._now() - self._since >= self._seconds:
            if (unsaid := self._count - self._limit) > 0:
                logger.warning("%d further calls were denied", unsaid)
            self._since, self._count = self._now(), 0
        self._count += 1
        if self._count <= self._limit:
            logger.warning("denied: %s from %s: %s", method, peer, error, extra={"method": method, "peer": peer})


class Access:
    """Tells who calls, by `security`; None is a unix socket, where everybody is the owner."""

    def __init__(self, security: Security | None, denials: Denials, now: Callable[[], int]) -> None:
        """`now` returns the instant in microseconds UTC, by which tokens expire. Raises InvalidTokensError."""
        self._now = now
        self._security = security
        self._denials = denials
        tokens = None if security is None else security.tokens
        self._tokens = None if tokens is None else TokenFile(tokens)

    def admit(self, method: str, context: Any) -> Caller:
        """Return who calls a method, if that may; raises UnauthenticatedError, PermissionDeniedError."""
        try:
            caller = self._identify(context)
            needed = RULES.get(method)
            if needed is None or not caller.role.may(needed):
                name = caller.principal or "the owner"
                raise PermissionDeniedError(name, caller.role, method.rpartition("/")[2], needed or "that nobody has")
        except (UnauthenticatedError, PermissionDeniedError) as error:
            self._denials.log(method, context.peer(), error)
            raise
        return caller

    def _identify(self, context: Any) -> Caller:
        if self._security is None:
            return OWNER
        try:
            return self._known(self._security, _bearer(context.invocation_metadata() or ()), context.auth_context())
        except InvalidTokensError as error:  # the file was broken while the server runs: nobody is let in by it
            logger.error("nobody is let in: %s", error)
            raise UnauthenticatedError("the server cannot read its tokens") from error

    def _known(self, security: Security, token: str | None, peer: Mapping[str, Sequence[bytes]]) -> Caller:
        may_define = security.allow_definitions
        if token is not None:
            entry = None if self._tokens is None else self._tokens.by_token(token)
            if entry is None:
                raise UnauthenticatedError("it knows no such token")
            self._require_valid(entry, "token")
            return Caller(entry.name, entry.role, may_define)
        names = _names(peer) if security.client_ca is not None else []
        if not names:
            raise UnauthenticatedError("the call has no token")
        entry = None if self._tokens is None else self._tokens.by_names(names)
        if entry is None:
            return Caller(names[0], security.client_role, may_define)
        self._require_valid(entry, "entry of the certificate")
        return Caller(entry.name, entry.role, may_define)

    def _require_valid(self, entry: Entry, what: str) -> None:
        if not entry.is_valid(self._now()):
            raise UnauthenticatedError(f"the {what} {entry.name!r} has expired, at {format_instant(entry.expires_at)}")


def _bearer(metadata: Sequence[tuple[str, str | bytes]]) -> str | None:
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            if scheme.lower() != "bearer" or not token:
                raise UnauthenticatedError("`authorization` is not `Bearer TOKEN`")
            return token.strip()
    return None


def _names(peer: Mapping[str, Sequence[bytes]]) -> list[str]:
    """Return the names in the certificate of a client, without characters that would confuse a reader of the log."""
    found = [*peer.get("x509_subject_alternative_name", ()), *peer.get("x509_common_name", ())]
    names = ("".join(each for each in name.decode(errors="replace") if each.isprintable()) for name in found)
    return [name[:LONGEST_NAME] for name in names if name]
