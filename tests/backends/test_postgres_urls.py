"""URLs as consoles of hosted databases hand them out, for libpq: each works, or is refused with what to write."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import anyio
import pytest

import postgres_server
from backends.fleets import PATIENCE_SECONDS, patient, until_waiting
from flujo.backends import PostgresBackend
from flujo.backends.postgres.connection import Connection, Lost, Refusal
from flujo.backends.postgres.url import parse
from flujo.kernel import Kernel
from flujo.kernel.errors import StoreError, StoreUrlError
from server.certificates import make_certificates

SECRET = "s3cr3t-canary"


@pytest.fixture
def anyio_backend() -> str:
    """asyncpg knows asyncio only."""
    return "asyncio"


class Hosted:
    """A server that asks for a password, and for TLS where it is not on this host."""

    def __init__(self, server: postgres_server.Server, certificates: Path) -> None:
        self.socket = server.folder
        self.port = server.port
        self.authority = certificates / "ca.pem"

    def url(self, options: str = "", *, host: str = "localhost", user: str = f"ann:{SECRET}") -> str:
        """Return a URL that leads there over TCP."""
        return f"postgresql://{user}@{host}:{self.port}/postgres?{options}"


@pytest.fixture(scope="module")
def hosted() -> Iterator[Hosted]:
    """A server as those who host databases have them. That of the wheel was built without TLS."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("needs a server with TLS; on Debian: apt install postgresql")
    with (
        tempfile.TemporaryDirectory(prefix="flujo-pg-", dir="/tmp") as name,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("FLUJO_POSTGRES", str(programs[-1]))
        folder = Path(name)
        folder.chmod(0o755)
        make_certificates(folder)
        server = server_with_tls(folder)
        server.start()
        try:
            by_socket = f"postgresql://postgres@/postgres?host={server.folder}&port={server.port}"
            asyncio.run(asked(by_socket, f"CREATE ROLE ann LOGIN PASSWORD '{SECRET}'"))
            yield Hosted(server, folder)
        finally:
            server.stop()


def server_with_tls(folder: Path) -> postgres_server.Server:
    """Return a server that takes who comes over TCP by TLS and a password only; it does not run yet."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    key = folder / "server.key"
    if (user := postgres_server.nobody()) is not None:
        shutil.chown(key, user)
        (folder / "server.pem").chmod(0o644)
    settings = {
        "listen_addresses": "127.0.0.1,127.0.0.2",
        "ssl": "on",
        "ssl_cert_file": str(folder / "server.pem"),
        "ssl_key_file": str(key),
    }
    server = postgres_server.Server(folder / "server", {**postgres_server.SETTINGS, **settings}, port)
    (server.data / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.0/8 scram-sha-256\n")
    return server


@pytest.fixture(autouse=True)
def _nothing_is_said_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the environment, and no file in a home."""
    for name in [each for each in os.environ if each.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nonexistent")


async def asked(url: str, statement: str = "SELECT current_user, current_database()") -> list[str]:
    """Return the first row of what a server says to whom a URL leads."""
    connection = await Connection.connect(parse(url))
    try:
        rows = await connection.fetch(statement)
        return [str(value) for row in rows[:1] for value in row]
    finally:
        await connection.close()


FINE = {
    "sslmode=require": "",
    "sslmode=verify-full&sslrootcert=CA": "",
    "sslmode=verify-ca&sslrootcert=CA": "",
    "sslmode=require&channel_binding=prefer": "Neon, without the requirement",
    "sslmode=require&connect_timeout=10&keepalives=1&keepalives_idle=30&tcp_user_timeout=10000": "libpq",
    "sslmode=require&gssencmode=disable&target_session_attrs=read-write": "libpq",
    "sslmode=require&client_encoding=utf8&sslsni=1&fallback_application_name=x": "libpq",
    "sslmode=require&options=-c%20statement_timeout%3D0": "",
    "target_session_attrs=primary": "",
}


@pytest.mark.parametrize("options", FINE)
async def test_what_libpq_takes_is_taken(options: str, hosted: Hosted) -> None:
    """Options that consoles and manuals put into URLs, over TLS and with a password."""
    options = options.replace("CA", quote(str(hosted.authority)))

    assert await asked(hosted.url(options)) == ["ann", "postgres"]


REFUSED = {
    "channel_binding=require": "sslmode=verify-full proves the server",
    "gssencmode=require": "sslmode=require",
    "require_auth=scram-sha-256": "leave it out|sslmode=verify-full",
    "ssl=true": "write sslmode=require",
    "pgbouncer=true": "statement_cache_size=0",
    "connection_limit=1": "a kernel has four connections",
    "hostaddr=127.0.0.1": "write the address as the host",
    "connect_timeout=soon": "connect_timeout is a number of seconds",
    "sslmode=require&sslrootcert=system": "goes with sslmode=verify-full",
}


@pytest.mark.parametrize("options", REFUSED)
def test_what_the_driver_cannot_do_is_refused_with_what_to_write(options: str, hosted: Hosted) -> None:
    """Before anything is connected, and without a password."""
    with pytest.raises(StoreUrlError, match=REFUSED[options]) as refused:
        parse(hosted.url(options))

    assert SECRET not in str(refused.value)


WRONG = {
    "sslmode=verify-full&sslrootcert=/nowhere/ca.pem": (Refusal, "file of sslrootcert is not there.*/nowhere/ca.pem"),
    "sslmode=verify-full": (Refusal, "root certificate file .* does not exist"),
    "sslmode=verify-full&sslrootcert=system": (Refusal, "CERTIFICATE_VERIFY_FAILED|certificate verify failed"),
    "sslmode=verify-all": (Refusal, "sslmode"),
    "target_session_attrs=master": (Refusal, "target_session_attrs"),
    "sslmode=require&no_such_option=1": (Refusal, 'parameter "no_such_option"'),
    "sslmode=disable": (Refusal, "no pg_hba.conf entry.*no encryption"),
}


@pytest.mark.parametrize("options", WRONG)
async def test_what_cannot_work_is_told_in_a_sentence(options: str, hosted: Hosted) -> None:
    """With the option, or the file, that is to blame."""
    error, text = WRONG[options]
    with pytest.raises(error, match=text) as refused:
        await asked(hosted.url(options))

    assert SECRET not in str(refused.value)


async def test_a_certificate_of_another_host_is_refused(hosted: Hosted) -> None:
    """With verify-full; verify-ca asks for the authority only."""
    authority = quote(str(hosted.authority))
    assert await asked(hosted.url(f"sslmode=verify-ca&sslrootcert={authority}", host="127.0.0.2")) != []
    with pytest.raises(Refusal, match="IP address mismatch"):
        await asked(hosted.url(f"sslmode=verify-full&sslrootcert={authority}", host="127.0.0.2"))


async def test_files_are_named_by_the_environment(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """PGSSLROOTCERT and PGSSLMODE say what a URL leaves out, and a file that is not there is named."""
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(hosted.authority))
    assert await asked(hosted.url()) == ["ann", "postgres"]
    monkeypatch.setenv("PGSSLROOTCERT", "/nowhere/ca.pem")
    with pytest.raises(Refusal, match="file of PGSSLROOTCERT is not there"):
        await asked(hosted.url())


async def test_passwords_come_from_where_libpq_looks(
    hosted: Hosted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGPASSWORD, a password file, and a service file that names a server."""
    bare = hosted.url("sslmode=require", user="ann")
    with pytest.raises((Refusal, Lost)):
        await asked(bare)
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"localhost:{hosted.port}:*:ann:{SECRET}\n")
    passwords.chmod(0o600)
    assert await asked(f"{bare}&passfile={passwords}") == ["ann", "postgres"]
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    assert await asked(bare) == ["ann", "postgres"]
    monkeypatch.delenv("PGPASSFILE")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    assert await asked(bare) == ["ann", "postgres"]
    monkeypatch.delenv("PGPASSWORD")
    services = tmp_path / "services"
    services.write_text(
        f"[orders]\nhost=localhost\nport={hosted.port}\nuser=ann\npassword={SECRET}\ndbname=postgres\nsslmode=require\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    for url in ("postgresql:///?service=orders", "postgresql://?service=orders", "postgres:?service=orders&schema=x"):
        assert await asked(url) == ["ann", "postgres"]
    monkeypatch.setenv("PGSERVICE", "orders")
    assert await asked("postgres:") == ["ann", "postgres"]
    with pytest.raises(Refusal, match="no service 'nothing'"):
        await asked("postgres:?service=nothing")


async def test_of_several_hosts_the_primary_is_found(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also behind one that does not answer; ports may differ."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        closed = other.getsockname()[1]
    for places in (f"localhost:{closed},localhost:{hosted.port}", f"localhost:{hosted.port},127.0.0.1:{closed}"):
        url = f"postgresql://ann:{SECRET}@{places}/postgres?sslmode=require"
        assert await asked(url) == ["ann", "postgres"]
        assert "target_session_attrs=primary" in parse(url).dsn
    assert "target_session_attrs=any" in parse("postgresql://a,b/db?target_session_attrs=any").dsn
    assert "target_session_attrs" not in parse("postgresql://a/db").dsn
    monkeypatch.setenv("PGHOST", "a,b")
    assert "target_session_attrs=primary" in parse("postgres:").dsn
    assert "target_session_attrs" not in parse("postgresql://a/db").dsn


@pytest.fixture
def replica(hosted: Hosted) -> Iterator[postgres_server.Server]:
    """A server that only reads, at the port of the other one."""
    with tempfile.TemporaryDirectory(prefix="flujo-pg-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        server = postgres_server.Server(Path(name) / "server", postgres_server.SETTINGS, hosted.port)
        (server.data / "standby.signal").touch()
        if (user := postgres_server.nobody()) is not None:
            shutil.chown(server.data / "standby.signal", user)
        server.start()
        yield server
        server.stop()


async def test_a_replica_is_passed_over(hosted: Hosted, replica: postgres_server.Server) -> None:
    """The first host that answers may be one that was the primary before a failover."""
    url = f"postgresql://postgres@/postgres?host={replica.folder},{hosted.socket}&port={hosted.port}"

    assert await asked(url, "SELECT pg_is_in_recovery()") == ["False"]
    assert await asked(f"{url}&target_session_attrs=any", "SELECT pg_is_in_recovery()") == ["True"]


async def test_an_operator_tells_sessions_apart_by_their_name(hosted: Hosted) -> None:
    """As `pg_stat_activity` shows it."""
    name = "SELECT current_setting('application_name')"
    assert await asked(hosted.url("application_name=orders"), name) == ["orders"]
    assert await asked(hosted.url(), name) == ["flujo"]


def test_a_socket_in_a_folder_with_colons_is_no_port() -> None:
    """As the proxy of Cloud SQL has them."""
    assert (
        "host=%2Fcloudsql%2Fproject%3Aregion%3Aname"
        in parse(f"postgresql://ann:{SECRET}@/db?host=/cloudsql/project:region:name").dsn
    )


def test_a_direct_url_is_read_as_the_other_one() -> None:
    """`listen` may be the URL of a console as well."""
    address = parse("postgresql://pool/db?listen=postgresql%3A%2F%2Fdirect%2Fdb%3Fchannel_binding%3Dprefer")
    assert address.listen_dsn == "postgresql://direct/db"


@pytest.fixture
def pooler(request: pytest.FixtureRequest) -> Iterator[postgres_server.Pooler]:
    """PgBouncer in a mode."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("needs PgBouncer")
    with postgres_server.own_server() as server:
        found = postgres_server.Pooler(program, server, request.param)
        found.start()
        yield found
        found.stop()


@pytest.mark.parametrize("pooler", ["session"], indirect=True)
async def test_a_pooler_by_session_is_as_a_server(pooler: postgres_server.Pooler) -> None:
    """Notifications are heard through it as well."""
    async with Kernel(PostgresBackend(postgres_server.new_store(base=pooler.url)), [patient]) as kernel:
        await kernel.start(patient, run_id="r")
        await until_waiting(kernel, "r", 1)
        with anyio.fail_after(PATIENCE_SECONDS):
            while not (await kernel.backend.details())["hears"]:  # noqa: ASYNC110 - nobody is told
                await anyio.sleep(0.05)
            await kernel.signal("r", "go", 7)
            assert await kernel.result("r") == 7


@pytest.mark.parametrize("pooler", ["statement"], indirect=True)
async def test_a_pooler_by_statement_is_refused(pooler: postgres_server.Pooler) -> None:
    """With what its mode has to be; nothing of a transaction would hold together."""
    backend = PostgresBackend(postgres_server.new_store(base=pooler.url))
    with pytest.raises(StoreError, match="its pool_mode has to be transaction"):
        await backend.open("one")
