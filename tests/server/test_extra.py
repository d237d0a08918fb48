"""What an import of client and server costs, and what is said when the extra `grpc` is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOTS = [str(ROOT / name) for name in ("kernel", "backends", "workflows", "server", "cli", "proto")]
HEAVY = {"grpc", "google", "grpc_health", "grpc_reflection", "grpc_status"}


def python(script: str, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(ROOTS)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", ["flujo.client", "flujo.server", "flujo.client.addresses", "flujo.cli.connect"])
def test_importing_costs_nothing(module: str) -> None:
    """gRPC is imported when `Client` or `serve` is used, and not before."""
    ended = python(f"import sys, {module}; print(*sorted(sys.modules))")

    assert module in ended.stdout.split(), ended.stderr
    assert HEAVY & {name.partition(".")[0] for name in ended.stdout.split()} == set()


COMMANDS = [
    ("run", "flow.yaml", "--id", "r"),
    ("list",),
    ("inspect", "r"),
    ("watch", "r"),
    ("prune", "--older-than", "1d", "--yes"),
    ("delete", "r"),
]


def test_commands_on_a_store_import_no_grpc(folder: Path) -> None:
    """An embedded command neither needs the extra nor pays for it."""
    (folder / "flow.yaml").write_text(
        "name: flow\nsteps: [{name: a, task: echo, inputs: {message: hello}}]\n", encoding="utf-8"
    )
    (folder / ".flujo").mkdir()
    script = f"""
import sys
for name in {sorted(HEAVY)!r}:
    sys.modules[name] = None
sys.argv = ["flujoctl", *sys.argv[1:]]
import flujoctl
flujoctl.main()
"""
    for command in COMMANDS:
        ended = python(script, *command, folder=folder)
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)


SERVE = "from flujo.server import serve"
CLIENT = "from flujo.client import Client"
INFO = "import flujo.client; flujo.client.ServerInfo"


@pytest.mark.parametrize(
    ("use", "missing"),
    [
        *[(SERVE, name) for name in sorted(HEAVY)],
        *[(use, name) for use in (CLIENT, INFO) for name in ("grpc", "google", "grpc_status")],
    ],
)
def test_the_extra_is_named_where_it_is_missing(use: str, missing: str) -> None:
    """Whichever part of it is not there: one error that says what to install."""
    script = f"""
import sys
sys.modules[{missing!r}] = None
from flujo.kernel.errors import ExtraMissingError
try:
    {use}
except ExtraMissingError as error:
    print(error.what, error.extra, *error.hints)
"""
    ended = python(script)

    what = "flujo.server" if use == SERVE else "flujo.client"
    assert ended.stdout.strip() == f"{what} grpc pip install 'flujoctl[grpc]'", ended.stderr


@pytest.mark.parametrize("module", ["flujo.client", "flujo.server"])
def test_a_name_that_is_not_there_is_an_ordinary_error(module: str) -> None:
    """And not one about the extra."""
    ended = python(f"import {module} as it\ntry:\n    it.nonsense\nexcept AttributeError as error:\n    print(error)")

    assert "nonsense" in ended.stdout
