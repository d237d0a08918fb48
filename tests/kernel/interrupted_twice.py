"""Closes kernels that are interrupted twice, the second time at every moment of their closing.

    python interrupted_twice.py URL LOOP FIRST STRIDE LIMIT

Each try is a forked child of this process. Its run is interrupted by SIGINT, and from the moment in which that reaches
the body of its step a profiler counts the calls and returns of the main thread, to send the second SIGINT at the one
with a certain number: FIRST, then STRIDE later, and so on, up to the end of the closing or LIMIT tries. The answer, in
JSON, says how each child has ended; whatever has not ended after LONGEST seconds is killed, and hangs."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from typing import Any

import anyio

from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, blocking, step, workflow

LONGEST = 30.0
INTERRUPTED, UNHARMED = 130, 0


def interrupt_at(number: int) -> None:
    """Send this process SIGINT at the call or return of the main thread with this number, from now on."""
    left = number

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)

    sys.setprofile(count)


def closed() -> bool:
    """Count no further, since the kernel is closed; True if the second SIGINT was not sent."""
    is_late = sys.getprofile() is not None
    sys.setprofile(None)
    return is_late


def live(url: str, loop: str, number: int) -> int:
    """Open a kernel and interrupt it twice; return how this process has to end."""
    is_late: list[bool] = []

    @step
    async def endless() -> None:
        signal.raise_signal(signal.SIGINT)
        try:
            await anyio.sleep_forever()
        finally:
            interrupt_at(number)

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(endless)

    async def main() -> None:
        try:
            async with Kernel(open_backend(url), [program], recover=False) as kernel:
                await (await kernel.start(program)).result()
        finally:
            is_late.append(closed())

    @workflow()
    async def waits(ctx: Context) -> None:
        await ctx.step(anyio.sleep_forever, name="endless")

    def block() -> None:
        try:
            with blocking.Kernel(open_backend(url), [waits], recover=False) as kernel:
                for event in kernel.start(waits).watch():
                    if event.type == "step_started":
                        interrupt_at(number)
                        raise KeyboardInterrupt  # as the first one ends a wait
        finally:
            is_late.append(closed())

    try:
        if loop == "blocking":
            block()
        else:
            anyio.run(main, backend=loop)
    except KeyboardInterrupt:
        return UNHARMED if any(is_late) else INTERRUPTED
    return 1


def ended(child: int, ends: int) -> int:
    """Return how a child has ended: its exit code, or minus the signal that has killed it."""
    if not select.select([ends], [], [], LONGEST)[0]:
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(url: str, loop: str, first: int, stride: int, limit: int) -> None:
    """Try one moment after the other, and print what has become of each."""
    found: list[tuple[int, int]] = []
    for number in range(first, first + limit * stride, stride):
        ends, kept = os.pipe()
        if (child := os.fork()) == 0:
            os.close(ends)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.exit(live(url, loop, number))
        os.close(kept)
        found.append((number, ended(child, ends)))
        os.close(ends)
        if found[-1][1] == UNHARMED:
            break
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
