"""`explain` names the reason a run stands still for, and every command it prints does something as printed."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess

import pytest

from acceptance.terminal import SQLITE, Terminal, finish, lines_until, output_until

FLAKY = """\
name: flaky
steps:
  - {name: call, task: fail, inputs: {message: "no route"}, retry: {max_attempts: 3, delay: 5m}}
"""

SLEEPING = """\
name: sleeping
steps:
  - {name: nap, task: sleep, inputs: {duration: 1h}}
"""

GATED = """\
name: gated
steps:
  - {name: approve, task: wait_signal}
"""

STUBBORN = """\
import sys
import time

from flujo.kernel import Context, step, workflow


@step
def thread() -> None:
    with open("begun", "w") as told:
        told.write("x")
    with open("release") as waits:
        waits.read()


@workflow()
async def stubborn(ctx: Context) -> None:
    await ctx.step(thread)
"""

TWO_AT_ONCE = """\
import anyio

from flujo.kernel import Context, step, workflow


@step(limit="hold")
async def hold() -> None:
    await anyio.sleep_forever()


@workflow()
async def holding(ctx: Context) -> None:
    await ctx.step(hold)
"""


def why(terminal: Terminal, run_id: str, *options: str) -> str:
    """The first reason `explain` gives."""
    ended = terminal.flujoctl("explain", run_id, "-o", "json", *options)
    assert ended.code == 0, ended
    return str(json.loads(ended.out)["reasons"][0]["why"])


def type_all(terminal: Terminal, run_id: str) -> list[str]:
    """Type every command that is printed; each is understood, and those that stay are left with Ctrl-C."""
    commands = terminal.flujoctl("explain", run_id).remedies
    assert commands
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "flujoctl"
        if arguments[0] == "watch":
            watching = terminal.start(*arguments)
            output_until(watching, "created")
            watching.send_signal(signal.SIGINT)
            assert finish(watching).code == 130
        else:
            assert terminal.shell(command).code in (0, 1, 7, 8), command
    return commands


def running(terminal: Terminal, name: str, text: str, run_id: str, until: str) -> subprocess.Popen[str]:
    """A process that runs a file, once it has printed something."""
    terminal.write(name, text)
    run = terminal.start("run", name if name.endswith(".yaml") else f"{name}", "--id", run_id)
    lines_until(run, until)
    return run


def stop(run: subprocess.Popen[str]) -> None:
    """Ctrl-C."""
    run.send_signal(signal.SIGINT)
    finish(run)


def test_a_backoff(terminal: Terminal) -> None:
    """The step, its failures and when the next attempt is due."""
    run = running(terminal, "flaky.yaml", FLAKY, "r", "attempt 1 failed")

    assert why(terminal, "r") == "backoff"
    explained = terminal.flujoctl("explain", "r").out
    assert "step 'call' has failed 1 of 3 times (TaskFailed: no route); its next attempt is due in " in explained
    type_all(terminal, "r")
    stop(run)


def test_a_timer(terminal: Terminal) -> None:
    """What sleeps, and until when."""
    run = running(terminal, "sleeping.yaml", SLEEPING, "r", "sleeps until")

    assert why(terminal, "r") == "timer"
    assert "step 'nap' sleeps and goes on in " in terminal.flujoctl("explain", "r").out
    type_all(terminal, "r")
    stop(run)


def test_a_signal_a_pause_and_an_interruption(terminal: Terminal) -> None:
    """The printed commands take the run from one to the next, and to its end."""
    run = running(terminal, "gated.yaml", GATED, "r", "waiting for the signal")
    assert why(terminal, "r") == "signal"

    terminal.flujoctl("pause", "r")
    finish(run)
    assert why(terminal, "r") == "paused"

    again = terminal.start("resume", "r")
    lines_until(again, "waiting for the signal")
    again.kill()
    again.communicate()
    assert why(terminal, "r") == "interrupted"
    terminal.flujoctl("signal", "r", "approve")
    assert type_all(terminal, "r") == ["flujoctl resume r"]
    assert why(terminal, "r") == "finished"


def test_a_body_that_does_not_stop(terminal: Terminal) -> None:
    """A plain function runs in a thread, which nothing can stop: a cancel waits for it, and explain says so."""
    terminal.fifo("begun")
    terminal.fifo("release")
    terminal.write("stubborn.py", STUBBORN)
    run = terminal.start("run", "stubborn.py", "--id", "r")
    terminal.read("begun")
    terminal.flujoctl("cancel", "r", "--no-wait")
    while (reason := why(terminal, "r")) == "working":  # until its owner has taken the request
        pass

    assert reason == "stopping"
    assert "the body of 'thread' has not ended yet" in terminal.flujoctl("explain", "r").out
    (terminal.folder / "release").write_text("go", encoding="utf-8")
    assert finish(run).code == 8


@pytest.mark.parametrize("bound", [("--max-steps", "1"), ("--limit", "hold=1")])
def test_a_limit_and_a_workflow_that_is_not_registered(terminal: Terminal, bound: tuple[str, str]) -> None:
    """Asked of a server: what waits for its turn there, and what it does not know."""
    terminal.write("holding.py", TWO_AT_ONCE)
    terminal.write("gated.yaml", GATED)
    address = "unix:.flujo/server.sock"
    server = terminal.start("serve", "holding.py:holding", *bound, "--store", SQLITE)
    output_until(server, "listening")
    for run_id in ("a", "b"):
        terminal.flujoctl("run", "holding", "--id", run_id, "--detach", "--server", address)
    while "limit" not in {first := why(terminal, "a", "--server", address), why(terminal, "b", "--server", address)}:
        pass
    assert first in ("limit", "working")
    server.send_signal(signal.SIGTERM)
    finish(server)

    stranger = terminal.start("serve", "gated.yaml", "--store", SQLITE)
    output_until(stranger, "listening")
    assert why(terminal, "a", "--server", address) == "unregistered"
    stranger.send_signal(signal.SIGTERM)
    finish(stranger)


def test_a_store_that_cannot_be_used(terminal: Terminal) -> None:
    """Exit code 5 or 3, one line, and what to look at."""
    (terminal.folder / "not-a-folder").write_text("", encoding="utf-8")
    for store, code in (("sqlite:absent.db", 3), ("sqlite:not-a-folder/state.db", 5), ("file:not-a-folder/runs", 5)):
        ended = terminal.flujoctl("explain", "r", "--store", store)

        assert ended.code in (code, 3), ended
        assert ended.remedies


def test_a_failed_run_is_explained_with_what_it_printed_last(terminal: Terminal) -> None:
    """One command says what failed, why, what stood on its output, and what to type; over JSON it is as ever."""
    terminal.write(
        "etl.yaml",
        "name: etl\nsteps: [{name: load, task: shell, inputs: {command: 'seq 1 20; echo no route >&2; exit 2'}}]\n",
    )
    terminal.flujoctl("run", "etl.yaml", "--id", "etl-77")

    told = terminal.flujoctl("explain", "etl-77")

    lines = told.out.splitlines()
    assert lines[0] == "run etl-77 is failed"
    assert lines[-11:] == ["the last lines of load:", *(f"  | {n}" for n in range(12, 21)), "  | no route"]
    assert "flujoctl resume etl-77" in told.remedies


def test_a_failure_is_told_once_and_with_the_places_of_its_files(terminal: Terminal) -> None:
    """What the message of the step has of its output is not repeated beside the last lines."""
    terminal.write(
        "noisy.yaml",
        "name: noisy\nsteps: [{name: load, task: shell, inputs: {command: 'seq 1 9; echo no route >&2; exit 2'}}]\n",
    )
    ran = terminal.flujoctl("run", "noisy.yaml", "--id", "n")

    told = terminal.flujoctl("explain", "n")

    log = str(terminal.folder / ".flujo" / "workspaces" / "n.log")
    for shown in (told.out, ran.err[ran.err.index("the last lines of load:") :]):
        assert shown.count("  | 9\n") == 1
        assert "\n9\n" not in shown
        assert "\n  9\n" not in shown
        assert log in shown
    assert "  it has failed: step 'load' failed: ShellError: the command ended with code 2: no route\n" in told.out
    assert told.remedies[0] == "flujoctl logs n --step load"


def test_a_failure_of_a_child_names_the_run_that_tells_more(terminal: Terminal) -> None:
    """Its parent has printed nothing; the command works."""
    terminal.write(
        "kid.yaml", "name: kid\nsteps: [{name: load, task: shell, inputs: {command: 'echo so >&2; exit 2'}}]\n"
    )
    terminal.write("top.yaml", "name: top\nsteps: [{name: sub, task: workflow, inputs: {file: kid.yaml}}]\n")
    ran = terminal.flujoctl("run", "top.yaml", "--id", "t")

    assert ran.remedies[0] == terminal.flujoctl("explain", "t").remedies[0] == "flujoctl explain t.sub"
    assert "  | so" in terminal.flujoctl("explain", "t.sub").out


def test_a_step_that_printed_nothing_has_no_log_to_look_at(terminal: Terminal) -> None:
    """And a run that has not completed says where it works and where what it prints is."""
    terminal.write("still.yaml", "name: still\nsteps: [{name: stop, task: fail, inputs: {message: no}}]\n")
    ran = terminal.flujoctl("run", "still.yaml", "--id", "s")

    told = terminal.flujoctl("explain", "s")

    assert not any(" logs " in command for command in (*ran.remedies, *told.remedies))
    places = terminal.folder / ".flujo" / "workspaces"
    assert f"  (it works in {places / 's'}; what it prints is in {places / 's.log'})\n" in told.out


def test_the_signal_that_is_waited_for_is_the_first_thing_to_type(terminal: Terminal) -> None:
    """Also while no process runs the run: a resume alone would wait on."""
    terminal.write("gate.yaml", "name: gate\nsteps: [{name: go, task: wait_signal}]\n")
    terminal.flujoctl("run", "gate.yaml", "--id", "g", "--no-wait")

    assert terminal.flujoctl("explain", "g").remedies == ["flujoctl signal g go", "flujoctl resume g"]
