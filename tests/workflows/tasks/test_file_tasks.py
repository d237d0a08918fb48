"""The tasks that read, write, move and list files, run by `flujoctl run`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workflows.tasks.conftest import Runs


@pytest.fixture
def workspace(runs: Runs) -> Path:
    """The workspace of the run to come."""
    runs.workspace.mkdir(parents=True)
    return runs.workspace


def test_a_file_is_read_as_text_or_in_the_words_of_other_engines(runs: Runs) -> None:
    """`path` gives the text, `file` what those files go on with."""
    results = runs.results("""
        - {name: write, task: write_file, inputs: {file: out/a.txt, content: "Zoë\\n"}}
        - {name: text, task: read_file, inputs: {path: out/a.txt}}
        - {name: both, task: read_file, inputs: {file: out/a.txt}}
        - {name: last, task: echo, inputs: {message: "{{ steps.both.result.content | trim }}!"}}
    """)

    path = str(runs.workspace / "out/a.txt")
    assert results["write"] == {"path": path, "size": 5}
    assert results["text"] == "Zoë\n"
    assert results["both"] == {"path": path, "content": "Zoë\n"}
    assert results["last"] == "Zoë!"


@pytest.mark.parametrize("task", ["read_json", "write_json", "append_file", "delete_file"])
def test_a_path_is_given_in_one_spelling_only(task: str, runs: Runs) -> None:
    """Both are refused before anything runs, and so is neither."""
    needs = {"write_json": "data: 1, ", "append_file": "content: 1, "}.get(task, "")
    both = runs.refusal(f"- {{name: a, task: {task}, inputs: {{{needs}path: x, file: y}}}}")
    neither = runs.refusal(f"- {{name: a, task: {task}, inputs: {{{needs}allow_outside: false}}}}")

    assert f"flow.yaml:3:21: task `{task}` takes `path` or `file`, not both" in both
    assert f"task `{task}` needs the input `path`" in neither


def test_bytes_that_are_no_text_are_told_with_what_to_do(runs: Runs, workspace: Path) -> None:
    """Another encoding reads them, or they are replaced."""
    (workspace / "a.txt").write_bytes(b"ol\xe9")

    type, message = runs.error("- {name: read, task: read_file, inputs: {path: a.txt}}")
    runs.flujoctl("delete", "r", "--yes")
    workspace.mkdir(parents=True)
    (workspace / "a.txt").write_bytes(b"ol\xe9")
    results = runs.results("""
        - {name: latin, task: read_file, inputs: {path: a.txt, encoding: latin-1}}
        - {name: replaced, task: read_file, inputs: {path: a.txt, errors: replace}}
    """)

    assert type == "NotTextError"
    assert message == (
        f"'{workspace}/a.txt' is not utf-8 text: its byte 3 cannot be read; give its `encoding`, or `errors: replace`"
    )
    assert results == {"latin": "olé", "replaced": "ol\ufffd"}


def test_data_goes_to_json_and_yaml_and_comes_back(runs: Runs) -> None:
    """With its types, the order of its keys, and texts that look like something else."""
    results = runs.results("""
        - name: data
          task: echo
          inputs: {message: {z: 1, a: [true, null, 1.5, "no", "Zoë", "1:30", "2026-01-01", "25921e05"]}}
        - {name: json, task: write_json, inputs: {file: a.json, data: "{{ steps.data.result }}"}}
        - {name: yaml, task: write_yaml, inputs: {file: a.yaml, data: "{{ steps.data.result }}"}}
        - {name: from-json, task: read_json, inputs: {file: a.json}}
        - {name: from-yaml, task: read_yaml, inputs: {file: a.yaml}}
    """)

    data = {"z": 1, "a": [True, None, 1.5, "no", "Zoë", "1:30", "2026-01-01", "25921e05"]}
    assert results["from-json"] == {"path": str(runs.workspace / "a.json"), "data": data}
    assert results["from-yaml"]["data"] == data
    assert list(results["from-yaml"]["data"]) == ["z", "a"]
    assert (runs.workspace / "a.json").read_text().startswith('{\n  "z": 1,\n')
    assert "Zoë" in (runs.workspace / "a.yaml").read_text()


@pytest.mark.parametrize(
    ("task", "text", "told"),
    [
        ("read_json", '{"a": 1,\n oops}', "a.data:2:2: this is not JSON: Expecting property name"),
        ("read_json", '{"a": NaN}', "a.data: this is not JSON: JSON has no NaN"),
        ("read_json", "[" * 100_000, "a.data: this JSON nests too deeply"),
        ("read_yaml", "a: 1\na: 2\n", "a.data:2:1: "),
        ("read_yaml", "[" * 5_000, "a.data:1:1001: "),
        ("read_yaml", "!!python/object/apply:os.getcwd []", "a.data:1:1: "),
    ],
)  # fmt: skip
def test_a_file_that_does_not_hold_data_is_told_with_the_place(
    task: str, text: str, told: str, runs: Runs, workspace: Path
) -> None:
    """Line and column, where there are any."""
    (workspace / "a.data").write_text(text)

    _, message = runs.error(f"- {{name: read, task: {task}, inputs: {{path: a.data}}}}")

    assert told in message


def test_text_is_appended(runs: Runs) -> None:
    """To a file that is made when it is not there; what is no text is JSON."""
    results = runs.results("""
        - {name: one, task: append_file, inputs: {file: log/a, content: "x\\n"}}
        - {name: two, task: append_file, inputs: {path: log/a, content: [1]}}
    """)

    assert (runs.workspace / "log/a").read_text() == "x\n[1]"
    assert [results["one"]["size"], results["two"]["size"]] == [2, 5]


def test_files_are_copied_and_moved_to_a_path_or_into_a_folder(runs: Runs, workspace: Path) -> None:
    """The mode of a copy is that of its source; what was in the place before is replaced as a whole."""
    (workspace / "tool").write_text("#!/bin/sh\n")
    (workspace / "tool").chmod(0o750)
    (workspace / "bin").mkdir()
    (workspace / "bin/tool").write_text("old")

    results = runs.results("""
        - {name: copy, task: copy_file, inputs: {source: tool, destination: bin}}
        - {name: new, task: copy_file, inputs: {source: tool, destination: made/here/}}
        - {name: move, task: move_file, inputs: {source: tool, destination: kept/renamed}}
    """)

    assert results["copy"] == {"source": f"{workspace}/tool", "destination": f"{workspace}/bin/tool", "size": 10}
    assert (workspace / "bin/tool").read_text() == "#!/bin/sh\n"
    assert (workspace / "bin/tool").stat().st_mode & 0o777 == 0o750
    assert results["new"]["destination"] == f"{workspace}/made/here/tool"
    assert results["move"] == {"source": f"{workspace}/tool", "destination": f"{workspace}/kept/renamed"}
    assert sorted(path.name for path in workspace.iterdir()) == ["bin", "kept", "made"]


def test_a_file_is_deleted(runs: Runs, workspace: Path) -> None:
    """One that is not there only when that may be."""
    (workspace / "a").write_text("")

    results = runs.results("""
        - {name: gone, task: delete_file, inputs: {file: a}}
        - {name: again, task: delete_file, inputs: {file: a, missing_ok: true}}
    """)

    assert results["gone"] == {"path": f"{workspace}/a", "deleted": True}
    assert results["again"] == {"path": f"{workspace}/a", "deleted": False}


@pytest.mark.parametrize(
    ("inputs", "type"),
    [
        ("task: delete_file, inputs: {path: nowhere}", "FileNotFoundError"),
        ("task: delete_file, inputs: {path: sub}", "IsADirectoryError"),
        ("task: delete_file, inputs: {path: sub/..}", "IsADirectoryError"),
        ("task: move_file, inputs: {source: nowhere, destination: x}", "FileNotFoundError"),
        ("task: move_file, inputs: {source: sub, destination: x}", "IsADirectoryError"),
        ("task: move_file, inputs: {source: pipe, destination: x}", "NotAFileError"),
        ("task: copy_file, inputs: {source: pipe, destination: x}", "NotAFileError"),
        ("task: copy_file, inputs: {source: a, destination: pipe}", "NotAFileError"),
        ("task: append_file, inputs: {path: pipe, content: x}", "NotAFileError"),
        ("task: append_file, inputs: {path: a, content: é, encoding: ascii}", "UnicodeEncodeError"),
        ("task: list_files, inputs: {path: nowhere}", "FileNotFoundError"),
        ("task: list_files, inputs: {path: a}", "NotADirectoryError"),
        ("task: read_file, inputs: {path: a, encoding: nonsense}", "LookupError"),
    ],
)
def test_what_cannot_be_done_with_a_file_fails_with_its_own_error(
    inputs: str, type: str, runs: Runs, workspace: Path
) -> None:
    """And nothing is changed."""
    (workspace / "a").write_text("a")
    (workspace / "sub").mkdir()
    os.mkfifo(workspace / "pipe")

    assert runs.error(f"- {{name: do, {inputs}}}")[0] == type
    assert sorted(path.name for path in workspace.iterdir()) == ["a", "pipe", "sub"]


OUTSIDE = (
    ("read_json", "path: {}"),
    ("write_json", "path: {}, data: 1"),
    ("read_yaml", "path: {}"),
    ("write_yaml", "path: {}, data: 1"),
    ("append_file", "path: {}, content: x"),
    ("delete_file", "path: {}"),
    ("copy_file", "source: {}, destination: x"),
    ("copy_file", "source: own, destination: {}"),
    ("move_file", "source: {}, destination: x"),
    ("move_file", "source: own, destination: {}"),
    ("read_file", "file: {}"),
)


@pytest.mark.parametrize("path", ["../../../secret.txt", "{folder}/secret.txt", "way/secret.txt"])
@pytest.mark.parametrize(("task", "inputs"), OUTSIDE, ids=lambda value: str(value).split(",")[0])
def test_no_task_leaves_the_workspace(task: str, inputs: str, path: str, runs: Runs, workspace: Path) -> None:
    """Neither upwards, nor by an absolute path, nor through a link."""
    (runs.folder / "secret.txt").write_text("kept")
    (workspace / "way").symlink_to(runs.folder)
    (workspace / "own").write_text("own")
    written = inputs.format(path.format(folder=runs.folder))

    assert runs.error(f"- {{name: do, task: {task}, inputs: {{{written}}}}}")[0] == "OutsideWorkspaceError"
    assert (runs.folder / "secret.txt").read_text() == "kept"


def test_a_link_is_deleted_and_moved_itself(runs: Runs, workspace: Path) -> None:
    """What it leads to stays where it is."""
    (workspace / "target").write_text("kept")
    (workspace / "one").symlink_to("target")
    (workspace / "two").symlink_to("target")

    runs.results("""
        - {name: delete, task: delete_file, inputs: {path: one}}
        - {name: move, task: move_file, inputs: {source: two, destination: three}}
    """)

    assert sorted(path.name for path in workspace.iterdir()) == ["target", "three"]
    assert (workspace / "three").is_symlink()


def test_what_is_allowed_to_leave_the_workspace_does(runs: Runs) -> None:
    """With `allow_outside`, as everywhere."""
    (runs.folder / "a").write_text("a")

    runs.results(
        "- {name: c, task: copy_file, inputs: {source: ../../../a, destination: ../../../b, allow_outside: true}}"
    )

    assert (runs.folder / "b").read_text() == "a"


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ("", ["a.txt", "b.csv"]),
        ("path: sub", ["c.csv"]),
        ("pattern: '*.csv'", ["b.csv"]),
        ("pattern: '*.csv', recursive: true", ["b.csv", "sub/c.csv", "sub/deep/d.csv"]),
        ("pattern: '**/*.csv'", ["b.csv", "sub/c.csv", "sub/deep/d.csv"]),
        ("pattern: 'sub/*.csv'", ["sub/c.csv"]),
        ("pattern: 'sub/**/?.csv'", ["sub/c.csv", "sub/deep/d.csv"]),
        ("pattern: '.*'", [".hidden"]),
        ("pattern: nothing", []),
    ],
)
def test_files_are_listed_by_a_pattern(inputs: str, found: list[str], runs: Runs, workspace: Path) -> None:
    """Sorted, as seen from the folder; a loop of links ends."""
    (workspace / "sub/deep").mkdir(parents=True)
    for name in ("a.txt", "b.csv", ".hidden", "sub/c.csv", "sub/deep/d.csv"):
        (workspace / name).write_text("")
    (workspace / "sub/round").symlink_to(workspace)

    results = runs.results(f"- {{name: list, task: list_files, inputs: {{{inputs}}}}}")

    assert results["list"]["files"] == found
    assert results["list"]["count"] == len(found)


def test_a_move_that_was_interrupted_after_it_was_made_counts_as_done(runs: Runs, workspace: Path) -> None:
    """The second attempt finds it done; so does that of a deletion. A first attempt does not take it so."""
    (workspace / "b").write_text("b")

    results = runs.results("""
        - {name: move, task: move_file, retry: {max_attempts: 2, delay: 0}, inputs: {source: a, destination: b}}
        - {name: delete, task: delete_file, retry: {max_attempts: 2, delay: 0}, inputs: {path: a}}
    """)

    assert results["move"] == {"source": f"{workspace}/a", "destination": f"{workspace}/b"}
    assert results["delete"]["deleted"] is False
    assert [step["attempt"] for step in runs.state()["steps"]] == [2, 2]


def test_a_template_goes_to_a_file_whose_name_is_a_template(runs: Runs) -> None:
    """In either spelling, and from a file beside the workflow's."""
    (runs.folder / "page.j2").write_text("dear {{ args.name }}")
    results = runs.results(
        """
        - {name: text, task: template, inputs: {template: "hello {{ name }}", output_file: "{{ args.name }}.txt"}}
        - {name: file, task: template, inputs: {file: page.j2, output: "letters/{{ name }}.txt"}}
        """,
        "name=Zoë",
        top="params: {name: {type: string}}",
    )

    assert results["text"] == {"path": str(runs.workspace / "Zoë.txt"), "size": 10}
    assert (runs.workspace / "Zoë.txt").read_text(encoding="utf-8") == "hello Zoë"
    assert (runs.workspace / "letters/Zoë.txt").read_text(encoding="utf-8") == "dear Zoë"
