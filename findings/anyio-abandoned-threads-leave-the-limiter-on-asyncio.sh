#!/usr/bin/env bash
# anyio: on asyncio a capacity limiter does not count the threads that were abandoned, on trio it does.
#
# to_thread.run_sync(..., abandon_on_cancel=True, limiter=CapacityLimiter(1)) is cancelled three times, and the function goes
# on each time.
# Guess:     the limiter bounds how many threads run (its parameter is described as limiting "the total amount of threads
#            running"), with the same outcome on both backends: the second call waits until the first function has returned.
# Behaviour: on trio it is so. On asyncio the token goes back when the waiting task is cancelled and not when the thread is
#            done, so every timeout adds one more thread: a limiter of one has three at work.
# Seen with: anyio 4.16.0 and 4.4.0, trio 0.35.0, Python 3.11.7:
#
#     4.4.0 asyncio: 3 calls given up, 3 threads at work, 0 tokens taken
#     4.4.0 trio: 3 calls given up, 1 threads at work, 1 tokens taken
#     4.16.0 asyncio: 3 calls given up, 3 threads at work, 0 tokens taken
#     4.16.0 trio: 3 calls given up, 1 threads at work, 1 tokens taken
#
# So: whoever needs the bound on asyncio holds a place of its own from inside the function until it returns.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > abandoned.py <<'PYTHON'
import sys
import threading

import anyio
from anyio import to_thread

at_work = []
release = threading.Event()


def work():
    at_work.append(threading.get_ident())
    release.wait()


async def main():
    limiter = anyio.CapacityLimiter(1)
    for _ in range(3):
        before = len(at_work)
        async with anyio.create_task_group() as group:
            async def call():
                await to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)

            group.start_soon(call)
            with anyio.move_on_after(0.5):
                while len(at_work) == before:
                    await anyio.sleep(0.01)
            group.cancel_scope.cancel()
    print(f"3 calls given up, {len(at_work)} threads at work, {limiter.borrowed_tokens} tokens taken")
    release.set()


anyio.run(main, backend=sys.argv[1])
PYTHON

for version in 4.4.0 4.16.0; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "anyio==$version" trio==0.35.0
    for backend in asyncio trio; do
        said="$version $backend: $("venv-$version/bin/python" abandoned.py $backend)"
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
    done
done
