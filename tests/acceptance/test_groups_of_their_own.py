"""A command that makes a process group of its own, as coreutils' `timeout` does: no copy of it outlives its attempt."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from acceptance.terminal import Terminal, finish, kill

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what has left its group is found on Linux only")

JOB = """\
name: nightly
steps:
  - name: job
    task: shell
    timeout: {timeout}
    retry: {{max_attempts: 3, delay: 100ms}}
    inputs:
      working_dir: {folder}
      command: >-
        {how} timeout 60 sh -c 'echo begins >> log; test ! -p begun || echo > begun; sleep {sleep}; echo ends >> log'
"""
HOW = ["", "setsid"]


class Job:
    """The job in the file of the case, which sleeps for a time that no other process does."""

    def __init__(self, terminal: Terminal, how: str) -> None:
        self.terminal = terminal
        self.sleep = f"31.{os.getpid()}{HOW.index(how)}"
        self._how = how

    def write(self, timeout: str) -> None:
        """Write its definition."""
        text = JOB.format(timeout=timeout, how=self._how, folder=self.terminal.folder, sleep=self.sleep)
        self.terminal.write("job.yaml", text)

    def start(self) -> None:
        """Start it without a timeout that matters, and return once it is at work."""
        self.write("10m")
        self.terminal.fifo("begun")
        self.flujoctl = self.terminal.start("run", "job.yaml", "--id", "r")
        self.terminal.read("begun")

    def at_work(self) -> int:
        """How many copies are asleep, once one is."""
        while (found := self.alive()) == 0:
            pass
        return found

    def alive(self) -> int:
        """How many processes sleep as it does."""
        found = 0
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found += place.read_bytes().split(b"\0")[:2] == [b"sleep", self.sleep.encode()]
            except OSError:
                continue  # it has ended meanwhile
        return found


@pytest.fixture(params=HOW, ids=lambda how: how or "alone")
def job(request: pytest.FixtureRequest, terminal: Terminal) -> Job:
    return Job(terminal, request.param)


def test_three_attempts_leave_nothing(job: Job) -> None:
    """Each is over before the next one begins, and none comes to its end."""
    job.write("1s")
    job.terminal.write("log", "")

    ended = job.terminal.flujoctl("run", "job.yaml", "--id", "r")

    assert ended.code == 1
    assert "TimeoutError" in ended.err  # it was cut short, and had not failed by itself
    assert {*job.terminal.lines("log")} <= {"begins"}
    assert job.alive() == 0


def test_a_cancel_leaves_nothing(job: Job) -> None:
    """From another terminal."""
    job.start()

    assert job.at_work() == 1
    job.terminal.flujoctl("cancel", "r")
    finish(job.flujoctl)
    assert job.alive() == 0


def test_a_sigterm_leaves_nothing(job: Job) -> None:
    """To flujoctl itself."""
    job.start()

    job.flujoctl.send_signal(signal.SIGTERM)
    finish(job.flujoctl)
    assert job.alive() == 0


def test_a_resume_after_a_sigkill_finds_nothing(job: Job) -> None:
    """Of the attempt that was cut off nothing is left when the next one is at work."""
    job.start()
    kill(job.flujoctl)
    job.terminal.inspect_interrupted("r")

    resumed = job.terminal.start("resume", "r")
    job.terminal.read("begun")
    assert job.at_work() == 1
    resumed.send_signal(signal.SIGTERM)
    finish(resumed)
    assert job.alive() == 0
