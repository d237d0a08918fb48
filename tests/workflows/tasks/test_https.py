"""http.request over TLS, against a real server whose certificate is that of `localhost`."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio import to_thread

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Kernel
from flujo.workflows import load_workflow_text
from server.certificates import make_certificates
from workflows.tasks.local_server import LocalServer, Reply, serving


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and the certificate of a server that it has signed."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture
def server(certificates: Path) -> Iterator[LocalServer]:
    """A server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    with serving(context) as local:
        local.answer("/a", Reply(200, b"secure"))
        yield local


def run(folder: Path, url: str, more: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Ask a server, in a process of its own: which authorities are trusted is read once."""
    (folder / "flow.yaml").write_text(
        "name: flow\noutputs: {said: '{{ steps.ask.result.body }}'}\n"
        f"steps: [{{name: ask, task: http.request, inputs: {{url: '{url}'{more}}}}}]\n"
    )
    command = [sys.executable, "-m", "flujoctl", "run", "flow.yaml", "-o", "json"]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def test_a_certificate_of_a_trusted_authority_is_held_against_the_name(
    server: LocalServer, certificates: Path, tmp_path: Path
) -> None:
    """Although the connection is made to the address that the name was found to have."""
    trusted = {"SSL_CERT_FILE": str(certificates / "ca.pem")}

    by_name = run(tmp_path, f"https://localhost:{server.port}/a", **trusted)
    by_another = run(tmp_path, f"https://2130706433:{server.port}/a", **trusted)  # the same address

    assert '"said": "secure"' in by_name.stdout, by_name
    assert server.seen[0].headers["host"] == f"localhost:{server.port}"
    assert by_another.returncode == 1
    assert "ConnectionError: GET https://2130706433:" in by_another.stderr
    assert "certificate is not valid for '2130706433'" in by_another.stderr


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_that_is_wanted(
    server: LocalServer, tmp_path: Path
) -> None:
    """With the reason."""
    refused = run(tmp_path, f"https://localhost:{server.port}/a")
    wanted = run(tmp_path, f"https://localhost:{server.port}/a", ", verify: false")

    assert refused.returncode == 1
    assert "certificate verify failed" in refused.stderr
    assert '"said": "secure"' in wanted.stdout, wanted


async def test_a_request_is_sent_on_every_event_loop(tmp_path: Path) -> None:
    """Of those that kernels run on; a cancel reaches it there as well."""
    with serving() as local:
        local.answer("/a", Reply(200, b"here"))
        local.answer("/hangs", Reply(200, b"a little", hangs=True))
        flow = load_workflow_text(
            "name: flow\noutputs: {said: '{{ steps.a.result.body }}'}\nsteps:\n"
            f"  - {{name: a, task: http.request, inputs: {{url: '{local.url}/a'}}}}\n",
            "flow.yaml",
            workspace=tmp_path,
        )
        hanging = load_workflow_text(
            f"name: hanging\nsteps: [{{name: a, task: http.request, inputs: {{url: '{local.url}/hangs'}}}}]\n",
            "hanging.yaml",
            workspace=tmp_path,
        )
        async with Kernel(InMemoryBackend(), workflows=[flow, hanging]) as kernel:
            assert await kernel.run(flow, {}) == {"said": "here"}
            await kernel.start(hanging, {}, run_id="h")
            await to_thread.run_sync(local.hanging.wait)
            await kernel.cancel("h")
            assert (await kernel.wait("h")).status == "cancelled"


def test_the_certificates_that_the_page_makes_pass_the_strict_rules(server: LocalServer, certificates: Path) -> None:
    """Python 3.13 and later hold every certificate against them: others are refused there."""
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.verify_flags |= ssl.VERIFY_X509_STRICT

    with (
        socket.create_connection(("127.0.0.1", server.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.version() is not None
