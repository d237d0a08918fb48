"""What a definition imports: which files, in which order, as one text, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flujo.kernel.errors import DefinitionError
from flujo.workflows import load_workflow, load_workflow_text
from flujo.workflows.importing import MARK, MAX_FILES

STEP = "steps: [{{name: {0}, task: noop}}]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    """Files of these names, each with one step that is called as the file, and what else it says."""
    for name, says in files.items():
        (folder / f"{name}.yaml").write_text(f"name: {name}\n{says}\n{STEP.format(name)}")


def steps_of(path: Path | str) -> list[str]:
    """The steps of a file, with what it imports."""
    return [row[0] for row in load_workflow(Path(path)).plan or ()]


def problems_of(path: Path | str) -> list[str]:
    """What is wrong with a file."""
    with pytest.raises(DefinitionError) as refused:
        load_workflow(Path(path))
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize(
    "imports",
    ["a.yaml", "./a.yaml", "[a.yaml]", "{path: a.yaml}", "[{path: ./a.yaml}]", "[a.yaml, ../here/a.yaml, a.yaml]"],
)
def test_every_way_to_name_a_file_imports_it_once(tmp_path: Path, imports: str) -> None:
    """Its steps come first."""
    folder = tmp_path / "here"
    folder.mkdir()
    write(folder, a="", main=f"imports: {imports}")

    assert steps_of(folder / "main.yaml") == ["a", "main"]


def test_imports_of_imports_come_first_and_each_file_once(folder: Path) -> None:
    """In the order in which they are first named."""
    write(folder, d="", b="imports: d.yaml", c="imports: [d.yaml]", a="imports: [b.yaml, c.yaml]")

    assert steps_of("a.yaml") == ["d", "b", "c", "a"]


@pytest.mark.parametrize("form", ["{0}", "{{path: {0}}}", "[{{path: {0}}}]"])
def test_paths_count_from_the_file_that_names_them(folder: Path, form: str) -> None:
    """Whatever their form, in folders with spaces, and wherever the command is run; absolute ones stay absolute."""
    inner = folder / "with some spaces"
    outer = folder / "else where"
    inner.mkdir()
    outer.mkdir()
    write(folder, main="imports: " + form.format("with some spaces/a.yaml"))
    write(inner, a="imports: " + form.format("b.yaml"), b="imports: " + form.format(f'"{outer}/c.yaml"'))
    write(outer, c="imports: " + form.format("../d.yaml"))
    write(folder, d="")
    os.chdir(outer)

    assert steps_of(folder / "main.yaml") == ["d", "c", "b", "a", "main"]


def test_parameters_of_imported_files_are_those_of_the_workflow(folder: Path) -> None:
    """The importing file has the last word."""
    write(folder, a="params: {x: {default: 1}, y: {default: 2}}", main="imports: a.yaml\nparams: {y: {default: 3}}")

    assert load_workflow(folder / "main.yaml").check_inputs({}) == {"x": 1, "y": 3}


def test_a_file_may_do_nothing_but_import(folder: Path) -> None:
    """A workflow put together from others needs no step of its own, and an imported file no name."""
    (folder / "a.yaml").write_text(STEP.format("a"))
    (folder / "main.yaml").write_text("name: main\nimports: a.yaml\n")

    assert steps_of("main.yaml") == ["a"]


def test_a_round_of_imports_is_told_with_the_way(folder: Path) -> None:
    """Also that of a file which imports itself."""
    write(folder, a="imports: b.yaml", b="imports: c.yaml", c="imports: b.yaml", own="imports: own.yaml")

    assert problems_of("a.yaml") == ["c.yaml:2:10: these files import each other: b.yaml → c.yaml → b.yaml"]
    assert problems_of("own.yaml") == ["own.yaml:2:10: these files import each other: own.yaml → own.yaml"]


def test_a_mistake_is_told_where_it_stands(folder: Path) -> None:
    """In the imported file, seen from where the command is run; a step of both is told with the other place."""
    write(folder, a="retyr: 3", main="imports: a.yaml")
    (folder / "b.yaml").write_text("steps:\n  - {name: a, task: nop}\n  - {name: main, task: noop}\n")
    write(folder, both="imports: b.yaml")
    (folder / "both.yaml").write_text("name: both\nimports: b.yaml\nsteps: [{name: main, task: noop}]\n")

    assert problems_of(folder / "main.yaml")[0].startswith(f"{folder}/a.yaml:2:1: the top level has no key `retyr`")
    assert problems_of("both.yaml") == [
        "both.yaml:3:16: there are two steps called `main`, the first one in b.yaml:3",
        "b.yaml:2:21: there is no task `nop`; did you mean `noop`?",
    ]


@pytest.mark.parametrize(
    ("imports", "told"),
    [
        (
            "nothing.yaml",
            "2:10: the imported file `nothing.yaml` does not exist; it was looked for as {0}/nothing.yaml",
        ),
        ("[.]", "2:11: the imported file `.` is not a file"),
        ("pipe", "2:10: the imported file `pipe` is not a file"),
        ("binary", "2:10: the imported file `binary` is not UTF-8 text"),
        ("list.yaml", "list.yaml:1:1: an imported file is a mapping with `steps`, not a list"),
        ("text.yaml", 'text.yaml:1:8: `steps` must be a list of steps, or a mapping of their names, not the text "x"'),
        ("empty.yaml", "empty.yaml:1:1: the file is empty"),
        ("[{file: a.yaml}]", "2:11: an import needs `path`"),
        ("[3]", "2:11: an import is the path of a file, as in [common.yaml], not the number 3"),
        ('["a\\0b"]', '2:11: an import is the path of a file, as in [common.yaml], not the text "a\\u0000b"'),
        ("''", '2:10: an import is the path of a file, as in [common.yaml], not the text ""'),
        ("loop/loop/main.yaml", "2:10: these files import each other: main.yaml → main.yaml"),
    ],
)
def test_what_cannot_be_imported_is_told_by_its_name(folder: Path, imports: str, told: str) -> None:
    """And at the place that names it."""
    os.mkfifo("pipe")
    (folder / "binary").write_bytes(b"\xff\xfe")
    (folder / "list.yaml").write_text("- a\n")
    (folder / "text.yaml").write_text("steps: x\n")
    (folder / "empty.yaml").write_text("")
    (folder / "loop").symlink_to(".")
    write(folder, main=f"imports: {imports}")

    problems = problems_of("main.yaml")

    expected = told.format(folder)
    if expected[0].isdigit():
        expected = f"main.yaml:{expected}"
    assert expected in problems or any(problem.endswith(expected) for problem in problems)


def test_all_files_together_are_bounded(folder: Path) -> None:
    """In number and in size, as one file is."""
    many = [f"a{number}" for number in range(MAX_FILES)]
    write(folder, **dict.fromkeys(many, ""), many=f"imports: [{', '.join(f'{name}.yaml' for name in many)}]")
    write(folder, big="#" * 200_000, bigger="#" * 200_000, large="imports: [big.yaml, bigger.yaml]")
    write(
        folder, **{f"n{number}": "labels: {" + ", ".join(f"l{n}: x" for n in range(2_500)) + "}" for number in (1, 2)}
    )
    write(folder, nodes="imports: [n1.yaml, n2.yaml]")

    assert problems_of("many.yaml")[0].endswith("a definition has at most 50 files, with all it imports")
    assert problems_of("large.yaml") == ["large.yaml:2:21: the file and what it imports are larger than 256 KiB"]
    assert problems_of("nodes.yaml") == ["nodes.yaml:2:20: the file and what it imports have more than 10000 nodes"]


def test_one_text_holds_all_files_and_is_read_without_any(folder: Path) -> None:
    """As a run stores it and a server is sent it; the same text makes the same text."""
    (folder / "link").symlink_to(".")
    write(folder, a="# ünï #!file 3", main="imports: [a.yaml, link/a.yaml]")
    stored = load_workflow(folder / "main.yaml").definition
    assert stored is not None
    (folder / "a.yaml").unlink()

    again = load_workflow_text(stored.text, "/elsewhere/main.yaml")

    assert stored.text.startswith(MARK)
    assert [row[0] for row in again.plan or ()] == ["a", "main"]
    assert again.definition == stored


def test_the_text_is_the_same_wherever_the_files_lie(tmp_path: Path) -> None:
    """So that a run goes on on another machine, and from another folder, as with an unchanged file."""
    digests = set()
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        write(tmp_path / place, a="", main="imports: a.yaml")
        digests.add(load_workflow(tmp_path / place / "main.yaml").definition)

    assert len(digests) == 1


@pytest.mark.parametrize("cut", [len(MARK) - 1, len(MARK), len(MARK) + 5, -3, -1])
def test_a_damaged_text_is_refused(folder: Path, cut: int) -> None:
    """Wherever it ends, and with anything behind it."""
    write(folder, a="", main="imports: a.yaml")
    stored = load_workflow(folder / "main.yaml").definition
    assert stored is not None

    for text in (
        stored.text[:cut] + "\n" * (cut == len(MARK) - 1),
        stored.text + "x",
        f'{MARK}#!file 9999999 "x"\nx\n',
    ):
        with pytest.raises(DefinitionError, match="damaged"):
            load_workflow_text(text, "main.yaml")


def test_a_text_that_lacks_a_file_says_which(folder: Path) -> None:
    """Nothing is read from the disk for it."""
    write(folder, a="", main="imports: a.yaml")
    text = (folder / "main.yaml").read_text()

    with pytest.raises(DefinitionError, match=r"main.yaml:2:10: the imported file `a.yaml` cannot be found: this text"):
        load_workflow_text(text, str(folder / "main.yaml"))
    with pytest.raises(DefinitionError, match=r"`a.yaml` is not among the files of this text"):
        load_workflow_text(f'{MARK}#!file {len(text)} "main.yaml"\n{text}\n', str(folder / "main.yaml"))
