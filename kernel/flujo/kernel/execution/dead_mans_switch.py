"""A process between a kernel and its guardian that lets go of the guardian unless it is held.

    dead_mans_switch.py INSTANT

It passes on what it reads until `INSTANT` on the clock of `now`, which a line `!INSTANT` puts off. When that has come,
or the kernel is gone, it ends, and the guardian meets the end of its pipe. So a kernel that hangs, or is stopped, loses
its commands before others begin them anew, although it can do nothing itself.

The standard library is all that is imported here: this runs as a program of its own.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator

RENEWED = b"!"
"""What a line begins with that names the next instant."""

_LONGEST_NAP = 1.0
"""Seconds until the next look at the clock: while a machine sleeps, time goes on and `select` does not."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return seconds on a clock that nobody sets, and that all processes of a machine share."""
    return time.clock_gettime(_CLOCK)


def main(instant: float) -> None:
    """Pass lines on until the instant."""
    rest = b""
    while (left := instant - now()) > 0:
        if not select.select([sys.stdin.fileno()], [], [], min(left, _LONGEST_NAP))[0]:
            continue
        if not (data := os.read(sys.stdin.fileno(), 65536)):
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(RENEWED):
                instant = float(line[1:])
        _pass_on(b"".join(_others(lines)))


def _others(lines: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        if not line.startswith(RENEWED):
            yield line + b"\n"


def _pass_on(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


if __name__ == "__main__":
    for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    main(float(sys.argv[1]))
    os.close(sys.stdin.fileno())  # first: a kernel that finds a command dead is to find this pipe broken as well
