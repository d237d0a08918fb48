"""Samples of changes over a tree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mutation.changes import Change
from mutation.sampling import Mutant, draw, product_files

ROOT = Path(__file__).parents[2]
SETTINGS = '[tool.coverage.run]\nsource = ["lib", "more"]\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two roots, one of which is much larger."""
    for path, count in (("lib/flujo/large.py", 90), ("more/flujo/part/small.py", 10), ("tests/test_a.py", 50)):
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.write_text("".join(f"x{number} = {number}\n" for number in range(count)))
    (tmp_path / "pyproject.toml").write_text(SETTINGS)
    return tmp_path


def test_a_seed_draws_the_same_sample_and_another_one_does_not(tree: Path) -> None:
    """No mutant is in a sample twice."""
    first, again, other = draw(tree, 20, 1), draw(tree, 20, 1), draw(tree, 20, 2)

    assert first == again
    assert set(first) != set(other)
    assert len(set(first)) == 20


def test_larger_files_are_drawn_more_often(tree: Path) -> None:
    """By their size; all that there is, is drawn once."""
    assert Counter(each.path for each in draw(tree, 1000, 1)) == {
        "lib/flujo/large.py": 90,
        "more/flujo/part/small.py": 10,
    }
    assert Counter(each.package for each in draw(tree, 50, 3))[""] > 35


def test_a_sample_keeps_to_a_part(tree: Path) -> None:
    """Where the paths begin as asked."""
    assert {each.package for each in draw(tree, 1000, 1, ["more/flujo/"])} == {"part"}


def test_the_product_is_all_that_coverage_measures_but_tests_for_others() -> None:
    """Every package of ours is there, and neither the tests nor what is generated."""
    found = set(product_files(ROOT))

    assert {"kernel/flujo/kernel/kernel.py", "cli/flujoctl.py", "backends/flujo/backends/memory.py"} <= found
    assert not any(part in path for path in found for part in ("tests/", "proto/", "conformance"))


def test_a_mutant_shows_its_line_before_and_after(tree: Path) -> None:
    """Without anything around it."""
    (mutant,) = (each for each in draw(tree, 1000, 1) if each.place == "lib/flujo/large.py:4")

    assert mutant.diff(tree) == "-x3 = 3\n+x3 = 4"


@pytest.mark.parametrize(
    ("path", "package"),
    [
        ("kernel/flujo/kernel/kernel.py", "kernel"),
        ("kernel/flujo/kernel/journal/fold.py", "kernel/journal"),
        ("cli/flujo/cli/commands/db/info.py", "cli/commands"),
        ("cli/flujoctl.py", "cli"),
    ],
)
def test_a_package_is_named_by_two_folders(path: str, package: str) -> None:
    """Numbers are told for each."""
    assert Mutant(path, Change(0, 0, "", 1, 1, "constant")).package == package
