"""Clean-ups at a terminal: after a cancel from another one, after the run's own timeout, and after a SIGKILL."""

from __future__ import annotations

import pytest

from acceptance.terminal import Terminal, finish

NIGHTLY = """\
name: nightly
TOP
steps:
  - {name: lock, task: shell, inputs: {command: "mkdir {{ start_dir }}/lock"}}
  - {name: work, task: shell, inputs: {command: "echo works > {{ start_dir }}/signs; sleep 300"}}
  - name: unlock
    task: shell
    always_run: true
    inputs:
      command: |
        rmdir {{ start_dir }}/lock
        echo "$FLUJO_REASON, {{ run.reason }}" > {{ start_dir }}/reason
        HOLD
"""


def start(terminal: Terminal, top: str = "", hold: str = "") -> None:
    """Write the workflow; a step that holds says so in the pipe `signs`."""
    terminal.fifo("signs")
    terminal.write("nightly.yaml", NIGHTLY.replace("TOP\n", top).replace("HOLD", hold))


def reason(terminal: Terminal) -> str:
    """What the clean-up was told."""
    return (terminal.folder / "reason").read_text(encoding="utf-8").strip()


def test_a_cancel_from_another_terminal_waits_for_the_clean_ups(terminal: Terminal) -> None:
    """Then the run is cancelled, and what it had locked is free."""
    start(terminal)
    running = terminal.start("run", "nightly.yaml", "--id", "r")
    assert terminal.read("signs") == "works"

    assert terminal.flujoctl("cancel", "r").out == "run r is cancelled\n"

    assert finish(running).code == 8
    assert reason(terminal) == "cancelled, cancelled"
    assert not (terminal.folder / "lock").exists()


def test_a_run_that_takes_too_long_cleans_up(terminal: Terminal) -> None:
    """And has failed then, for that reason."""
    start(terminal, "timeout: 2s\n")
    running = terminal.start("run", "nightly.yaml", "--id", "r")
    assert terminal.read("signs") == "works"

    ended = finish(running)

    assert ended.code == 1
    assert "took longer than 2s" in ended.err
    assert reason(terminal) == "timeout, timeout"


@pytest.mark.parametrize("how", ["resume", "cancel"])
def test_after_a_kill_in_the_middle_of_clean_ups(terminal: Terminal, how: str) -> None:
    """A resume goes on with them, and another cancel ends the run without them."""
    start(terminal, hold="test -e {{ start_dir }}/again || { echo holds > {{ start_dir }}/signs; sleep 300; }")
    running = terminal.start("run", "nightly.yaml", "--id", "r")
    assert terminal.read("signs") == "works"
    asking = terminal.start("cancel", "r")
    assert terminal.read("signs") == "holds"
    running.kill()
    running.wait()
    asking.kill()
    asking.wait()
    terminal.inspect_interrupted("r")
    assert "its clean-ups" in terminal.flujoctl("explain", "r").out
    terminal.write("again", "")
    (terminal.folder / "reason").unlink()
    (terminal.folder / "lock").mkdir()

    ended = terminal.flujoctl(how, "r")

    assert terminal.inspect("r")["status"] == "cancelled"
    if how == "resume":
        assert ended.code == 8
        assert reason(terminal) == "cancelled, cancelled"
    else:
        assert ended.code == 0
        assert not (terminal.folder / "reason").exists()
