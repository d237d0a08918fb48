#!/usr/bin/env bash
# anyio around asyncio.TaskGroup: a cancelled scope cancels the task that waits for the group, in every turn of the event
# loop, and each task of the group once, whatever that one does with it.
#
# A task of the group tidies up and goes on for a moment, as `except CancelledError` or an asyncio.wait_for of Python 3.11
# lets it. The scope around the group is cancelled.
# Guess:     a cancelled scope cancels whatever runs inside of it until all of it has ended, the tasks of the group too.
# Behaviour: anyio knows its own child tasks only. The task that is in `async with` is sent a cancel per turn of the loop,
#            and the task group takes the first for the order to cancel its tasks and ignores the others. The task that
#            has caught its cancel is sent no other one; as long as it goes on, the loop has no idle moment.
# Seen with: anyio 4.16.0, Python 3.11.7:
#
#     who waits for the group was cancelled more than 100 times, the task of the group 1 times
#
# So: a kernel that has to end what a program waits for ends the wait itself, and does not count on the scope of the program
# (flujo.kernel.execution.live_run).
# The exit code is 1 if any of this has changed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > group.py <<'PYTHON'
import asyncio

import anyio


async def tidies_up(begun):
    turns = 0
    begun.set()
    try:
        await anyio.sleep_forever()
    except asyncio.CancelledError:
        while turns < 1000:  # until the loop has turned so often
            turns += 1
            await asyncio.sleep(0)


async def main():
    begun = anyio.Event()
    waits = asyncio.current_task()
    with anyio.CancelScope() as scope:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(tidies_up(begun))
            await begun.wait()
            scope.cancel()
            task.add_done_callback(lambda _: counts.append(waits.cancelling()))
    often = "more than 100" if counts[0] > 100 else counts[0]
    print(f"who waits for the group was cancelled {often} times, the task of the group {task.cancelling()} times")


counts = []
asyncio.run(main())
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check anyio==4.16.0
said=$(venv/bin/python group.py)
echo "$said"
grep -qF "#     $said" "$here" || { echo "changed: not what was seen before"; exit 1; }
