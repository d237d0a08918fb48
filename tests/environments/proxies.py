"""Try the configurations of docs/behind-a-proxy.md with the real nginx and HAProxy: `make test-proxies`.

Each runs as a process of its own on ports of this machine, in front of a server with tokens. What a client does through
it has to come out as without it, and a watch has to go on when the proxy is killed and started again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio

from flujo.backends import open_backend
from flujo.client import Client, Credentials
from flujo.kernel import Context, Kernel, workflow
from flujo.kernel.errors import RunNotFoundError, ServerUnreachableError, UnauthenticatedError
from flujo.server import Security, serve
from flujo.server.tokens import Role, add_token
from server.certificates import make_certificates

PAGE = Path(__file__).parents[2] / "docs" / "behind-a-proxy.md"
MIB = 2**20


@workflow()
async def large(ctx: Context, size: int) -> str:
    """As many characters as it is asked for."""
    return "x" * size


@workflow()
async def patient(ctx: Context) -> list[Any]:
    """Two signals."""
    return [await ctx.wait_signal("one"), await ctx.wait_signal("two")]


def block(language: str) -> str:
    """A configuration that the page shows."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert found is not None
    return found[1]


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nginx(folder: Path, port: int, server: int) -> list[str]:
    """The command of an nginx with the configuration of the page."""
    shown = block("nginx").replace("7443", str(port)).replace("7777", str(server)).replace("/etc/flujo", str(folder))
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = f"pid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\ndaemon off;\nevents {{}}\n"
    text += f"http {{\naccess_log off;\n{places}{shown}}}\n"
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def haproxy(folder: Path, port: int, server: int) -> list[str]:
    """The command of a HAProxy with the configuration of the page."""
    shown = block("haproxy").replace("7444", str(port)).replace("7777", str(server)).replace("/etc/flujo", str(folder))
    both = (folder / "server.pem").read_text() + (folder / "server.key").read_text()
    (folder / "server-and-key.pem").write_text(both)
    (folder / "haproxy.cfg").write_text(shown)
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A proxy that accepts connections; it is killed at the end."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    try:
        while True:
            if process.poll() is not None:
                assert process.stderr is not None
                raise AssertionError(process.stderr.read().decode())
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                continue
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a proxy and its workers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


async def through(client: Client, stranger: Client) -> None:
    """What has to work through a proxy."""
    assert len(await client.run("large", {"size": 200_000}, run_id="r")) == 200_000
    assert [event.type async for event in client.watch("r")][-1] == "run_completed"
    try:
        await client.inspect("nobody")
        raise AssertionError("an error is missing")
    except RunNotFoundError as error:
        assert error.run_id == "nobody"  # noqa: PT017 - this is no test of pytest
    try:
        await stranger.list()
        raise AssertionError("a stranger is let in")
    except UnauthenticatedError:
        pass
    await client.run("large", {"size": 30 * MIB}, run_id="huge")
    export = await client.export_run("huge")
    await client.delete("huge")
    assert [each.outcome.value for each in await client.import_run(export)] == ["created"]


async def over_a_restart(client: Client, restart: Callable[[], None]) -> None:
    """A watch, in the midst of which the proxy is killed and another one started."""
    await client.start("patient", run_id="p")
    seen: list[int] = []
    is_restarted = False
    async with aclosing(client.watch("p")) as events:
        async for event in events:
            seen.append(event.seq)
            if event.type == "step_waiting" and not is_restarted:
                is_restarted = True
                await client.signal("p", "one")
                await anyio.to_thread.run_sync(restart)
                await send_over_a_new_connection(client)
    assert seen == list(range(1, len(seen) + 1)), seen


async def send_over_a_new_connection(client: Client) -> None:
    """Send the second signal. A call that acts is not repeated by the client itself."""
    with anyio.fail_after(30):
        while True:
            try:
                await client.signal("p", "two", request_id="two")
                return
            except ServerUnreachableError:
                await anyio.sleep(0.1)


async def try_one(name: str, command: Callable[[Path, int, int], list[str]], folder: Path) -> None:
    tokens = folder / "tokens.json"
    secret = add_token(tokens, "ci", Role.ADMIN, 1, lambda size: b"7" * size)
    kernel = Kernel(open_backend(f"sqlite:{folder}/{name}.db"), [large, patient], workspaces=folder / "w")
    async with kernel, anyio.create_task_group() as group:
        security = Security(tokens=tokens, allow_definitions=True)
        address = await group.start(lambda **task: serve(kernel, "tcp://127.0.0.1:0", security=security, **task))
        port = free_port()
        wanted = command(folder, port, int(address.rpartition(":")[2]))
        ca = folder / "ca.pem"
        where = f"tcp://localhost:{port}"
        with running(wanted, port) as first:
            again = running(wanted, port)

            def restart() -> None:
                end(first)
                again.__enter__()

            try:
                async with (
                    Client(where, credentials=Credentials(token=secret, ca=ca)) as client,
                    Client(where, credentials=Credentials(token="flujo_no", ca=ca)) as stranger,
                ):
                    await through(client, stranger)
                    await over_a_restart(client, restart)
            finally:
                again.__exit__(None, None, None)
        group.cancel_scope.cancel()
    print(f"{name}: runs, a watch over a restart, errors and 30 MiB documents come through")  # noqa: T201


def main() -> None:
    missing = [name for name in ("nginx", "haproxy") if shutil.which(name) is None]
    if missing:
        sys.exit(f"make test-proxies needs {' and '.join(missing)}: apt-get install {' '.join(missing)}")
    for name, command in (("nginx", nginx), ("haproxy", haproxy)):
        with tempfile.TemporaryDirectory(prefix="flujo-") as folder:
            Path(folder).chmod(0o755)
            make_certificates(Path(folder))
            anyio.run(try_one, name, command, Path(folder))


if __name__ == "__main__":
    main()
