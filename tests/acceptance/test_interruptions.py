"""A run whose process dies, or is told to stop, goes on where it stopped."""

from __future__ import annotations

import signal

import pytest

from acceptance.five_steps import make
from acceptance.terminal import Terminal, finish, is_alive, kill, lines_until, on_every_store, statuses

RESUMED_LOG = ["1", "2", "3", "3", "4", "5"]

FLAKY = """\
name: flaky
steps:
  - {name: before, task: noop}
  - name: call
    task: shell
    retry: {max_attempts: 3, delay: 5m}
    inputs: {command: "echo >> {{ start_dir }}/log; false"}
"""


@on_every_store
@pytest.mark.parametrize("kind", ["yaml", "python"])
def test_a_killed_run_is_resumed_without_repeating_what_has_completed(terminal: Terminal, kind: str) -> None:
    """SIGKILL in the third of five steps: two are completed, the third ran in part and runs again."""
    run = terminal.start("run", make(terminal, kind), "--id", "night")
    in_step_three = int(terminal.read("begun"))
    kill(run)

    state = terminal.inspect_interrupted("night")
    shown = terminal.flujoctl("inspect", "night")
    assert statuses(state) == ["completed", "completed", "interrupted"]
    assert not is_alive(in_step_three)
    assert "running (interrupted)" in shown.out
    assert shown.remedies == ["flujoctl resume night"]
    assert "running (interrupted)" in terminal.flujoctl("list").out

    resumed = terminal.shell(shown.remedies[0])
    assert resumed.code == 0, resumed
    assert resumed.out.startswith("completed  night")
    assert terminal.lines("log") == RESUMED_LOG


@pytest.mark.parametrize(
    ("kind", "number", "store"),
    [
        ("yaml", signal.SIGINT, "sqlite:other store.db"),
        ("python", signal.SIGINT, "sqlite:other store.db"),
        ("yaml", signal.SIGTERM, "sqlite:other store.db"),
        ("python", signal.SIGHUP, "sqlite:other store.db"),
        ("yaml", signal.SIGINT, "file:other store"),
        ("python", signal.SIGINT, "file:other store"),
    ],
)
def test_an_interrupted_run_goes_on_with_the_printed_command(
    terminal: Terminal, kind: str, number: signal.Signals, store: str
) -> None:
    """Ctrl-C and its relatives: exit code 130, nothing left behind, and the command works as printed.

    The store is not the default one, so that the command has to say which one it is.
    """
    run = terminal.start("run", make(terminal, kind), "--id", "night", "--store", store)
    in_step_three = int(terminal.read("begun"))
    run.send_signal(number)
    interrupted = finish(run)

    assert interrupted.code == 130, interrupted
    assert not is_alive(in_step_three)
    assert interrupted.remedies == [f"flujoctl resume night --store '{store}'"]

    state = terminal.inspect("night", "--store", store)
    assert statuses(state) == ["completed", "completed", "interrupted"]
    assert state["steps"][2]["interruptions"] == 0  # an orderly stop counts against nothing

    assert terminal.shell(interrupted.remedies[0]).code == 0
    assert terminal.lines("log") == RESUMED_LOG


def test_the_second_ctrl_c_ends_the_process_at_once(terminal: Terminal) -> None:
    """A step that does not mind being told to stop does not keep anybody waiting, and dies all the same."""
    run = terminal.start("run", make(terminal, "yaml", stubborn=True), "--id", "night")
    in_step_three = int(terminal.read("begun"))
    run.send_signal(signal.SIGINT)
    lines_until(run, "stopping cleanly")
    run.send_signal(signal.SIGINT)

    assert finish(run).code == 130
    assert statuses(terminal.inspect_interrupted("night")) == ["completed", "completed", "interrupted"]
    assert not is_alive(in_step_three)


@on_every_store
def test_a_kill_during_the_backoff_loses_neither_count_nor_instant(terminal: Terminal) -> None:
    """A retry that is due in minutes when the process is killed is due at that same instant after a resume, and the
    attempt that failed has not run again."""
    terminal.write("flaky.yaml", FLAKY)
    run = terminal.start("run", "flaky.yaml", "--id", "night")
    lines_until(run, "attempt 1 failed")
    kill(run)
    killed = terminal.inspect_interrupted("night")["steps"][1]

    resumed = terminal.start("resume", "night")
    lines_until(resumed, "run resumed")
    kill(resumed)
    again = terminal.inspect_interrupted("night")["steps"][1]

    for step in (killed, again):
        assert (step["status"], step["attempt"], step["failures"], step["interruptions"]) == ("retrying", 1, 1, 0)
    assert killed["next_attempt_at"] == again["next_attempt_at"] is not None
    assert len((terminal.folder / "log").read_text().splitlines()) == 1
