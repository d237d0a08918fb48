"""A command goes on quietly when a standard stream is closed, and no store gets the number of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WORKFLOW = """
name: hello
steps:
  - {name: greet, task: shell, inputs: {command: "echo hello; echo error >&2"}}
"""


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_run_completes_with_closed_streams(closed: str, folder: Path) -> None:
    """What was to be printed there is lost; nothing else is, and nothing is printed elsewhere."""
    (folder / "hello.yaml").write_text(WORKFLOW, encoding="utf-8")
    flujoctl = f"{sys.executable} -m flujoctl"

    ended = subprocess.run(
        f"{flujoctl} run hello.yaml --id r {closed}", shell=True, cwd=folder, capture_output=True, text=True
    )
    listed = subprocess.run(
        f"{flujoctl} list -o name --status completed; {flujoctl} db check",
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0
    assert ended.stdout.startswith("completed  r") != (">&-" in closed.replace("2>&-", ""))
    assert listed.stdout.splitlines()[0] == "r"
    assert listed.stdout.splitlines()[-1].endswith("all sound")


COMMANDS = {
    "resume": ("resume failed -q", 1),
    "retry": ("retry failed", 1),
    "watch": ("watch done", 0),
    "wait": ("wait done", 0),
    "list": ("list", 0),
    "events": ("events done", 0),
    "inspect": ("inspect done", 0),
    "logs": ("logs done -f", 0),
    "top": ("top", 0),
    "no such run": ("inspect nobody", 3),
    "no such option": ("list --nonsense", 2),
}


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a shell makes of a line, in which FLUJOCTL is the command."""
    line = line.replace("FLUJOCTL", f"{sys.executable} -m flujoctl")
    return subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that has completed and one that has failed."""
    folder = tmp_path_factory.mktemp("closed")
    (folder / ".flujo").mkdir()
    (folder / "hello.yaml").write_text(WORKFLOW, encoding="utf-8")
    (folder / "fails.yaml").write_text("name: fails\nsteps: [{name: f, task: fail}]\n", encoding="utf-8")
    shell("FLUJOCTL run hello.yaml --id done; FLUJOCTL run fails.yaml --id failed", folder)
    return folder


@pytest.mark.parametrize(("command", "code"), COMMANDS.values(), ids=COMMANDS)
def test_every_command_ends_as_it_would_with_closed_streams(command: str, code: int, store: Path) -> None:
    """With its own code and no error of its own."""
    for closed in (">&-", "<&- 2>&-"):
        ended = shell(f"FLUJOCTL {command} {closed}", store)

        assert ended.returncode == code, (closed, ended)
        assert "Traceback" not in ended.stderr
        assert "internal" not in ended.stderr


def test_no_command_has_printed_into_the_store(store: Path) -> None:
    """A file that a program opens gets the number of a stream that is closed."""
    for command in ("resume failed", "retry failed", "list"):
        shell(f"FLUJOCTL {command} <&- >&- 2>&-", store)

    assert shell("FLUJOCTL db check", store).stdout.rstrip().endswith("all sound")


@pytest.mark.parametrize("command", ["inspect done", "logs done", "run hello.yaml --id full"])
def test_a_full_disk_behind_stdout_is_told_in_one_line(command: str, store: Path) -> None:
    """It ends with a code of its own, and not as if all were printed; a run is run all the same."""
    ended = shell(f"FLUJOCTL {command} > /dev/full", store)

    assert ended.returncode not in (0, 70)
    assert "Traceback" not in ended.stderr
    assert "No space left on device" in ended.stderr
    if command.startswith("run"):
        assert "completed" in shell("FLUJOCTL inspect full", store).stdout
