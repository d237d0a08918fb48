"""Who may call what over TCP: what a listener needs, who calls, which role each method needs, and what is logged."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from flujo.client import Client, Credentials
from flujo.client.addresses import ServerAddress
from flujo.kernel import Kernel
from flujo.kernel.errors import (
    AddressInUseError,
    DefinitionsNotAllowedError,
    FlujoError,
    InvalidAddressError,
    InvalidTokensError,
    PermissionDeniedError,
    ServerBusyError,
    ServerUnreachableError,
    UnauthenticatedError,
    UnsafeListenerError,
)
from flujo.kernel.events import RunCreated
from flujo.server import Security, serve
from flujo.server.access import OPEN, RULES, Denials, require_safe
from flujo.server.listening import SERVICES
from flujo.server.slots import CallLimits
from flujo.server.tokens import Role, add_certificate, add_token, revoke
from flujo.v1 import run_service_pb2 as pb
from flujo.v1 import run_service_pb2_grpc
from kernel.harness import Harness, ManualClock
from server.certificates import make_certificates
from server.flows import WORKS, doubling, letters, waiting
from server.harness import raised_by

TOKENS, CERTIFICATE, KEY, AUTHORITY = Path("t"), Path("c"), Path("k"), Path("a")
TLS: dict[str, Any] = {"certificate": CERTIFICATE, "key": KEY}
LOCAL = ["tcp://127.0.0.1:1", "127.7.7.7:1", "localhost:1", "tcp://[::1]:1"]
REMOTE = ["tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://10.1.2.3:1", "runs.example.org:1"]
SAFE_HERE = [
    Security(tokens=TOKENS),
    Security(tokens=TOKENS, **TLS),
    Security(client_ca=AUTHORITY, **TLS),
    Security(tokens=TOKENS, client_ca=AUTHORITY, **TLS),
]
UNSAFE = [
    Security(),
    Security(allow_definitions=True),
    Security(**TLS),
    Security(tokens=TOKENS, certificate=CERTIFICATE),
    Security(tokens=TOKENS, key=KEY),
    Security(client_ca=AUTHORITY),
    Security(tokens=TOKENS, client_ca=AUTHORITY),
]


@pytest.mark.parametrize("text", LOCAL)
@pytest.mark.parametrize("security", SAFE_HERE)
def test_a_port_of_this_machine_needs_to_know_who_calls(text: str, security: Security) -> None:
    """By tokens or by certificates, with TLS or without."""
    require_safe(ServerAddress.parse(text), security)


@pytest.mark.parametrize("text", REMOTE)
@pytest.mark.parametrize("security", SAFE_HERE[1:])
def test_a_port_that_others_reach_needs_tls_besides(text: str, security: Security) -> None:
    """Tokens alone would be read on the way."""
    require_safe(ServerAddress.parse(text), security)
    with pytest.raises(UnsafeListenerError, match="without TLS") as refused:
        require_safe(ServerAddress.parse(text), SAFE_HERE[0])
    assert "--tls-cert" in refused.value.hints[0]


@pytest.mark.parametrize("text", [*LOCAL, *REMOTE])
@pytest.mark.parametrize("security", UNSAFE)
def test_anything_less_is_refused_with_what_to_pass(text: str, security: Security) -> None:
    """Nobody opens a server to others by leaving something out."""
    with pytest.raises(UnsafeListenerError) as refused:
        require_safe(ServerAddress.parse(text), security)
    assert any("--" in hint for hint in refused.value.hints)


def test_a_socket_needs_nothing_and_takes_nothing() -> None:
    """What would have no effect is not taken in silence."""
    require_safe(ServerAddress.parse("unix:s"), Security())
    with pytest.raises(UnsafeListenerError, match="for TCP"):
        require_safe(ServerAddress.parse("unix:s"), Security(tokens=TOKENS))


# -- rules ---------------------------------------------------------------------------------------------------------


def methods() -> Iterator[str]:
    """The path of every method of our services, from the contract."""
    from google.protobuf import descriptor_pool

    for name in SERVICES:
        for method in descriptor_pool.Default().FindServiceByName(name).methods:
            yield f"/{name}/{method.name}"


@pytest.mark.parametrize("method", list(methods()))
def test_every_method_has_a_rule(method: str) -> None:
    """One that is added to the contract is refused until somebody decides who may call it."""
    assert method in RULES
    assert method not in OPEN


def test_no_rule_is_left_over() -> None:
    """Whatever it names exists."""
    assert {method for method in RULES if method.startswith("/flujo.")} == set(methods())


# -- a server ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def on_tcp(kernel: Kernel, options: Any = None, **security: Any) -> AsyncIterator[str]:
    """A server of a kernel at a port of this machine; yields its address."""
    options = options or {}
    async with kernel, anyio.create_task_group() as group:
        yield await group.start(
            lambda **task: serve(kernel, "tcp://127.0.0.1:0", security=Security(**security), **options, **task)
        )
        group.cancel_scope.cancel()


@asynccontextmanager
async def raw(tokens: Path, **options: Any) -> AsyncIterator[Any]:
    """A channel to a server, with nothing of our client around it."""
    async with (
        on_tcp(Harness().kernel(doubling), options, tokens=tokens) as address,
        aio.insecure_channel(address.removeprefix("tcp://")) as channel,
    ):
        yield channel


@pytest.fixture
def tokens(folder: Path) -> Path:
    """Where the tokens of a test are."""
    return folder / "tokens.json"


def token(path: Path, role: Role, name: str = "ci") -> str:
    """A new token of a role."""
    return add_token(path, name, role, 1, lambda size: role.value.encode().ljust(size, name.encode()[:1]))


CALLS: dict[Role, Any] = {
    Role.VIEWER: lambda client: client.list(),
    Role.OPERATOR: lambda client: client.start("doubling"),
    Role.ADMIN: lambda client: client.prune(older_than_seconds=0),
}


@pytest.mark.parametrize("role", Role)
async def test_a_role_may_do_what_it_may_and_no_more(role: Role, tokens: Path) -> None:
    """Viewers read, operators also act, admins also forget."""
    secret = token(tokens, role)
    async with (
        on_tcp(Harness().kernel(doubling), tokens=tokens) as address,
        Client(address, credentials=Credentials(token=secret)) as client,
    ):
        assert (await client.info())[-2:] == ("ci", role.value)
        for needed, call in CALLS.items():
            if role.may(needed):
                await call(client)
            else:
                refused = await raised_by(lambda: call(client))  # noqa: B023 - awaited in this very round
                assert isinstance(refused, PermissionDeniedError)
                assert (refused.principal, refused.role, refused.needed) == ("ci", role, needed)


@pytest.mark.parametrize("secret", [None, "", "x", "flujo_" + "0" * 64])
async def test_who_has_no_token_is_not_let_in(secret: str | None, tokens: Path, caplog: Any) -> None:
    """Whatever is called, and nothing of what was shown is in the log."""
    token(tokens, Role.ADMIN)
    async with raw(tokens) as channel:
        stub: Any = run_service_pb2_grpc.RunServiceStub(channel)
        metadata = () if secret is None else (("authorization", f"Bearer {secret}"),)
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.ListRuns(pb.ListRunsRequest(), metadata=metadata)

    assert refused.value.code().name == "UNAUTHENTICATED"
    assert not secret or len(secret) < 9 or secret not in caplog.text


async def test_a_request_of_a_stranger_is_refused_before_it_is_read(tokens: Path) -> None:
    """It is not even parsed."""
    token(tokens, Role.ADMIN)
    async with raw(tokens) as channel:
        call: Any = channel.unary_unary("/flujo.v1.RunService/StartRun")
        with pytest.raises(aio.AioRpcError) as refused:
            await call(b"\xff\xff\xff")

    assert refused.value.code().name == "UNAUTHENTICATED"


async def test_tokens_come_and_go_without_a_restart(tokens: Path) -> None:
    """A new one is let in with the next call, a revoked one is not; another file in its place counts as well."""
    first = token(tokens, Role.VIEWER, "a")
    async with (
        on_tcp(Harness().kernel(doubling), tokens=tokens) as address,
        Client(address, credentials=Credentials(token=first)) as client,
    ):
        await client.list()
        second = token(tokens, Role.VIEWER, "b")
        async with Client(address, credentials=Credentials(token=second)) as other:
            await other.list()
            revoke(tokens, "a")
            await other.list()
            assert isinstance(await raised_by(client.list), UnauthenticatedError)
            await anyio.Path(tokens).write_text("{")
            assert isinstance(await raised_by(other.list), UnauthenticatedError)  # nobody is let in by a broken file


async def test_a_watch_ends_when_its_token_is_revoked(tokens: Path) -> None:
    """Before its next message, also if that only says that nothing has happened."""
    secret = token(tokens, Role.OPERATOR)
    kernel = Harness().kernel(waiting)
    async with kernel, anyio.create_task_group() as group:
        security = Security(tokens=tokens)
        address = await group.start(
            lambda **task: serve(kernel, "tcp://127.0.0.1:0", security=security, bookmark_seconds=0.01, **task)
        )
        async with Client(address, credentials=Credentials(token=secret)) as client:
            await client.start("waiting", run_id="r")
            seen: list[str] = []

            async def follow() -> None:
                async for event in client.watch("r"):
                    seen.append(event.type)
                    if event.type == "step_waiting":
                        revoke(tokens, "ci")

            with anyio.fail_after(30):
                assert isinstance(await raised_by(follow), UnauthenticatedError)
        group.cancel_scope.cancel()

    assert seen[-1] == "step_waiting"


async def test_the_server_says_who_asked(tokens: Path, caplog: Any) -> None:
    """In the events of the run, beside what is claimed; in the log for what takes its own record along."""
    caplog.set_level(logging.INFO, "flujo.server")
    secret = token(tokens, Role.ADMIN)
    async with (
        on_tcp(Harness().kernel(doubling, waiting), tokens=tokens) as address,
        Client(address, credentials=Credentials(token=secret)) as client,
    ):
        await client.start("doubling", run_id="r", request_id="once")
        await client.wait("r")
        created = (await client.events("r"))[0].fact
        await client.delete("r")
        await client.prune(older_than_seconds=0)

    assert isinstance(created, RunCreated)
    assert created.principal == "ci"
    lines = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert ("INFO", "StartRun by ci: run_id=r request_id=once") in lines
    assert ("WARNING", "DeleteRun by ci: run_id=r") in lines
    assert ("WARNING", "PruneRuns by ci: no ids") in lines


async def test_definitions_are_refused_over_the_network_unless_they_are_allowed(tokens: Path) -> None:
    """Who may send one may run any command."""
    secret = token(tokens, Role.ADMIN)
    credentials = Credentials(token=secret)
    flow = letters(WORKS)
    async with on_tcp(Harness().kernel(), tokens=tokens) as address, Client(address, credentials=credentials) as client:
        assert "inline_definitions" not in (await client.info()).capabilities
        for call in (lambda: client.start(flow), lambda: client.resume("r", workflow=flow)):
            assert isinstance(await raised_by(call), DefinitionsNotAllowedError)
    async with (
        on_tcp(Harness().kernel(), tokens=tokens, allow_definitions=True) as address,
        Client(address, credentials=credentials) as client,
    ):
        assert "inline_definitions" in (await client.info()).capabilities
        assert await client.run(flow) == {"last": "two"}


async def test_health_is_for_all_and_reflection_for_who_may_read(tokens: Path) -> None:
    """A load balancer has no token; what the server can do is not for everybody."""
    secret = token(tokens, Role.VIEWER)
    async with raw(tokens, reflection=True) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        with pytest.raises(aio.AioRpcError, match="there is no service 'other'") as unknown:
            await health.Check(health_pb2.HealthCheckRequest(service="other"))
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.ServerReflectionInfo(iter(asked)).read()
        shown = stub.ServerReflectionInfo(iter(asked), metadata=(("authorization", f"Bearer {secret}"),))
        assert (await shown.read()).list_services_response.service
        assert unknown.value.code().name == "NOT_FOUND"

    assert refused.value.code().name == "UNAUTHENTICATED"


async def test_over_tcp_a_server_describes_itself_only_if_it_is_asked_to(tokens: Path) -> None:
    """What it can do is of use to whoever looks for a way in."""
    secret = token(tokens, Role.ADMIN)
    async with raw(tokens) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.ServerReflectionInfo(asked, metadata=(("authorization", f"Bearer {secret}"),)).read()

    assert refused.value.code().name == "UNIMPLEMENTED"


async def test_a_token_expires_while_it_is_used(tokens: Path) -> None:
    """Its next call is refused and says when, and a watch that is open ends before its next message."""
    clock = ManualClock()
    expires_at = clock.now() + 60 * 1_000_000
    secret = add_token(tokens, "ci", Role.OPERATOR, 1, lambda size: b"7" * size, expires_at=expires_at)
    async with (
        on_tcp(Harness(clock).kernel(waiting), tokens=tokens) as address,
        Client(address, credentials=Credentials(token=secret)) as client,
    ):
        await client.start("waiting", run_id="r")
        async with aclosing(client.watch("r")) as events:
            await anext(events)
            clock.advance(60)
            refused = await raised_by(lambda: client.signal("r", "go"))

    assert isinstance(refused, UnauthenticatedError)
    assert "has expired" in str(refused)


async def test_one_caller_does_not_take_all_calls(tokens: Path) -> None:
    """What is too much for one is refused by name, and others are answered."""
    greedy, modest = token(tokens, Role.OPERATOR, "greedy"), token(tokens, Role.OPERATOR, "modest")
    limits = {"call_limits": CallLimits(max_calls_per_caller=2)}
    async with (
        on_tcp(Harness().kernel(waiting), limits, tokens=tokens) as address,
        Client(address, credentials=Credentials(token=greedy)) as client,
        Client(address, credentials=Credentials(token=modest)) as other,
        AsyncExitStack() as watches,
    ):
        await client.start("waiting", run_id="r")
        for _ in range(2):
            await anext(await watches.enter_async_context(aclosing(client.watch("r"))))
        refused = await raised_by(lambda: client.summary("r"))
        assert (await other.summary("r")).run_id == "r"
        await watches.aclose()
        with anyio.fail_after(20):
            while isinstance(await raised_by_or_none(lambda: client.summary("r")), ServerBusyError):
                await anyio.wait_all_tasks_blocked()

    assert isinstance(refused, ServerBusyError)
    assert (refused.limit, refused.size) == ("max_calls_per_caller", 2)


async def raised_by_or_none(call: Any) -> Exception | None:
    """What a call raises, if anything."""
    try:
        await call()
    except Exception as error:
        return error
    return None


async def test_a_port_that_is_taken_is_refused(tokens: Path) -> None:
    """gRPC by itself would let two servers share it."""
    token(tokens, Role.ADMIN)
    async with on_tcp(Harness().kernel(doubling), tokens=tokens) as address, Harness().kernel(doubling) as other:
        with pytest.raises(AddressInUseError):
            await serve(other, address, security=Security(tokens=tokens))


async def test_an_address_of_another_machine_is_refused(tokens: Path, folder: Path) -> None:
    """Before anything listens."""
    token(tokens, Role.ADMIN)
    make_certificates(folder)
    security = Security(tokens=tokens, certificate=folder / "server.pem", key=folder / "server.key")
    async with Harness().kernel(doubling) as kernel:
        with pytest.raises(InvalidAddressError):
            await serve(kernel, "tcp://192.0.2.1:7777", security=security)


# -- TLS -----------------------------------------------------------------------------------------------------------


async def test_tls_with_tokens(tokens: Path, folder: Path) -> None:
    """The client knows the server by its authority; one without TLS, or with another authority, is not answered."""
    make_certificates(folder)
    secret = token(tokens, Role.OPERATOR)
    tls = {"certificate": folder / "server.pem", "key": folder / "server.key"}
    async with on_tcp(Harness().kernel(doubling), tokens=tokens, **tls) as address:
        async with Client(address, credentials=Credentials(secret, folder / "ca.pem")) as client:
            assert await client.run("doubling", {"number": 4}) == 8
        strangers = [Credentials(secret), Credentials(secret, folder / "client.pem")]
        for credentials in strangers:
            async with Client(address, credentials=credentials, call_seconds=5) as client:
                assert isinstance(await raised_by(client.list), FlujoError)


async def test_certificates_of_clients_are_names_with_roles(tokens: Path, folder: Path) -> None:
    """A name that the file of tokens knows has its role there, any other one that of `client_role`."""
    make_certificates(folder)
    security = {
        "certificate": folder / "server.pem",
        "key": folder / "server.key",
        "client_ca": folder / "ca.pem",
        "tokens": tokens,
    }
    token(tokens, Role.ADMIN, "somebody")
    shown = Credentials(None, folder / "ca.pem", folder / "client.pem", folder / "client.key")
    async with on_tcp(Harness().kernel(doubling), **security) as address:
        async with Client(address, credentials=shown) as client:
            assert (await client.info())[-2:] == ("ada", "viewer")
            assert isinstance(await raised_by(lambda: client.start("doubling")), PermissionDeniedError)
            add_certificate(tokens, "ada", Role.OPERATOR, 1)
            assert (await client.info())[-2:] == ("ada", "operator")
            await client.start("doubling")
        async with Client(address, credentials=Credentials(None, folder / "ca.pem"), call_seconds=5) as client:
            assert isinstance(await raised_by(client.list), ServerUnreachableError)


async def test_certificates_that_cannot_be_used_are_named(tokens: Path, folder: Path) -> None:
    """Before anything listens."""
    token(tokens, Role.ADMIN)
    (folder / "empty.pem").write_text("")
    for path in (folder / "missing.pem", folder / "empty.pem"):
        with pytest.raises(InvalidTokensError, match=path.name):
            async with Harness().kernel(doubling) as kernel:
                await serve(kernel, "tcp://127.0.0.1:0", security=Security(tokens=tokens, certificate=path, key=path))


def test_a_client_sends_no_token_in_clear_text_to_another_machine() -> None:
    """Everybody on the way would read it."""
    with pytest.raises(InvalidAddressError, match="TLS"):
        Client("tcp://runs.example.org:7777", credentials=Credentials(token="flujo_x"))
    Client("tcp://runs.example.org:7777", credentials=Credentials(token="flujo_x", ca=Path("ca.pem")))
    assert "flujo_x" not in repr(Credentials(token="flujo_x"))


# -- denials -------------------------------------------------------------------------------------------------------


def test_denials_are_logged_at_a_bounded_rate(caplog: Any) -> None:
    """The first ones by themselves, the others as a number once the minute is over."""
    now = [0.0]
    denials = Denials(lambda: now[0], limit=3, seconds=60)
    for _ in range(10):
        denials.log("/flujo.v1.RunService/ListRuns", "ipv4:10.0.0.1:1", UnauthenticatedError("no token"))
    assert len(caplog.records) == 3
    now[0] = 61.0
    denials.log("/flujo.v1.RunService/ListRuns", "ipv4:10.0.0.1:1", UnauthenticatedError("no token"))

    assert [each.getMessage() for each in caplog.records][3] == "7 further calls were denied"
    assert len(caplog.records) == 5
