"""A process that passes lines on as long as it is told that their writer lives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from flujo.kernel.execution import dead_mans_switch
from flujo.kernel.execution.dead_mans_switch import now

HOUR = 3600.0

Start = Callable[[float], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(seconds: float) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", dead_mans_switch.__file__, repr(now() + seconds)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        with process:
            process.wait()


def say(process: subprocess.Popen[bytes], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())


def hear(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode()


def test_lines_are_passed_on_until_their_writer_ends(start: Start) -> None:
    """Those that put off its instant are not."""
    process = start(HOUR)
    say(process, "+1:a")
    first = hear(process)
    say(process, f"!{now() + HOUR}")
    say(process, "-1:a")
    second = hear(process)
    assert process.stdin is not None
    process.stdin.close()

    assert (first, second) == ("+1:a\n", "-1:a\n")
    assert hear(process) == ""
    assert process.wait() == 0


def test_it_ends_when_the_instant_has_come(start: Start) -> None:
    """Whoever reads from it meets the end, and whoever writes to it is refused."""
    process = start(0.0)

    assert hear(process) == ""
    process.wait()
    with pytest.raises(BrokenPipeError):
        say(process, "+1:a")


def test_the_instant_can_be_moved(start: Start) -> None:
    """To an earlier one, too."""
    process = start(HOUR)
    say(process, f"!{now() - 1}")

    assert hear(process) == ""


def test_it_outlives_signals_that_are_meant_for_its_kernel(start: Start) -> None:
    """As a terminal sends to all."""
    process = start(HOUR)
    say(process, "+1:a")
    hear(process)
    for number in (1, 2, 15):
        process.send_signal(number)
    say(process, "+2:b")

    assert hear(process) == "+2:b\n"
