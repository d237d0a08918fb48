"""A workflow that must not run twice at once, started from several terminals, over a server, and after a kill -9."""

from __future__ import annotations

import signal
import subprocess

import pytest

from acceptance.terminal import SQLITE, Terminal, finish, kill, lines_until, on_every_store, output_until

ADDRESS = "unix:.flujo/server.sock"


def write(terminal: Terminal, on_overlap: str) -> None:
    """Put the workflow there that waits until it is told to go on."""
    terminal.write(
        "nightly.yaml",
        f"name: Nightly Report\nsettings: {{on_overlap: {on_overlap}}}\n"
        "steps:\n  - {name: hold, task: wait_signal, inputs: {signal: go}}\n",
    )


def held(terminal: Terminal, run_id: str) -> subprocess.Popen[str]:
    """Start a run that waits."""
    run = terminal.start("run", "nightly.yaml", "--id", run_id)
    lines_until(run, "waiting for the signal")
    return run


@on_every_store
def test_a_second_run_is_skipped_or_refused(terminal: Terminal) -> None:
    """`skip` says so and is a success, `fail` is a conflict; neither stores a run, and both name what is in the way."""
    write(terminal, "skip")
    first = held(terminal, "first")
    skipped = terminal.flujoctl("run", "nightly.yaml")
    write(terminal, "fail")
    refused = terminal.flujoctl("run", "nightly.yaml")

    told = "run 'first' of 'Nightly Report' is waiting, and its workflow says on_overlap: "
    assert (skipped.code, skipped.out) == (0, "")
    assert f"skipped: {told}skip" in skipped.err
    assert (refused.code, refused.out) == (4, "")
    assert f"error[run-overlaps]: {told}fail" in refused.err
    assert refused.remedies == ["flujoctl wait first", "flujoctl cancel first"]
    assert terminal.flujoctl("list", "-o", "name").out.split() == ["first"]

    assert terminal.flujoctl("signal", "first", "go").code == 0
    assert finish(first).code == 0
    assert terminal.flujoctl("run", "nightly.yaml", "--no-wait").code == 7


@on_every_store
def test_a_queued_run_begins_when_the_one_before_has_ended(terminal: Terminal) -> None:
    """It says for which run it waits, in another process; `explain` says the same."""
    write(terminal, "queue")
    first = held(terminal, "first")
    second = terminal.start("run", "nightly.yaml", "--id", "second")
    (told,) = lines_until(second, "it begins once")[-1:]
    explained = terminal.flujoctl("explain", "second")
    assert terminal.flujoctl("signal", "first", "go").code == 0
    lines_until(second, "waiting for the signal")
    assert terminal.flujoctl("signal", "second", "go").code == 0

    assert told == "it begins once run first, which is waiting, has ended: its workflow says on_overlap: queue"
    assert told in explained.out
    assert finish(first).code == finish(second).code == 0


def test_a_queued_run_that_is_not_waited_for_stays_in_line(terminal: Terminal) -> None:
    """`--no-wait` ends with 7 and leaves it in its place; a resume goes on there."""
    write(terminal, "queue")
    first = held(terminal, "first")
    left = terminal.flujoctl("run", "nightly.yaml", "--id", "second", "--no-wait")
    assert terminal.flujoctl("signal", "first", "go").code == 0
    assert finish(first).code == 0

    assert left.code == 7
    assert "try: flujoctl resume second" in left.err
    assert terminal.flujoctl("resume", "second", "--no-wait").code == 7
    assert terminal.inspect("second")["status"] == "waiting"


@pytest.mark.parametrize("on_overlap", ["skip", "fail", "queue"])
def test_a_killed_run_is_in_the_way_until_somebody_sees_to_it(terminal: Terminal, on_overlap: str) -> None:
    """After a kill -9 the next start names the run as interrupted with the commands that help, and these do."""
    write(terminal, on_overlap)
    kill(held(terminal, "dead"))
    second = terminal.start("run", "nightly.yaml", "--id", "next")
    told = lines_until(second, "try: flujoctl resume dead")

    assert any("run 'dead'" in line or "run dead" in line for line in told)
    assert any("interrupted" in line for line in told)
    if on_overlap != "queue":
        assert finish(second).code == {"skip": 0, "fail": 4}[on_overlap]
    assert terminal.flujoctl("cancel", "dead").code == 0
    if on_overlap == "queue":
        lines_until(second, "waiting for the signal")
        second.send_signal(signal.SIGINT)
        assert finish(second).code == 130
    else:
        assert terminal.flujoctl("run", "nightly.yaml", "--no-wait").code == 7


def test_starts_of_many_processes_at_once_come_to_one_run(terminal: Terminal) -> None:
    """Eight commands at the same time: one runs, seven are refused."""
    write(terminal, "fail")
    processes = [terminal.start("run", "nightly.yaml", "--no-wait") for _ in range(8)]
    codes = sorted(finish(process).code for process in processes)

    assert codes == [4] * 7 + [7]
    assert len(terminal.flujoctl("list", "-o", "name").out.split()) == 1


def test_a_server_keeps_runs_apart_and_from_those_of_other_processes(terminal: Terminal) -> None:
    """A start over the server is refused for a run of a process beside it, and the other way round."""
    write(terminal, "skip")
    first = held(terminal, "first")
    server = terminal.start("serve", "--store", SQLITE)
    output_until(server, "listening")
    remote = terminal.flujoctl("--server", ADDRESS, "run", "nightly.yaml")
    write(terminal, "queue")
    queued = terminal.flujoctl("--server", ADDRESS, "run", "nightly.yaml", "--id", "second", "--detach")
    explained = terminal.flujoctl("--server", ADDRESS, "explain", "second")
    assert terminal.flujoctl("signal", "first", "go", "--store", SQLITE).code == 0
    assert finish(first).code == 0
    watched = terminal.start("watch", "second", "--store", SQLITE)
    output_until(watched, "waits for the signal")
    write(terminal, "fail")
    embedded = terminal.flujoctl("run", "nightly.yaml", "--store", SQLITE)

    assert remote.code == 0
    assert "skipped: run 'first' of 'Nightly Report' is waiting" in remote.err
    assert queued.code == 0
    assert "it begins once run first, which is waiting, has ended" in explained.out
    assert embedded.code == 4
    assert "run 'second' of 'Nightly Report' is waiting" in embedded.err
    server.send_signal(signal.SIGTERM)
    finish(server)
