"""What docs/embedding.md shows works with the libraries it names: each example is run as it stands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```python\n# (.*?)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
"""The code of the page by the first line of each block: a file, or a cell of a notebook."""

SECONDS = 60
"""A guard against hangs."""


def environment() -> dict[str, str]:
    """One in which a program in an empty folder finds what this process has."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Python in a folder."""
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment(), capture_output=True, text=True, timeout=SECONDS
    )


@contextmanager
def served(folder: Path, line: str, *command: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A web server that has written this line, and a client of its socket."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            said: list[str] = []
            while line not in (last := server.stderr.readline()):
                said.append(last)
                assert last, "".join(said)
            transport = httpx.HTTPTransport(uds=str(folder / "app.sock"))
            with httpx.Client(transport=transport, base_url="http://app", timeout=SECONDS) as client:
                yield server, client
        finally:
            server.kill()


def ended(server: subprocess.Popen[str]) -> int:
    """The exit code of a server that is told to end, as a deploy does."""
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=SECONDS)
    return server.returncode


def written(folder: Path, *names: str) -> None:
    """Write examples of the page into files."""
    for name in names:
        (folder / name).write_text(BLOCKS[name])


UVICORN = ("Application startup complete", "uvicorn", "--uds", "app.sock")


def test_a_script_blocks_until_its_run_has_ended(tmp_path: Path) -> None:
    """And finds it again when it is started once more."""
    written(tmp_path, "script.py")

    for _ in range(2):
        found = run(tmp_path, "script.py")
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.splitlines()[0] == "1 run_created"
        assert found.stdout.splitlines()[-1] == "300"


def test_a_kernel_is_kept_open_as_long_as_its_application(tmp_path: Path) -> None:
    """From the first request on until a deploy ends it."""
    written(tmp_path, "kept_open.py")

    with served(tmp_path, *UVICORN, "kept_open:app") as (server, client):
        assert client.get("/double/21").json() == 42
        assert ended(server) in (0, -signal.SIGTERM)


def test_a_run_outlives_the_server_of_a_fastapi_application(tmp_path: Path) -> None:
    """The server is killed while the run waits; the next one goes on with it."""
    written(tmp_path, "app.py")

    with served(tmp_path, *UVICORN, "app:app") as (server, client):
        assert client.put("/payments/order-1").json() == {"created": True}
        assert client.put("/payments/order-1").json() == {"created": False}
        assert client.get("/payments/order-2").status_code == 404
        server.kill()
    with served(tmp_path, *UVICORN, "app:app") as (server, client):
        assert client.put("/payments/order-1/approval").json() == "recorded"
        while (found := client.get("/payments/order-1").json())["status"] != "completed":
            assert found["status"] in ("running", "waiting")
        assert found["output"] == "order-1 is paid"
        assert ended(server) in (0, -signal.SIGTERM)


def test_plain_endpoints_of_a_fastapi_application_use_the_facade(tmp_path: Path) -> None:
    """In the threads that the server gives them, and the server still ends when it is told to."""
    written(tmp_path, "def_app.py")

    with served(tmp_path, *UVICORN, "def_app:app") as (server, client):
        assert [client.get(f"/double/{number}").json() for number in range(5)] == [0, 2, 4, 6, 8]
        assert ended(server) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(("name", "passed"), [("test_with_pytest_asyncio.py", 3), ("test_with_anyio.py", 2)])
def test_fixtures_give_kernels_to_tests(tmp_path: Path, name: str, passed: int) -> None:
    """With either plugin; a warning would be an error."""
    written(tmp_path, name)

    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-o", "asyncio_default_fixture_loop_scope=function"]
    found = run(tmp_path, "-W", "error", "-m", "pytest", *options, name)

    assert f"{passed} passed" in found.stdout, found.stdout + found.stderr


def test_a_trio_program_has_a_kernel(tmp_path: Path) -> None:
    """On a store that runs there."""
    written(tmp_path, "trio_program.py")

    found = run(tmp_path, "trio_program.py")

    assert (found.returncode, found.stdout, found.stderr) == (0, "3\n", "")


def test_workers_that_gunicorn_forks_are_owners_of_their_own(tmp_path: Path) -> None:
    """Although the application, and the kernel with it, was loaded before the fork."""
    written(tmp_path, "wsgi.py", "gunicorn.conf.py")

    with served(tmp_path, "Listening at", "gunicorn", "--bind", "unix:app.sock", "wsgi:app") as (server, client):
        kernels: set[str] = set()
        while len(kernels) < 2:
            doubled, kernel = client.get("/21").text.split()
            assert doubled == "42"
            kernels.add(kernel)
        assert ended(server) == 0
    assert str(server.pid) not in {kernel.split("-")[-2] for kernel in kernels}


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Any]:
    """A function that runs a cell in a process of ipykernel, and returns what it prints."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager(transport="ipc", ip=str(tmp_path / "ipc"))
    assert manager.kernel_spec is not None
    manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager.start_kernel(cwd=str(tmp_path), env=environment(), stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=SECONDS)

    def cell(code: str) -> str:
        said: list[str] = []

        def listen(message: Any) -> None:
            if message["msg_type"] == "stream":
                said.append(message["content"]["text"])

        reply = client.execute_interactive(code, timeout=SECONDS, output_hook=listen)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(said)

    yield cell
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_cells_of_a_notebook_share_a_kernel(notebook: Any) -> None:
    """One opens it, one uses it, one closes it: each is a task of its own. It may be opened again, or be one that
    blocks."""
    notebook(BLOCKS["notebook: open"])
    assert notebook(BLOCKS["notebook: use"]) == "42\n"
    assert notebook(BLOCKS["notebook: close"]) == ""
    assert notebook(BLOCKS["notebook: block"]) == "8\n"
    assert notebook("await kernel.open()\n" + BLOCKS["notebook: use"]) == "42\n"
    notebook(BLOCKS["notebook: close"])


def test_every_example_of_the_page_is_tried() -> None:
    """By a test above."""
    assert len(BLOCKS) == PAGE.count("```python") == 13
