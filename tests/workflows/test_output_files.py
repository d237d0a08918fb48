"""Outputs of a command that go to a file: whole, in its place once the step has completed, and not before."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import anyio
import pytest

from flujo.kernel.execution.subprocesses import Children
from flujo.workflows.registry import TaskInputError
from flujo.workflows.tasks.files import NotAFileError, OutsideWorkspaceError
from flujo.workflows.tasks.output_files import OutputFiles
from flujo.workflows.tasks.shell import ShellError
from flujo.workflows.templates import TemplateError, render
from workflows.scripted import without_times
from workflows.test_tasks import Bench


@pytest.fixture
def bench(children: Children, tmp_path: Path) -> Bench:
    return Bench(children, tmp_path)


async def test_an_output_goes_to_a_file_as_a_whole(bench: Bench) -> None:
    """However much it is; the result names the path, the other output is as ever, and the log has none of it."""
    command = "head -c 3000000 /dev/zero | tr '\\0' x; echo told >&2"

    result = await bench.call("shell", command=command, stdout="lists/names.txt", max_output=1000)

    path = bench.workspace / "lists" / "names.txt"
    assert result == {"return_code": 0, "stdout_file": str(path), "stderr": "told\n"}
    assert path.stat().st_size == 3_000_000
    assert without_times(bench.log_file.read_text()).split("| ") == ["step.2", "told\n"]


async def test_a_command_without_a_file_takes_no_thread(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One was begun for each command, and waited for: a tenth of what a short one takes."""
    begun: list[threading.Thread] = []
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "flujo-may-block":  # the event loop may begin one of its own at any time
            begun.append(thread)
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)

    await bench.call("shell", command="echo one")
    assert begun == []
    await bench.call("shell", command="echo one", stdout="a")
    assert len(begun) == 1


async def test_both_outputs_can_be_files(bench: Bench) -> None:
    """Each its own; bytes that are no text stay as they are."""
    result = await bench.call("shell", command=["printf", r"\377"], stdout="a", stderr="b")

    assert result == {
        "return_code": 0,
        "stdout_file": str(bench.workspace / "a"),
        "stderr_file": str(bench.workspace / "b"),
    }
    assert ((bench.workspace / "a").read_bytes(), (bench.workspace / "b").read_bytes()) == (b"\xff", b"")
    with pytest.raises(ValueError, match="cannot be the same file; write `2>&1`"):
        await bench.call("shell", command="true", stdout="a", stderr="./a")


async def test_a_failure_leaves_what_was_there(bench: Bench) -> None:
    """And says what the command printed, although that was to be in a file."""
    (bench.workspace / "report").write_text("yesterday")

    with pytest.raises(ShellError, match="half a report"):
        await bench.call("shell", command="echo half a report; exit 3", stdout="report")

    assert [each.name for each in bench.workspace.iterdir()] == ["report"]
    assert (bench.workspace / "report").read_text() == "yesterday"
    result = await bench.call("shell", command="echo today; exit 3", stdout="report", check=False)
    assert result["return_code"] == 3
    assert (bench.workspace / "report").read_text() == "today\n"


async def test_a_command_that_is_cut_short_leaves_what_was_there(bench: Bench) -> None:
    """The file is not in its place while the command runs."""
    (bench.workspace / "report").write_text("yesterday")
    os.mkfifo(bench.workspace / "begun")
    command = "echo half; echo > begun; sleep 100"

    async with anyio.create_task_group() as group:

        async def work() -> None:
            await bench.call("shell", command=command, stdout="report")

        group.start_soon(work)
        await anyio.to_thread.run_sync((bench.workspace / "begun").read_text)
        assert (bench.workspace / "report").read_text() == "yesterday"
        group.cancel_scope.cancel()

    assert sorted(each.name for each in bench.workspace.iterdir()) == ["begun", "report"]
    assert (bench.workspace / "report").read_text() == "yesterday"


@pytest.mark.parametrize("path", ["../out", "/tmp/out"])
async def test_the_file_lies_in_the_workspace(bench: Bench, path: str) -> None:
    """Nothing is run otherwise."""
    with pytest.raises(OutsideWorkspaceError):
        await bench.call("shell", command="touch ran", stdout=path)
    (bench.workspace / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        await bench.call("shell", command="touch ran", stderr="folder")
    os.symlink("/dev/null", bench.workspace / "pipe")
    with pytest.raises((NotAFileError, OutsideWorkspaceError)):
        await bench.call("shell", command="touch ran", stdout="pipe")
    with pytest.raises(TaskInputError):
        await bench.call("shell", command="touch ran", stdout="")
    assert not (bench.workspace / "ran").exists()


async def test_a_disk_that_fails_fails_the_step(tmp_path: Path) -> None:
    """The file is not put in its place with a hole in it, whatever is printed afterwards."""
    with OutputFiles({"stdout": tmp_path / "report"}) as files, Path("/dev/full").open("wb") as full:  # noqa: ASYNC230
        os.dup2(full.fileno(), files.descriptors["stdout"])
        files.receive("stdout", b"x")
        files.receive("stdout", b"y")
        with pytest.raises(OSError, match=r"No space left on device: '.*/report'"):
            await files.appear()

    assert os.listdir(tmp_path) == []


async def test_a_template_is_told_where_an_output_went(bench: Bench) -> None:
    """One that was cut proposes a file; one that went to a file says so, and no `default` stands for either."""
    cut = await bench.call("shell", command="seq 1000", max_output=10)
    filed = await bench.call("shell", command="seq 1000", stdout="numbers")
    names = {"steps": {"a": {"result": cut}, "b": {"result": filed}}}

    with pytest.raises(TemplateError, match="write `stdout: FILE` beside the command"):
        await render("{{ steps.a.result.stdout }}", names)
    with pytest.raises(TemplateError, match="went to a file: its path is `stdout_file`"):
        await render("{{ steps.b.result.stdout | default('') }}", names)
    assert await render("{{ steps.b.result.stdout_file }}", names) == str(bench.workspace / "numbers")
