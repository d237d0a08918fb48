"""Any number of processes share a store: what one of them runs, the others see, signal and cancel."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

from acceptance.terminal import SQLITE, Place, finish, lines_until, on_every_store, output_until, statuses
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
def test_a_run_is_seen_and_signalled_from_another_terminal(place: Place) -> None:
    """list, inspect, watch and signal act on the run of another process, and a second run goes on beside it."""
    place.write("gated.yaml", GATED)
    place.write("small.yaml", SMALL)
    run = place.start("run", "gated.yaml", "--id", "gate")
    printed = lines_until(run, "waiting for the signal")[-1]
    watch = place.start("watch", "gate", "-o", "jsonl")
    seen = [json.loads(line)["type"] for line in output_until(watch, "step_waiting")]

    (listed,) = json.loads(place.flujoctl("list", "-o", "json").out)
    assert (listed["run_id"], listed["status"], listed["interrupted"]) == ("gate", "waiting", False)
    assert statuses(place.inspect("gate")) == ["completed", "waiting"]
    assert seen == ["run_created", "step_started", "step_completed", "step_started", "step_waiting"]

    assert place.flujoctl("run", "small.yaml").code == 0
    in_the_way = place.flujoctl("run", "--resume", "gated.yaml")
    assert in_the_way.code == 4
    assert "live process" in in_the_way.err

    command = printed.partition("send it with: ")[2]
    assert place.shell(f'{command} \'{{"by": "ann"}}\'').code == 0
    completed = finish(run)
    assert completed.code == 0
    assert "by: ann" in completed.out
    ended = finish(watch)
    assert ended.code == 0
    assert json.loads(ended.out.splitlines()[-1])["type"] == "run_completed"


@on_every_store
def test_a_run_is_cancelled_from_another_terminal(place: Place) -> None:
    """cancel returns when the run has stopped; the process that ran it ends with 8, and so does a watch.

    Ctrl-C in a watch has ended nothing but the watch.
    """
    place.write("gated.yaml", GATED)
    run = place.start("run", "gated.yaml", "--id", "gate")
    lines_until(run, "waiting for the signal")
    watch = place.start("watch", "gate")
    output_until(watch, "waits for the signal")
    watch.send_signal(signal.SIGINT)
    stopped = finish(watch)
    assert stopped.code == 130
    assert "this does not stop the run" in stopped.err

    cancelled = place.flujoctl("cancel", "gate", "--reason", "not today")

    assert (cancelled.code, cancelled.out) == (0, "run gate is cancelled\n")
    assert finish(run).code == 8
    assert place.flujoctl("watch", "gate").code == 8
    assert place.flujoctl("signal", "gate", "approve").code == 4


@on_every_store
def test_four_processes_complete_a_hundred_runs_on_one_store(place: Place) -> None:
    """Nobody meets a locked store, no run is lost, and what is stored is sound."""
    place.write("small.yaml", SMALL)
    place.write("many.py", MANY_RUNS)
    crowd = [
        subprocess.Popen([sys.executable, "many.py", prefix, place.store], cwd=place.folder, env=place.environment)
        for prefix in ("a", "b", "c", "d")
    ]
    beside = [place.start("run", "small.yaml", "-q") for _ in range(2)]

    assert [process.wait() for process in crowd] == [0, 0, 0, 0]
    assert [finish(process).code for process in beside] == [0, 0]
    completed = place.flujoctl("list", "--all", "-q", "--status", "completed").out.split()
    assert len(completed) == 102
    if place.store == SQLITE:
        with closing(sqlite3.connect(place.folder / ".flujo" / "state.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    else:
        journals = list((place.folder / ".flujo" / "store" / "runs").glob("*/journal"))
        assert {scan(journal.read_bytes()).rest for journal in journals} == {Rest.NOTHING}
        assert len(journals) == 102


@on_every_store
def test_a_frozen_process_keeps_its_runs_and_a_dead_one_loses_them(place: Place) -> None:
    """SIGSTOP is no death: nobody takes the run over meanwhile, and it goes on after SIGCONT. SIGKILL is one."""
    place.write("gated.yaml", GATED)
    run = place.start("run", "gated.yaml", "--id", "gate")
    lines_until(run, "waiting for the signal")
    run.send_signal(signal.SIGSTOP)

    refused = place.flujoctl("resume", "gate")
    frozen = place.inspect("gate")
    place.flujoctl("signal", "gate", "approve", '{"by": "Ann"}')
    run.send_signal(signal.SIGCONT)
    ended = finish(run)

    assert refused.code == 4
    assert "is being run by the live process" in refused.err
    assert not frozen["interrupted"]
    assert ended.code == 0, ended
    assert place.inspect("gate")["output"] == {"by": "Ann"}

    killed = place.start("run", "gated.yaml", "--id", "other")
    lines_until(killed, "waiting for the signal")
    killed.send_signal(signal.SIGSTOP)
    killed.kill()
    killed.communicate()
    place.flujoctl("signal", "other", "approve", '{"by": "Bob"}')
    assert place.flujoctl("resume", "other").code == 0
