#!/usr/bin/env bash
# Linux and anyio: a child made in a worker thread gets its "parent died" signal ten seconds later, while the parent lives on.
#
# PR_SET_PDEATHSIG is set between fork and exec, in a function that anyio.to_thread.run_sync calls, so as not to block the
# loop.
# Guess:     the child is told when the process that made it ends, as the name "parent death signal" has it; in which thread
#            Popen was called does not matter.
# Behaviour: the kernel takes the thread that forked for the parent (prctl's page says so). anyio on asyncio and trio both end
#            a worker thread that has been idle for ten seconds, and the child is ended with it. As they prefer the thread
#            that was used last, it shows under load only: another thread must be busy meanwhile. A child made on the event
#            loop's thread stays.
# Seen with: anyio 4.16.0, trio 0.35.0, Python 3.11.7, Linux 6.18:
#
#     asyncio: made in the loop's thread: alive; made in a worker: ended by SIGTERM after 9 to 15 s
#     trio: made in the loop's thread: alive; made in a worker: ended by SIGTERM after 9 to 15 s
#
# So: fork such children in a thread that lives as long as they may, or have a guardian watch a pipe instead.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > parents.py <<'PYTHON'
import ctypes
import signal
import subprocess
import sys
import threading
import time

import anyio
from anyio import to_thread

PR_SET_PDEATHSIG = 1
prctl = ctypes.CDLL(None).prctl


def child():
    return subprocess.Popen(["sleep", "60"], preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM))


async def child_of_a_worker():
    """Return a child of a thread that becomes idle before another one does, which all later calls then use."""
    made, may_return = [], threading.Event()

    def make():
        made.append(child())
        may_return.wait(20)

    async def first():
        await to_thread.run_sync(make)
        other_may_return.set()

    other_may_return = threading.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(first)
        group.start_soon(to_thread.run_sync, other_may_return.wait, 20)
        while not made:
            await anyio.sleep(0.05)
        may_return.set()
    return made[0]


async def main():
    of_the_loop, of_a_worker = child(), await child_of_a_worker()
    began = time.monotonic()
    ended = None
    while (passed := time.monotonic() - began) < 16 and (ended is None or passed < ended + 1):
        await to_thread.run_sync(time.monotonic)
        if ended is None and of_a_worker.poll() is not None:
            ended = passed
        await anyio.sleep(0.2)
    first = "alive" if of_the_loop.poll() is None else "ended"
    if ended is None:
        second = "alive after 16 s"
    else:
        after = "9 to 15" if 9 < ended < 15 else f"{ended:.1f}"
        second = f"ended by {signal.Signals(-of_a_worker.returncode).name} after {after} s"
    print(f"made in the loop's thread: {first}; made in a worker: {second}")
    for each in (of_the_loop, of_a_worker):
        each.kill()
        each.wait()


anyio.run(main, backend=sys.argv[1])
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check anyio==4.16.0 trio==0.35.0
for backend in asyncio trio; do
    said="$backend: $(venv/bin/python parents.py $backend)"
    echo "$said"
    grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
done
