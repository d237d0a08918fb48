"""docs/securing-a-server.md works as shown: its commands, in their order, in an empty folder with a workflow in it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.certificates import PAGE

ROOT = Path(__file__).parents[2]


def block(name: str) -> str:
    """A block of commands of the page, by the word beside its language."""
    found = re.search(rf"```sh {name}\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert found is not None, name
    return found[1]


def lines(name: str) -> list[str]:
    """The commands of a block."""
    return block(name).splitlines()


class Lab:
    """A folder with `flujoctl` on its path, and a port instead of the one of the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        (folder / "hello.yaml").write_text((ROOT / "examples/hello.yaml").read_text())
        (folder / "flujoctl").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flujoctl "$@"\n')
        (folder / "flujoctl").chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLUJO_")},
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def sh(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the page to its end."""
        return subprocess.run(
            ["sh", "-e", "-c", command.replace("7777", self.port)],
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @contextmanager
    def serving(self, command: str) -> Iterator[None]:
        """Have a server of the page run inside the block."""
        words = command.replace("7777", self.port).split()
        with subprocess.Popen(
            words, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline().startswith("listening at tcp://")
                yield
            finally:
                server.terminate()
        assert server.returncode == 0


@pytest.fixture
def lab(folder: Path) -> Lab:
    """An empty folder for the page."""
    return Lab(folder)


def test_a_server_of_one_machine_works_as_shown(lab: Lab) -> None:
    """Tokens, a server, a client with its token in a file or a variable, and one whose token is revoked meanwhile."""
    made = lab.sh(block("tokens"))
    assert made.returncode == 0, made.stderr
    secret = (lab.folder / "ci.token").read_text().strip()
    assert secret not in (lab.folder / ".flujo" / "tokens.json").read_text() + made.stdout + made.stderr
    (client,) = lines("client")
    with lab.serving(*lines("loopback")):
        assert lab.sh(client).returncode == 0
        assert lab.sh(client.replace(" --token-file ci.token", ""), FLUJO_TOKEN=secret).returncode == 0
        assert lab.sh(client.replace(" --token-file ci.token", ""), FLUJO_TOKEN_FILE="ci.token").returncode == 0
        assert lab.sh(client.replace(" --token-file ci.token", "")).returncode == 5

        started = client.replace("list", "run hello --id r --no-wait").replace("ci.token", "dashboard.token")
        assert "needs the role operator" in lab.sh(started).stderr
        assert lab.sh(client.replace("ci.token", "dashboard.token")).returncode == 0
        assert lab.sh(block("revoke")).returncode == 0
        refused = lab.sh(client.replace("ci.token", "dashboard.token"))
        assert (refused.returncode, secret in refused.stderr) == (5, False)

        ping = lab.sh(client.replace("list", "ping") + " -o json")
        assert '"principal": "ci"' in ping.stdout
        assert '"role": "operator"' in ping.stdout


def test_a_server_for_other_machines_works_as_shown(lab: Lab) -> None:
    """With certificates of the lab; a client that trusts another authority, or none, is not answered."""
    assert lab.sh(block("tokens")).returncode == 0
    made = lab.sh(block("lab"))
    assert made.returncode == 0, made.stderr
    serve, client = lines("tls")
    with lab.serving(serve):
        answered = lab.sh(client)
        assert answered.returncode == 0, answered.stderr
        assert lab.sh(client.replace("ca.pem", "client.pem")).returncode == 5
        assert lab.sh(client.replace(" --tls-ca ca.pem", "")).returncode == 5
    certificate = f"{client} --tls-client-cert client.pem --tls-client-key client.key".replace(
        " --token-file ci.token", ""
    )
    with lab.serving(f"{serve} --client-ca ca.pem"):
        assert lab.sh(certificate).returncode == 0
        assert '"principal": "ada"' in lab.sh(certificate.replace("list", "ping") + " -o json").stdout
        assert lab.sh(client).returncode == 5


@pytest.mark.parametrize("block_and_without", ["loopback --tokens .flujo/tokens.json", "tls --tls-key server.key"])
def test_a_server_without_what_it_needs_does_not_start(block_and_without: str, lab: Lab) -> None:
    """It says what to pass, and makes no store."""
    name, _, without = block_and_without.partition(" ")
    refused = lab.sh(lines(name)[0].replace(f" {without}", ""))

    assert refused.returncode == 2
    assert "refusing to listen" in refused.stderr
    assert "--tokens" in refused.stderr or "--tls-key" in refused.stderr
    assert not (lab.folder / ".flujo").exists()
