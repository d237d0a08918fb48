"""Which tests a mutant is tried on, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutation.changes import Change
from mutation.record import IMPORTED, Record, TimedTest, digest
from mutation.sampling import Mutant
from mutation.trial import batches, nearness

PATH = "kernel/flujo/kernel/journal/fold.py"


def mutant(line: int, statement: int | None = None) -> Mutant:
    """A change of one line."""
    return Mutant(PATH, Change(0, 0, "", line, statement or line, "constant"))


@pytest.mark.parametrize(
    ("nearer", "farther"),
    [
        ("tests/kernel/journal/test_fold.py", "tests/kernel/journal/test_state.py"),
        ("tests/kernel/journal/test_state.py", "tests/kernel/test_keys.py"),
        ("tests/kernel/test_keys.py", "tests/cli/test_db.py"),
    ],
)
def test_a_file_of_tests_is_near_by_its_name(nearer: str, farther: str) -> None:
    """First the one that bears the module's name, then those of its room, then those of its package."""
    assert nearness(PATH, nearer) > nearness(PATH, farther)


def test_near_and_quick_tests_come_first_and_batches_grow() -> None:
    """A near test that takes long waits for all the quick ones."""
    far = [TimedTest(f"tests/cli/test_db.py::test_{number}", 3.0) for number in range(30)]
    near, slow = (
        TimedTest("tests/kernel/journal/test_fold.py::test_a", 4.0),
        TimedTest("tests/kernel/journal/test_fold.py::b", 60.0),
    )

    made = list(batches(mutant(1), [*far, slow, near]))

    assert made[0][0] == near
    assert made[-1][-1] == slow
    assert sorted(len(each) for each in made) == [1, 6, 25]
    assert {test for batch in made for test in batch} == {*far, near, slow}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    file = tmp_path / PATH
    file.parent.mkdir(parents=True)
    file.write_text("as it was")
    return tmp_path


@pytest.fixture
def record(tree: Path) -> Record:
    """Of a file whose first line ran when it was imported, and the others in one test each."""
    tests = {name: TimedTest(name, 1.0) for name in ("a", "b", "c")}
    return Record(tests, {PATH: digest(tree / PATH)}, {PATH: {1: ["a", IMPORTED], 2: ["b"], 3: ["c"], 4: ["gone"]}})


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (mutant(2), "b"),
        (mutant(3, statement=2), "bc"),
        (mutant(1), "abc"),
        (mutant(9), "abc"),
    ],
)
def test_the_tests_that_run_the_statement_are_asked(record: Record, tree: Path, changed: Mutant, names: str) -> None:
    """All tests of the file, if the statement runs at its import or in no test; none that is gone."""
    assert [test.name for test in record.running(changed, tree)] == list(names)


def test_of_a_file_that_has_changed_since_all_tests_are_asked(record: Record, tree: Path) -> None:
    """Its lines are others now."""
    (tree / PATH).write_text("as it is")

    assert [test.name for test in record.running(mutant(2), tree)] == ["a", "b", "c"]
