"""A file that a task has not found is told by its name, with the folder its path counts from."""

from __future__ import annotations

import errno
from pathlib import Path

import anyio
import pytest

from flujo.workflows.missing_files import told_of_missing


def told(error: FileNotFoundError, workspace: Path, **places: str) -> FileNotFoundError:
    """Return the error that a run records."""
    return anyio.run(told_of_missing, error, workspace, places)


def missing(path: Path) -> FileNotFoundError:
    """Return what the system says of a file."""
    return FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))


def test_a_file_is_named_as_it_counts_from_the_workspace(tmp_path: Path) -> None:
    """Whether the workspace is a link or not."""
    workspace = tmp_path / "real"
    workspace.mkdir()
    (tmp_path / "link").symlink_to(workspace)

    through = told(missing(workspace / "a" / "b.txt"), tmp_path / "link")

    assert str(through) == f"there is no 'a/b.txt' in the workspace, {workspace}"
    assert str(told(missing(Path("/nowhere/x")), workspace)) == "there is no '/nowhere/x'"


@pytest.mark.parametrize(
    ("place", "where"),
    [("start_dir", "where the run was started"), ("workflow_dir", "beside the workflow's file")],
)
def test_one_that_lies_elsewhere_is_told_with_what_to_type(place: str, where: str, tmp_path: Path) -> None:
    """Where the run was started comes first."""
    (tmp_path / "a.csv").touch()
    workspace = tmp_path / "workspace"

    error = told(missing(workspace / "a.csv"), workspace, **{place: str(tmp_path)})

    way = f"write '{{{{ {place} }}}}/a.csv' with `allow_outside: true`"
    assert str(error) == f"there is no 'a.csv' in the workspace, {workspace}; there is one {where}: {way}"


def test_an_error_that_says_more_stays_as_it_is(tmp_path: Path) -> None:
    """One of a task's own, or of another kind."""
    own = FileNotFoundError("there is no command 'x' on the PATH")

    assert told(own, tmp_path) is own
