"""The names of owners say in which process a kernel runs, and errors say when that is gone."""

from __future__ import annotations

import subprocess
import sys

from flujo.kernel.errors import RunActiveError
from flujo.kernel.owners import host_name, name_owner, note_if_gone


def test_an_owner_of_this_process_is_not_gone() -> None:
    """Its process is there, so there is nothing to add."""
    assert note_if_gone(name_owner("0123456789abcdef")) == ""


def test_an_owner_whose_process_is_gone_is_said_to_be() -> None:
    """What holds the lock then is something that the process has started."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    owner = f"{host_name()}-{ended.pid}-01234567"

    said = str(RunActiveError("r", owner))

    assert said == (
        f"run 'r' is being run by the live process {owner}"
        f" (process {ended.pid} is gone; a process that it has started still holds its lock)"
    )


def test_nothing_is_said_of_owners_elsewhere() -> None:
    """The number of a process says nothing on another host, and a name of another form has none."""
    assert note_if_gone("some-other-host-1-01234567") == ""
    assert note_if_gone("one") == ""
