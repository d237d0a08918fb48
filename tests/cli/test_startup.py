"""Starting costs little, and a stranger called flujo is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from math import inf
from pathlib import Path

import anyio
import pytest

from flujo.backends import SQLiteBackend
from flujo.backends.conformance import create, creation
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
FOR_TEMPLATES = {"jinja2", "markupsafe", "flujo.workflows.evaluation", "flujo.workflows.sandbox"}
"""What a workflow without a template does without (workflows/marks.py)."""

FOR_TERMINALS = {"rich", "flujo.cli.live_display", "flujo.cli.live_view"}
FOR_TYPES = {"pydantic", "pydantic_core"}
"""What only a Python workflow needs, for the types it declares; JSON takes the extension alone (json_core.py)."""

FOR_LISTS = {
    "asyncio",
    "aiosqlite",
    "pydantic_core._pydantic_core",
    "flujo.kernel.kernel",
    "flujo.kernel.observer",
    "flujo.cli.sources",
}
"""What a list of the runs of a store on SQLite does without: an event loop, JSON, and all that runs workflows."""

FOR_RARE_CALLS = {"statistics", "secrets", "random", "shutil", "bz2", "lzma"}
"""What a median, a command and a random word were imported for."""

FOR_REGISTRIES = {"importlib.metadata", "importlib.resources"}


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["list"], FOR_YAML | FOR_TERMINALS | FOR_TYPES | FOR_LISTS | FOR_REGISTRIES),
        (["list", "-o", "json"], FOR_YAML | FOR_TERMINALS | FOR_TYPES | FOR_LISTS | FOR_REGISTRIES),
        (["list", "--count"], FOR_YAML | FOR_TERMINALS | FOR_TYPES | FOR_LISTS | FOR_REGISTRIES),
        (["inspect", "r"], FOR_YAML | FOR_TERMINALS | FOR_TYPES | FOR_REGISTRIES),
        (["events", "r"], FOR_YAML | FOR_TERMINALS | FOR_TYPES | FOR_REGISTRIES),
        (["stats"], FOR_YAML | FOR_TERMINALS | FOR_TYPES | FOR_REGISTRIES),
        (["validate", "two.yaml"], FOR_TEMPLATES | FOR_TERMINALS | FOR_TYPES | FOR_REGISTRIES),
        (["explain", "r"], FOR_TEMPLATES | FOR_TERMINALS | FOR_TYPES | FOR_REGISTRIES),
        (["run", "two.yaml"], FOR_TEMPLATES | FOR_TERMINALS | FOR_TYPES | FOR_REGISTRIES | FOR_RARE_CALLS),
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

    imported = modules_after(*arguments)

    assert "flujo.backends.sqlite" in imported or arguments[0] in ("version", "validate")
    assert imported & (NEVER | forbidden) == set()


def test_completion_imports_no_kernel() -> None:
    """A shell that completes a command name waits for click only."""
    imported = modules_after("completion", "--help")

    assert imported & {"pydantic", "anyio", "asyncio", "flujo.kernel"} == set()


ROUNDS = 30
"""How often a ratio is taken before it counts as broken."""


def processor_seconds(command: list[str], folder: Path) -> float:
    """What a command takes of the processor, which a busy machine changes far less than the time on the wall."""
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    with subprocess.Popen(
        command, cwd=folder, env=compiled, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as ended:
        _, status, used = os.wait4(ended.pid, 0)
        ended.returncode = os.waitstatus_to_exitcode(status)
        assert ended.returncode == 0, ended.stderr and ended.stderr.read()
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def large_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of 10,000 runs, and a workflow of two steps."""
    folder = tmp_path_factory.mktemp("large")
    (folder / ".flujo").mkdir()
    (folder / "two.yaml").write_text("name: two\nsteps: [{name: a, task: noop}, {name: b, task: noop}]\n")

    async def fill() -> None:
        store = SQLiteBackend(folder / ".flujo" / "state.db")
        await store.open("one")
        await create(store, *(creation(f"run-{n:05}", owner=None, status="completed") for n in range(10_000)))
        await store.close()

    anyio.run(fill, backend="asyncio")
    return folder


@pytest.mark.skipif(version("anyio") < "4.16", reason="earlier releases of anyio, and of others, import far more")
@pytest.mark.parametrize(
    ("arguments", "at_most"), [(["--help"], 2.0), (["list"], 10.0), (["run", "two.yaml", "-q"], 27.0)], ids=str
)
def test_a_command_takes_a_few_times_what_python_does(arguments: list[str], at_most: float, large_store: Path) -> None:
    """Each beside a bare `python -c pass`, in turns; the least of each counts, as everything else on the machine can
    only add to it. The first that holds is enough: a command that has become slow never does."""
    command = [sys.executable, "-m", "flujoctl", *arguments]
    processor_seconds(command, large_store)  # compiles
    bare, ours = inf, inf
    for _ in range(ROUNDS):
        bare = min(bare, processor_seconds([sys.executable, "-c", "pass"], large_store))
        ours = min(ours, processor_seconds(command, large_store))
        if ours <= at_most * bare:
            return

    pytest.fail(f"{' '.join(arguments)} takes {ours / bare:.1f} times as long as python -c pass, not {at_most}")


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
