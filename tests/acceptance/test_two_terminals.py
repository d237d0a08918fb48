"""Any number of processes share a store: what one of them runs, the others see, signal and cancel."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

from acceptance.terminal import SQLITE, Terminal, finish, lines_until, on_every_store, output_until, statuses
from flujo.backends.file.journal import Rest, scan

GATED = """\
name: gated
steps:
  - {name: before, task: echo, inputs: {message: hello}}
  - {name: approve, task: wait_signal}
  - {name: after, task: echo, inputs: {message: "{{ steps.approve.result.by }}"}}
outputs: {by: "{{ steps.after.result }}"}
"""

SMALL = """\
name: small
steps:
  - {name: one, task: noop}
  - {name: two, task: echo, inputs: {message: x}}
"""

MANY_RUNS = """\
import sys

import anyio

from flujo.backends import open_backend
from flujo.kernel import Kernel
from flujo.workflows import load_workflow


async def main(prefix: str) -> None:
    workflow = load_workflow("small.yaml")
    async with Kernel(open_backend(sys.argv[2]), recover=False) as kernel:
        async with anyio.create_task_group() as tasks:
            for number in range(25):
                tasks.start_soon(lambda number=number: kernel.run(workflow, run_id=f"{prefix}-{number}"))


anyio.run(main, sys.argv[1])
"""


@on_every_store
def test_a_run_is_seen_and_signalled_from_another_terminal(terminal: Terminal) -> None:
    """list, inspect, watch and signal act on the run of another process, and a second run goes on beside it."""
    terminal.write("gated.yaml", GATED)
    terminal.write("small.yaml", SMALL)
    run = terminal.start("run", "gated.yaml", "--id", "gate")
    printed = lines_until(run, "waiting for the signal")[-1]
    watch = terminal.start("watch", "gate", "-o", "jsonl")
    seen = [json.loads(line)["type"] for line in output_until(watch, "step_waiting")]

    (listed,) = json.loads(terminal.flujoctl("list", "-o", "json").out)
    assert (listed["run_id"], listed["status"], listed["interrupted"]) == ("gate", "waiting", False)
    assert statuses(terminal.inspect("gate")) == ["completed", "waiting"]
    assert seen == ["run_created", "step_started", "step_completed", "step_started", "step_waiting"]

    assert terminal.flujoctl("run", "small.yaml").code == 0
    in_the_way = terminal.flujoctl("run", "--resume", "gated.yaml")
    assert in_the_way.code == 4
    assert "live process" in in_the_way.err

    command = printed.partition("send it with: ")[2]
    assert terminal.shell(f'{command} \'{{"by": "ann"}}\'').code == 0
    completed = finish(run)
    assert completed.code == 0
    assert "by: ann" in completed.out
    ended = finish(watch)
    assert ended.code == 0
    assert json.loads(ended.out.splitlines()[-1])["type"] == "run_completed"


@on_every_store
def test_a_run_is_cancelled_from_another_terminal(terminal: Terminal) -> None:
    """cancel returns when the run has stopped; the process that ran it ends with 8, and so does a watch.

    Ctrl-C in a watch has ended nothing but the watch.
    """
    terminal.write("gated.yaml", GATED)
    run = terminal.start("run", "gated.yaml", "--id", "gate")
    lines_until(run, "waiting for the signal")
    watch = terminal.start("watch", "gate")
    output_until(watch, "waits for the signal")
    watch.send_signal(signal.SIGINT)
    stopped = finish(watch)
    assert stopped.code == 130
    assert "the run is not affected" in stopped.err

    cancelled = terminal.flujoctl("cancel", "gate", "--reason", "not today")

    assert (cancelled.code, cancelled.out) == (0, "run gate is cancelled\n")
    assert finish(run).code == 8
    assert terminal.flujoctl("watch", "gate").code == 8
    assert terminal.flujoctl("signal", "gate", "approve").code == 4


@on_every_store
def test_four_processes_complete_a_hundred_runs_on_one_store(terminal: Terminal) -> None:
    """Nobody meets a locked store, no run is lost, and what is stored is sound."""
    terminal.write("small.yaml", SMALL)
    terminal.write("many.py", MANY_RUNS)
    crowd = [
        subprocess.Popen(
            [sys.executable, "many.py", prefix, terminal.store], cwd=terminal.folder, env=terminal.environment
        )
        for prefix in ("a", "b", "c", "d")
    ]
    beside = [terminal.start("run", "small.yaml", "-q") for _ in range(2)]

    assert [process.wait() for process in crowd] == [0, 0, 0, 0]
    assert [finish(process).code for process in beside] == [0, 0]
    completed = terminal.flujoctl("list", "--all", "-q", "--status", "completed").out.split()
    assert len(completed) == 102
    if terminal.store == SQLITE:
        with closing(sqlite3.connect(terminal.folder / ".flujo" / "state.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    else:
        journals = list((terminal.folder / ".flujo" / "store" / "runs").glob("*/journal"))
        assert {scan(journal.read_bytes()).rest for journal in journals} == {Rest.NOTHING}
        assert len(journals) == 102


@on_every_store
def test_a_frozen_process_keeps_its_runs_and_a_dead_one_loses_them(terminal: Terminal) -> None:
    """SIGSTOP is no death: nobody takes the run over meanwhile, and it goes on after SIGCONT. SIGKILL is one."""
    terminal.write("gated.yaml", GATED)
    run = terminal.start("run", "gated.yaml", "--id", "gate")
    lines_until(run, "waiting for the signal")
    run.send_signal(signal.SIGSTOP)

    refused = terminal.flujoctl("resume", "gate")
    frozen = terminal.inspect("gate")
    terminal.flujoctl("signal", "gate", "approve", '{"by": "Ann"}')
    run.send_signal(signal.SIGCONT)
    ended = finish(run)

    assert refused.code == 4
    assert "is being run by the live process" in refused.err
    assert not frozen["interrupted"]
    assert ended.code == 0, ended
    assert terminal.inspect("gate")["output"] == {"by": "Ann"}

    killed = terminal.start("run", "gated.yaml", "--id", "other")
    lines_until(killed, "waiting for the signal")
    killed.send_signal(signal.SIGSTOP)
    killed.kill()
    killed.communicate()
    terminal.flujoctl("signal", "other", "approve", '{"by": "Bob"}')
    assert terminal.flujoctl("resume", "other").code == 0
