"""The rooms of the kernel: which module may import which, computed from every import there is.

The graph here has the imports under TYPE_CHECKING and inside of functions as well. import-linter holds the order of the
rooms too (pyproject.toml); this test also finds circles inside of a room, and says which arrows make one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "kernel" / "flujo" / "kernel"
PACKAGE = "flujo.kernel"

FLOORS = ("journal", "store", "execution", "ownership")
"""The rooms, from the lowest to the highest."""

BASE = (
    *(
        "errors",
        "durations",
        "clock",
        "forks",
        "keys",
        "loops",
        "outcomes",
        "owners",
        "principals",
        "trust",
        "values",
        "json_core",
    ),
    *(
        "codecs",
        "shapes",
        "lifetimes",
        "interrupts",
        "loop_threads",
        "reading_ahead",
        "checked_calls",
        "traces",
        "forwarding",
        "json_core",
    ),
)
"""What every room may stand on: modules below the rooms."""

Graph = Mapping[str, frozenset[str]]


def modules_in(*roots: str) -> dict[str, Path]:
    """Every module of these roots by its dotted name, packages by the name of their folder."""
    found: dict[str, Path] = {}
    for root in roots:
        for path in (ROOT / root / "flujo").rglob("*.py"):
            parts = path.relative_to(ROOT / root).with_suffix("").parts
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


def _modules() -> dict[str, Path]:
    return modules_in("kernel")


def _imports(name: str, path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                target = f"{source}.{alias.name}"
                yield target if target in modules else source
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def graph_of(modules: Mapping[str, Path]) -> Graph:
    """Each of these modules with those of them that it imports, at any time and for any reason."""
    return {
        name: frozenset(each for each in _imports(name, path, modules) if each in modules and each != name)
        for name, path in modules.items()
    }


def circle_in(graph: Graph) -> list[str]:
    """The modules of one import circle, or none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def floor_of(module: str) -> int:
    """The number of a module's floor: 0 below the rooms, then the rooms, and above them what stands on all rooms."""
    room = module.removeprefix(f"{PACKAGE}.").partition(".")[0]
    if room in BASE:
        return 0
    return 1 + FLOORS.index(room) if room in FLOORS else 1 + len(FLOORS)


def climbs_in(graph: Graph) -> list[str]:
    """Every import of a module that stands on a higher floor."""
    return [
        f"{name} -> {target}"
        for name, targets in sorted(graph.items())
        for target in sorted(targets)
        if target != PACKAGE and floor_of(target) > floor_of(name)
    ]


def test_no_module_of_the_kernel_imports_itself_on_a_detour() -> None:
    """There is no import circle, not even among the imports that only type checkers see."""
    assert circle_in(graph_of(_modules())) == []


def test_no_room_knows_a_room_above_it() -> None:
    """Arrows go down only: ownership, execution, store, journal, and what stands below them all."""
    assert climbs_in(graph_of(_modules())) == []


def test_every_module_stands_in_a_room_or_says_what_it_offers() -> None:
    """Beside the rooms stand what all rooms stand on, modules that say in `__all__` what they offer, and the top."""
    beside = {path.stem for path in KERNEL.glob("*.py")} - {"__init__", *BASE}
    offering = {stem for stem in beside if "__all__" in (KERNEL / f"{stem}.py").read_text()}

    assert beside - offering == {"kernel", "observer"}


@pytest.mark.parametrize(
    ("planted", "circle", "climbs"),
    [
        pytest.param("flujo.kernel.kernel", True, 1, id="up to the top"),
        pytest.param("flujo.kernel.ownership.timers", True, 1, id="up, and in a circle with it"),
        pytest.param("flujo.kernel.store.integrity", True, 0, id="beside, in a circle"),
        pytest.param("flujo.kernel.errors", False, 0, id="down"),
    ],
)
def test_a_planted_arrow_is_found(planted: str, circle: bool, climbs: int) -> None:
    """The graph tells an import that goes up, and one that closes a circle, from one that may be there."""
    graph = dict(graph_of(_modules()))
    module = "flujo.kernel.store.backend"
    graph[module] = graph[module] | {planted}

    assert len(climbs_in(graph)) == climbs
    assert (circle_in(graph) != []) == circle
