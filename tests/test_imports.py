"""What an import costs: the kernel comes without the libraries of the other parts."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kernel.test_rooms import circle_in, graph_of, modules_in
from test_layout import GENERATED, ROOTS

ROOT = Path(__file__).parents[1]
HEAVY = {"grpc", "google", "yaml", "jinja2", "aiosqlite", "sqlite3", "click", "rich", "trio"}


@pytest.mark.parametrize("module", ["flujo.kernel", "flujo.backends", "flujo.backends.memory", "flujo.state"])
def test_importing_the_kernel_is_light(module: str) -> None:
    """A fresh interpreter that imports the kernel, or the names of the backends, has loaded nothing of the others."""
    script = f"import sys, {module}; print(*sorted(sys.modules))"
    path = os.pathsep.join(str(ROOT / root) for root in ("kernel", "backends"))

    listed = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert module in listed
    assert HEAVY & {name.partition(".")[0] for name in listed} == set()


def test_no_module_imports_itself_on_a_detour() -> None:
    """There is no import circle in any root, not even among the imports that only type checkers see: import-linter
    holds the order of the packages, and looks into no package but the kernel."""
    modules = modules_in(*(root for root in ROOTS if root != GENERATED))

    assert {"flujo.cli.text", "flujo.client.client", "flujo.kernel.kernel"} <= set(modules)
    assert circle_in(graph_of(modules)) == []


def test_no_part_takes_threads_of_the_application() -> None:
    """In those of anyio's default limiter a web framework runs its plain `def` endpoints; whoever waits there for
    a call that needs one of them waits for ever. Every call of `to_thread.run_sync` names a limiter of its own."""
    taking = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules_in(*(root for root in ROOTS if root != GENERATED)).values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "run_sync"
        if "limiter" not in {given.arg for given in node.keywords}
    ]

    assert taking == []


def test_everything_the_kernel_exports_is_there() -> None:
    """The package's own file is its table of contents: each name in it can be imported, and names a public thing."""
    import flujo.kernel

    assert {"Kernel", "Context", "RetryPolicy", "StateBackend", "WorkflowState"} <= set(flujo.kernel.__all__)
    assert all(getattr(flujo.kernel, name).__module__.startswith("flujo.kernel.") for name in _classes(flujo.kernel))
    assert callable(flujo.kernel.step)
    assert callable(flujo.kernel.workflow)
    with pytest.raises(AttributeError, match="has no attribute 'Kernal'"):
        flujo.kernel.Kernal  # type: ignore[attr-defined]


def _classes(module: ModuleType) -> list[str]:
    return [name for name in module.__all__ if isinstance(getattr(module, name), type)]


@pytest.mark.parametrize("package", ["kernel/flujo/kernel", "backends/flujo/backends"])
def test_names_for_type_checkers_are_those_for_the_interpreter(package: str) -> None:
    """A package that imports a name when it is used says twice where the name is, and both times the same."""
    module = importlib.import_module(package.partition("/")[2].replace("/", "."))
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    typed = {
        name.name: str(statement.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom) and statement.level == 1
        for name in statement.names
    }

    assert typed == module._MODULES
