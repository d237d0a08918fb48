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
