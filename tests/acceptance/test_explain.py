"""`explain` names the reason a run stands still for, and every command it prints does something as printed."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess

import pytest

from acceptance.terminal import SQLITE, Place, finish, lines_until, output_until

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


def why(place: Place, run_id: str, *options: str) -> str:
    """The first reason `explain` gives."""
    ended = place.flujoctl("explain", run_id, "-o", "json", *options)
    assert ended.code == 0, ended
    return str(json.loads(ended.out)["reasons"][0]["why"])


def type_all(place: Place, run_id: str) -> list[str]:
    """Type every command that is printed; each is understood, and those that stay are left with Ctrl-C."""
    commands = place.flujoctl("explain", run_id).remedies
    assert commands
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "flujoctl"
        if arguments[0] == "watch":
            watching = place.start(*arguments)
            output_until(watching, "created")
            watching.send_signal(signal.SIGINT)
            assert finish(watching).code == 130
        else:
            assert place.shell(command).code in (0, 1, 7, 8), command
    return commands


def running(place: Place, name: str, text: str, run_id: str, until: str) -> subprocess.Popen[str]:
    """A process that runs a file, once it has printed something."""
    place.write(name, text)
    run = place.start("run", name if name.endswith(".yaml") else f"{name}", "--id", run_id)
    lines_until(run, until)
    return run


def stop(run: subprocess.Popen[str]) -> None:
    """Ctrl-C."""
    run.send_signal(signal.SIGINT)
    finish(run)


def test_a_backoff(place: Place) -> None:
    """The step, its failures and when the next attempt is due."""
    run = running(place, "flaky.yaml", FLAKY, "r", "attempt 1 failed")

    assert why(place, "r") == "backoff"
    explained = place.flujoctl("explain", "r").out
    assert "step 'call' has failed 1 of 3 times (TaskFailed: no route); its next attempt is due in " in explained
    type_all(place, "r")
    stop(run)


def test_a_timer(place: Place) -> None:
    """What sleeps, and until when."""
    run = running(place, "sleeping.yaml", SLEEPING, "r", "sleeps until")

    assert why(place, "r") == "timer"
    assert "step 'nap' sleeps and goes on in " in place.flujoctl("explain", "r").out
    type_all(place, "r")
    stop(run)


def test_a_signal_a_pause_and_an_interruption(place: Place) -> None:
    """The printed commands take the run from one to the next, and to its end."""
    run = running(place, "gated.yaml", GATED, "r", "waiting for the signal")
    assert why(place, "r") == "signal"

    place.flujoctl("pause", "r")
    finish(run)
    assert why(place, "r") == "paused"

    again = place.start("resume", "r")
    lines_until(again, "waiting for the signal")
    again.kill()
    again.communicate()
    assert why(place, "r") == "interrupted"
    place.flujoctl("signal", "r", "approve")
    assert type_all(place, "r") == ["flujoctl resume r"]
    assert why(place, "r") == "finished"


def test_a_body_that_does_not_stop(place: Place) -> None:
    """A plain function runs in a thread, which nothing can stop: a cancel waits for it, and explain says so."""
    place.fifo("begun")
    place.fifo("release")
    place.write("stubborn.py", STUBBORN)
    run = place.start("run", "stubborn.py", "--id", "r")
    place.read("begun")
    place.flujoctl("cancel", "r", "--no-wait")
    while (reason := why(place, "r")) == "working":  # until its owner has taken the request
        pass

    assert reason == "stopping"
    assert "the body of 'thread' has not ended yet" in place.flujoctl("explain", "r").out
    (place.folder / "release").write_text("go", encoding="utf-8")
    assert finish(run).code == 8


@pytest.mark.parametrize("bound", [("--max-steps", "1"), ("--limit", "hold=1")])
def test_a_limit_and_a_workflow_that_is_not_registered(place: Place, bound: tuple[str, str]) -> None:
    """Asked of a server: what waits for its turn there, and what it does not know."""
    place.write("holding.py", TWO_AT_ONCE)
    place.write("gated.yaml", GATED)
    address = "unix:.flujo/server.sock"
    server = place.start("serve", "holding.py:holding", *bound, "--store", SQLITE)
    output_until(server, "listening")
    for run_id in ("a", "b"):
        place.flujoctl("run", "holding", "--id", run_id, "--detach", "--server", address)
    while "limit" not in {first := why(place, "a", "--server", address), why(place, "b", "--server", address)}:
        pass
    assert first in ("limit", "working")
    server.send_signal(signal.SIGTERM)
    finish(server)

    stranger = place.start("serve", "gated.yaml", "--store", SQLITE)
    output_until(stranger, "listening")
    assert why(place, "a", "--server", address) == "unregistered"
    stranger.send_signal(signal.SIGTERM)
    finish(stranger)


def test_a_store_that_cannot_be_used(place: Place) -> None:
    """Exit code 5 or 3, one line, and what to look at."""
    (place.folder / "not-a-folder").write_text("", encoding="utf-8")
    for store, code in (("sqlite:absent.db", 3), ("sqlite:not-a-folder/state.db", 5), ("file:not-a-folder/runs", 5)):
        ended = place.flujoctl("explain", "r", "--store", store)

        assert ended.code in (code, 3), ended
        assert ended.remedies
