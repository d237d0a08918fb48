"""The layout of the repository: several roots, one namespace `flujo`, and tests that mirror the code."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
ROOTS: list[str] = BUILD["dev-mode-dirs"]
KERNEL, TESTS = ROOT / "kernel" / "flujo" / "kernel", ROOT / "tests" / "kernel"
GENERATED = "proto"
"""The root whose code nobody writes by hand, checks for style or measures."""


def test_no_marker_turns_the_namespace_into_a_package() -> None:
    """An `__init__.py` in a root or in its `flujo` folder would hide every other root."""
    markers = [ROOT / root / file for root in ROOTS for file in ("__init__.py", "flujo/__init__.py")]

    assert [str(marker) for marker in markers if marker.exists()] == []
    assert not (ROOT / "__init__.py").exists()


def test_every_portion_is_typed() -> None:
    """Type checkers believe the annotations of a portion only if it holds `py.typed`."""
    portions = [portion for root in ROOTS for portion in (ROOT / root / "flujo").iterdir() if any(portion.glob("*.py"))]

    assert portions
    assert [str(portion) for portion in portions if not (portion / "py.typed").is_file()] == []


def test_the_wheel_holds_what_the_editable_install_shows() -> None:
    """Each root is in both lists of pyproject.toml, and the wheel has `flujo` and the entry point at its top only."""
    packages = BUILD["targets"]["wheel"]["packages"]

    assert [package.removesuffix("/flujo") for package in packages if package.endswith("/flujo")] == ROOTS
    assert [package for package in packages if not package.endswith("/flujo")] == ["cli/flujoctl.py"]


@pytest.mark.parametrize("folder", [*ROOTS, "tests", "docs", "examples", "bench"])
def test_the_folders_exist(folder: str) -> None:
    """The folders that the Makefile and the documentation name are there."""
    assert (ROOT / folder).is_dir()


@pytest.mark.parametrize("root", ROOTS)
def test_the_tests_mirror_the_code(root: str) -> None:
    """Every root has a folder of tests of the same name, with no code that is not in a test's reach."""
    assert (ROOT / "tests" / root).is_dir()


def test_every_module_of_the_kernel_has_a_test_of_its_name() -> None:
    """In the folder of its room. A module without functions declares or hands on what others test, and one file holds
    what is true of all errors."""
    modules = [path.relative_to(KERNEL) for path in KERNEL.rglob("*.py") if path.name != "__init__.py"]
    modules = [Path("errors.py") if path.parent == Path("errors") else path for path in modules]
    expected = [
        path.with_name(f"test_{path.name}")
        for path in modules
        if path == Path("errors.py") or has_functions(KERNEL / path)
    ]

    assert len(expected) > 30
    assert [str(path) for path in expected if not (TESTS / path).is_file()] == []


def test_a_room_of_tests_holds_the_tests_of_its_modules_only() -> None:
    """What takes several modules together stands above the rooms, in a file named after the behaviour."""
    rooms = [path for path in KERNEL.iterdir() if (path / "__init__.py").is_file()]
    tests = [path.relative_to(TESTS) for room in rooms for path in (TESTS / room.name).glob("test_*.py")]

    assert len(rooms) >= 5
    assert [str(path) for path in tests if not (KERNEL / path.with_name(path.name[5:])).is_file()] == []


def has_functions(module: Path) -> bool:
    """True if a module defines a function or a method."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))


def test_every_tool_looks_into_every_root() -> None:
    """mypy, pytest, ruff and coverage are told of the same roots as the build; what is generated they only import."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    importing = [
        tools["mypy"]["mypy_path"],
        tools["pyright"]["extraPaths"],
        tools["pytest"]["ini_options"]["pythonpath"],
        tools["ruff"]["src"],
    ]
    judging = [tools["mypy"]["files"], tools["coverage"]["run"]["source"]]

    assert all(set(ROOTS) <= set(each) for each in importing)
    assert all(set(ROOTS) - {GENERATED} <= set(each) for each in judging)
    assert not any(GENERATED in each for each in judging)


def test_every_decision_has_a_number_of_its_own() -> None:
    """The number is in the name of the file and in its heading, from 1 on without a gap."""
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    headings = [path.read_text(encoding="utf-8").partition(". ")[0] for path in decisions]

    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    assert headings == [f"# {number}" for number in range(1, len(decisions) + 1)]
