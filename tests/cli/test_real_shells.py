"""bash, zsh and fish complete with the scripts that flujoctl prints for them: `make completion` has all three."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from cli.conftest import Flujoctl

BIN = Path(sys.executable).parent
START = {
    "bash": (["--norc", "--noprofile", "-i"], "source completion.bash"),
    "zsh": (["-f", "-i"], "autoload -Uz compinit; compinit -u -D; unsetopt zle_bracketed_paste; source completion.zsh"),
    "fish": (["--no-config", "-i"], "source completion.fish"),
}
TYPED = [
    ("flujoctl insp", "flujoctl inspect "),
    ("flujoctl inspect rel", "flujoctl inspect release-1 "),
    ("flujoctl signal release-1 app", "flujoctl signal release-1 approve "),
    ("flujoctl logs release-1 --step bef", "flujoctl logs release-1 --step before "),
    ("flujoctl run nigh", "flujoctl run nightly.yaml "),
    ("flujoctl list --workflow nigh", "flujoctl list --workflow nightly "),
    ("flujoctl list --status wait", "flujoctl list --status waiting "),
]

WORKFLOW = """\
name: nightly
steps:
  - {name: before, task: echo, inputs: {message: hello}}
  - {name: approve, task: wait_signal}
"""


def shell_or_skip(name: str) -> str:
    """A shell that is here; REAL_SHELLS says that all of them have to be."""
    if shutil.which(name) is None and "REAL_SHELLS" not in os.environ:
        pytest.skip(f"there is no {name} here")
    return name


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, folder: Path, flujoctl: Flujoctl) -> Iterator[Any]:
    """A shell on a terminal, with a run that waits, in which the completion is loaded."""
    name = shell_or_skip(request.param)
    (folder / "nightly.yaml").write_text(WORKFLOW)
    assert flujoctl("run", "nightly.yaml", "--id", "release-1", "--no-wait").code == 7
    script = subprocess.run([BIN / "flujoctl", "completion", name], capture_output=True, text=True, check=True).stdout
    (folder / f"completion.{name}").write_text(script)
    options, source = START[name]
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PS1": "> ",
        "PROMPT": "> ",
        "TERM": "dumb",
        "HOME": str(folder),
    }
    spawned = pexpect.spawn(
        name, options, env=environment, cwd=str(folder), encoding="utf-8", timeout=60, dimensions=(50, 200)
    )
    spawned.sendline(f"{source}; echo so''urced")
    spawned.expect_exact("sourced\r\n")
    yield spawned
    spawned.close(force=True)


def test_a_shell_completes_what_is_typed(shell: Any) -> None:
    """Commands, ids of runs, signals, steps, files, workflows and values. The line is not run but read back."""
    for typed, completed in TYPED:
        rest = completed.removeprefix(typed).rstrip()
        shell.send(typed)
        shell.send("\t")
        while shell.expect_exact([rest, pexpect.TIMEOUT], timeout=5):
            shell.send("\t")  # as a person does, when a busy machine has not answered in time
        shell.sendcontrol("u")
        shell.sendline("echo next''one")  # so that nothing of this line is taken for a completion of the next one
        shell.expect_exact("nextone\r\n")
