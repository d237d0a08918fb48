"""What is named instead of a workflow's file: each is one line, the right code, and a command that helps."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from .conftest import Flujoctl


def a_folder(folder: Path) -> None:
    (folder / "place").mkdir()


def a_folder_with_workflows(folder: Path) -> None:
    (folder / "place").mkdir()
    for name in ("b.yml", "a.yaml", "notes.txt"):
        (folder / "place" / name).touch()


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "place")


def a_link_to_itself(folder: Path) -> None:
    (folder / "place").symlink_to("place")


def a_link_to_nothing(folder: Path) -> None:
    (folder / "place").symlink_to("nothing")


def a_file_above(folder: Path) -> None:
    (folder / "above").touch()
    (folder / "place").symlink_to("above/file")


def an_empty_file(folder: Path) -> None:
    (folder / "place").touch()


def a_binary_file(folder: Path) -> None:
    (folder / "place").write_bytes(bytes(range(256)))


NOT_FOUND = "error[source-not-found]: "


@pytest.mark.parametrize(
    ("make", "code", "line", "helps"),
    [
        (a_folder, 3, NOT_FOUND + "'place' is a folder, not a file", "flujoctl run FILE, or FILE.py:NAME"),
        (
            a_folder_with_workflows,
            3,
            NOT_FOUND + "'place' is a folder, not a file",
            "flujoctl run place/a.yaml",
        ),
        (
            a_pipe,
            3,
            NOT_FOUND + "'place' is a named pipe, not a file",
            "flujoctl run FILE, or FILE.py:NAME",
        ),
        (
            a_link_to_itself,
            3,
            NOT_FOUND + "'place' cannot be read: Too many levels of symbolic links",
            "ls -l place",
        ),
        (
            a_link_to_nothing,
            3,
            NOT_FOUND + "there is no file 'place'",
            "flujoctl run FILE, or FILE.py:NAME",
        ),
        (a_file_above, 3, NOT_FOUND + "'place' cannot be read: Not a directory", "ls -l place"),
        (an_empty_file, 2, "place:1:1: the file is empty", "flujoctl init  # puts a workflow to start from here"),
        (a_binary_file, 2, "place:2:1: the file is not UTF-8 text", "flujoctl run FILE, or FILE.py:NAME"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_no_workflow_file_says_what_to_type(
    make: Callable[[Path], None], code: int, line: str, helps: str, folder: Path, flujoctl: Flujoctl
) -> None:
    """A named pipe that nobody writes to, above all, is not waited for."""
    make(folder)

    ended = flujoctl("run", "place")

    assert ended.code == code
    assert line in ended.err.splitlines()
    assert f"try: {helps}" in ended.err.splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "sub/nigthly.yaml"),
        ("validate", "sub/nigthly.yaml"),
        ("run", "place", "--params-file", "sub/nightly.ymal"),
    ],
)
def test_a_slip_in_the_name_of_a_file_names_the_one_beside_it(
    arguments: Sequence[str], folder: Path, flujoctl: Flujoctl
) -> None:
    """The folder is looked at, and only files in it."""
    (folder / "sub" / "nigthly").mkdir(parents=True)
    (folder / "sub" / "nightly.yaml").touch()
    (folder / "place").write_text("name: w\nsteps: [{name: a, task: noop}]")

    ended = flujoctl(*arguments)

    assert ended.code == 3
    assert "; did you mean 'sub/nightly.yaml'?" in ended.out + ended.err


def test_a_device_is_read_as_far_as_a_definition_may_be_long(flujoctl: Flujoctl) -> None:
    """One that never ends is too large, one that holds nothing is empty."""
    endless, nothing = flujoctl("run", "/dev/zero"), flujoctl("run", "/dev/null")

    assert (endless.code, nothing.code) == (2, 2)
    assert "larger than" in endless.err
    assert "the file is empty" in nothing.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_who_may(folder: Path, flujoctl: Flujoctl) -> None:
    """Its owner and its mode tell."""
    (folder / "mine.yaml").touch(mode=stat.S_IWUSR)

    ended = flujoctl("run", "mine.yaml")

    assert ended.code == 3
    assert "try: ls -ld mine.yaml  # shows who may" in ended.err


@pytest.mark.parametrize("make", [a_folder, a_pipe], ids=["folder", "pipe"])
def test_a_python_file_is_looked_at_likewise(make: Callable[[Path], None], folder: Path, flujoctl: Flujoctl) -> None:
    """It is there, so nobody says that it is not."""
    make(folder)
    (folder / "place").rename(folder / "place.py")

    ended = flujoctl("run", "place.py:flow")

    assert ended.code == 3
    assert "not a file" in ended.err
    assert "try: " in ended.err


@pytest.mark.parametrize(
    ("text", "where"),
    [("def flow(:\n", "broken.py:1"), ("\n\n1 / 0\n", "broken.py:3"), ("raise SystemExit(3)\n", "broken.py:1")],
    ids=["syntax", "error", "exit"],
)
def test_a_file_that_cannot_be_imported_says_where_and_how_to_see_more(
    text: str, where: str, folder: Path, flujoctl: Flujoctl
) -> None:
    """The line in the user's own file, not in ours; and leaving the interpreter is no way to be imported."""
    (folder / "broken.py").write_text(text)

    ended = flujoctl("run", "broken.py:flow")

    assert ended.code == 2
    assert where in ended.err
    assert "try: flujoctl run broken.py:flow -vv  # shows the whole error" in ended.err


@pytest.mark.parametrize("make", [a_folder, a_pipe, a_link_to_itself], ids=["folder", "pipe", "loop"])
def test_validate_says_it_too(make: Callable[[Path], None], folder: Path, flujoctl: Flujoctl) -> None:
    """Among other files, and without waiting."""
    make(folder)

    ended = flujoctl("validate", "place")

    assert ended.code == 3
    assert ended.out.startswith("place: ") or ended.err.startswith("place: ")
