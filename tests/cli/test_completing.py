"""What a shell completes: runs, steps, signals, workflows and files, and nothing when there is nothing to ask."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from cli.conftest import Copied, Flujoctl
from flujo.cli import completing
from flujo.cli.program import complete

GATE = """\
name: gate
steps:
  - {name: before, task: echo, inputs: {message: hello}}
  - {name: approve, task: wait_signal}
"""


@pytest.fixture
def waiting(copied: Copied, folder: Path) -> Path:
    """A run that waits for a signal, and one that has another id."""
    copied(fill)
    return folder


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs."""
    Path("gate.yaml").write_text(GATE)
    Path("flows.yaml").write_text(f"{GATE}flows: {{definitions: [quick: [before], full: [before, approve]]}}\n")
    assert flujoctl("run", "gate.yaml", "--id", "release-1", "--no-wait").code == 7
    assert flujoctl("run", "gate.yaml", "--id", "other", "--no-wait").code == 7


def offered(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, seconds: float = 60
) -> list[str]:
    """Return what is offered to bash for the last word of a line, each as KIND,TEXT. A store may take its time, as on a
    machine that has other things to do, unless `seconds` says otherwise."""
    monkeypatch.setenv("_FLUJOCTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    monkeypatch.setattr(completing, "SECONDS", seconds)
    capsys.readouterr()
    complete()
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("flujoctl inspect ", ["plain,other", "plain,release-1"]),
        ("flujoctl inspect rel", ["plain,release-1"]),
        ("flujoctl cancel other rel", ["plain,release-1"]),
        ("flujoctl inspect absent", []),
        ("flujoctl signal release-1 ", ["plain,approve"]),
        ("flujoctl approve release-1 ", ["plain,approve"]),
        ("flujoctl reject rel", ["plain,release-1"]),
        ("flujoctl skip release-1 ", ["plain,before", "plain,approve"]),
        ("flujoctl logs release-1 --step b", ["plain,before"]),
        ("flujoctl inspect release-1 --step ", ["plain,before", "plain,approve"]),
        ("flujoctl run gate.yaml --resume --from-step ", ["plain,before", "plain,approve"]),
        ("flujoctl run flows.yaml --flow ", ["plain,quick", "plain,full", "plain,all"]),
        ("flujoctl graph flows.yaml --flow f", ["plain,full"]),
        ("flujoctl run gate.yaml --flow ", []),
        ("flujoctl run gate.yaml --start-from a", ["plain,approve"]),
        ("flujoctl run gate.yaml --skip-steps before,", ["plain,before,approve"]),
        ("flujoctl list --workflow ", ["plain,gate"]),
        ("flujoctl list --status wa", ["plain,waiting"]),
        ("flujoctl init --example fi", ["plain,first"]),
        ("flujoctl run ", ["file,"]),
        ("flujoctl run ga", ["file,ga"]),
        ("flujoctl validate gate.yaml ", ["file,"]),
        ("flujoctl serve ", ["file,"]),
        ("flujoctl import ", ["file,"]),
        ("flujoctl ins", ["plain,inspect"]),
        ("flujoctl list --idl", ["plain,--idle"]),
    ],
)
def test_what_may_stand_there_is_offered(
    words: str,
    expected: list[str],
    waiting: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Runs newest first, steps in the order of the run; files are left to the shell."""
    assert sorted(offered(words, capsys, monkeypatch)) == sorted(expected)


@pytest.mark.parametrize(
    "words",
    [
        "flujoctl inspect --store sqlite:absent.db ",
        "flujoctl inspect --store sqlite:junk.db ",
        "flujoctl inspect --store nonsense:x ",
        "flujoctl inspect --server unix:absent.sock ",
        "flujoctl skip absent ",
        "flujoctl run absent.yaml --resume --from-step ",
    ],
)
def test_where_there_is_nothing_to_ask_nothing_is_offered(
    words: str, waiting: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is said in the middle of what a person types."""
    (waiting / "junk.db").write_text("this is no database\n")

    assert offered(words, capsys, monkeypatch) == []
    assert not (waiting / "absent.db").exists()


def test_a_server_that_does_not_answer_in_time_offers_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever presses Tab goes on typing."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind("silent")
        silent.listen()

        assert offered("flujoctl inspect --server unix:silent ", capsys, monkeypatch, seconds=0.05) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_a_real_bash_completes_the_id_of_a_run(waiting: Path) -> None:
    """With the script that flujoctl prints for it, on a terminal."""
    bin = Path(sys.executable).parent
    script = subprocess.run([bin / "flujoctl", "completion", "bash"], capture_output=True, text=True, check=True).stdout
    (waiting / "completion.bash").write_text(script)
    environment = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}", "PS1": "> ", "TERM": "dumb"}
    shell = pexpect.spawn("bash", ["--norc", "--noprofile", "-i"], env=environment, encoding="utf-8", timeout=30)
    try:
        shell.sendline("source completion.bash; echo so''urced")
        shell.expect_exact("sourced\r\n")
        shell.send("flujoctl inspect rel\t")
        while shell.expect_exact(["release-1 ", pexpect.TIMEOUT], timeout=5):
            shell.send("\t")  # as a person does, when a busy machine has not answered in time
        shell.sendline("-o name")
        shell.expect_exact("release-1\r\n")
    finally:
        shell.close(force=True)
