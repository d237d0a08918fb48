"""Starting costs little, and a stranger called flujo is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from flujo.cli import command_index

ROOT = Path(__file__).parents[2]
ROOTS = [str(ROOT / name) for name in ("kernel", "backends", "workflows", "cli")]

SHOW_MODULES = """
import sys
before = set(sys.modules)
sys.argv = ["flujoctl", *sys.argv[1:]]
import flujoctl
try:
    flujoctl.main()
except SystemExit:
    pass
print("\\n".join(sorted(set(sys.modules) - before)), file=sys.stderr)
"""


LIBRARY = """
import sys
before = set(sys.modules)
import __future__, gc, importlib.machinery, warnings
print("\\n".join(sorted(set(sys.modules) - before)), file=sys.stderr)
"""
"""Imports what our entry point takes from the standard library; how many modules that is depends on the Python."""


def modules_after(*arguments: str, script: str = SHOW_MODULES) -> set[str]:
    """What a command line imports that Python itself has not."""
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(ROOTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ended.stderr.split())


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("--version",)])
def test_help_imports_next_to_nothing(arguments: tuple[str, ...]) -> None:
    """Not even click, typing or re: the whole of it is our entry point and the index of commands."""
    imported = modules_after(*arguments)

    assert imported & {"click", "re", "typing", "json", "logging", "inspect", "asyncio", "pydantic", "anyio"} == set()
    assert imported - modules_after(script=LIBRARY) == {"flujo", "flujo.cli", "flujo.cli.command_index", "flujoctl"}


def test_the_help_of_a_command_needs_neither_the_network_nor_a_driver() -> None:
    """`list --help` imports the kernel at most."""
    imported = modules_after("list", "--help")

    assert imported & {"grpc", "rich", "aiosqlite", "sqlite3", "yaml", "jinja2"} == set()


NEVER = {"grpc", "google", "flujo.v1", "httpx", "psycopg", "asyncpg", "mkdocs", "jsonschema", "trio"}
"""What no embedded command imports."""

FOR_YAML = {"yaml", "jinja2", "flujo.workflows"}
FOR_TERMINALS = {"rich"}


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["list"], FOR_YAML | FOR_TERMINALS),
        (["list", "-o", "json"], FOR_YAML | FOR_TERMINALS),
        (["inspect", "r"], FOR_YAML | FOR_TERMINALS),
        (["events", "r"], FOR_YAML | FOR_TERMINALS),
        (["stats"], FOR_YAML | FOR_TERMINALS),
        (["explain", "r"], FOR_TERMINALS),
        (["run", "two.yaml"], FOR_TERMINALS),
        (["version"], FOR_TERMINALS),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_a_command_imports_only_what_it_uses(
    arguments: list[str], forbidden: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a network, nor what draws on terminals where there is none, nor YAML where none is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".flujo").mkdir()
    (tmp_path / "two.yaml").write_text("name: two\nsteps: [{name: a, task: noop}, {name: b, task: noop}]\n")
    subprocess.run([sys.executable, "-m", "flujoctl", "run", "two.yaml", "--id", "r", "-q"], check=True)

    assert modules_after(*arguments) & (NEVER | forbidden) == set()


def test_completion_imports_no_kernel() -> None:
    """A shell that completes a command name waits for click only."""
    imported = modules_after("completion", "--help")

    assert imported & {"pydantic", "anyio", "asyncio", "flujo.kernel"} == set()


COUNT_COLLECTED = """
import gc, flujoctl
gc.callbacks.append(lambda phase, info: phase == "start" and print("looked at", len(gc.get_objects())))
flujoctl.main()
"""


def test_a_command_leaves_its_garbage_to_the_end_of_the_process(tmp_path: Path) -> None:
    """To look for it while everything is imported, and through everything in the end, takes a quarter of a command."""
    (tmp_path / ".flujo").mkdir()
    command = [sys.executable, "-c", COUNT_COLLECTED, "list"]

    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    (looked,) = [line for line in ended.stdout.splitlines() if line.startswith("looked at")]
    assert int(looked.split()[-1]) < 1000


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_that_nobody_reads_is_no_error(arguments: list[str]) -> None:
    """`flujoctl --help | head -0` ends quietly, as other programs do."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "flujoctl", *arguments]
    ended = subprocess.run(command, env=buffered, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)

    assert (ended.returncode, ended.stderr) == (141, "")


def test_the_version_is_that_of_the_distribution() -> None:
    """command_index.VERSION is written down a second time so that --version need not look it up."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert project["project"]["version"] == command_index.VERSION


def test_another_package_called_flujo_is_named(tmp_path: Path) -> None:
    """One line with the file in the way and the command that helps; exit code 70."""
    stranger = tmp_path / "flujo"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("raise AssertionError('imported')\n", encoding="utf-8")

    ended = subprocess.run(
        [sys.executable, "-m", "flujoctl", "list"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *ROOTS])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 70
    assert len(ended.stderr.splitlines()) == 1
    assert str(stranger / "__init__.py") in ended.stderr
    assert "pip uninstall flujo" in ended.stderr
