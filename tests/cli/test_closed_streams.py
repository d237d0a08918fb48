"""A command goes on quietly when a standard stream is closed, and no store gets the number of one."""

from __future__ import annotations

import json
import os
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


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_server_starts_answers_and_drains_with_closed_streams(closed: str, folder: Path) -> None:
    """As a service manager may start it: its socket is there and answers, and SIGTERM ends it in good order. A run that
    is at work then is checkpointed for the next server, and counts as nobody's."""
    os.mkfifo(folder / "begun")
    (folder / "slow.yaml").write_text(
        "name: slow\nsteps:\n  - {name: hold, task: shell, inputs: {command: 'echo > ../../../begun; sleep 600'}}\n"
    )
    line = f"exec {sys.executable} -m flujoctl serve slow.yaml --grace 1s --listen unix:s.sock {closed}"
    with subprocess.Popen(line, shell=True, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        while not (folder / "s.sock").exists():
            assert server.poll() is None, server.communicate()
        started = shell("FLUJOCTL run slow --id r --detach --server unix:s.sock", folder)
        (folder / "begun").read_text()
        server.terminate()
        printed = server.communicate(timeout=60)

    assert (started.returncode, started.stdout) == (0, "r\n")
    assert server.returncode == 0, printed
    assert b"Traceback" not in b"".join(printed)
    assert not (folder / "s.sock").exists()
    (step,) = json.loads(shell("FLUJOCTL inspect r -o json", folder).stdout)["steps"]
    assert (step["interrupted"], step["interruptions"]) == (True, 0)


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
