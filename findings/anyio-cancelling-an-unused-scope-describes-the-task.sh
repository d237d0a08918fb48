#!/usr/bin/env bash
# anyio on asyncio: cancelling a scope that holds nothing writes out a description of the running task.
#
# A program makes a CancelScope beforehand, for a timer that it then never needs, and cancels it when it is done, as one
# does to be on the safe side. Nobody has entered the scope.
# Guess:     that sets a flag, as setting an Event does.
# Behaviour: since 4.11 `cancel()` puts who has cancelled into the message of the cancellation, and makes that
#            text at once, also where nobody will ever read it: the task is asked for its `repr`, name, coroutine, file and
#            line. anyio 4.9 does not do so, and neither does 4.16
#            on a second call.
# Seen with: anyio 4.16.0 and 4.9.0, Python 3.11.7:
#
#     4.9.0: cancelled once, the task was described 0 times
#     4.9.0: cancelled twice, the task was described 0 times
#     4.16.0: cancelled once, the task was described 1 times
#     4.16.0: cancelled twice, the task was described 1 times
#
# So: on a path that thousands of short tasks take, a scope is made when its timer is, and cancelled only then
# (flujo.kernel.ownership.driver).
# The exit code is 1 if any of this has changed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > unused.py <<'PYTHON'
import asyncio
import sys

import anyio


class Described(asyncio.Task):
    times = 0

    def __repr__(self):
        Described.times += 1
        return "<a task>"


async def cancel(often):
    scope = anyio.CancelScope()
    for _ in range(often):
        scope.cancel()


async def main():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coroutine, **options: Described(coroutine, loop=loop, **options))
    for often, said in ((1, "once"), (2, "twice")):
        Described.times = 0
        await loop.create_task(cancel(often))
        print(f"{sys.argv[1]}: cancelled {said}, the task was described {Described.times} times")


asyncio.run(main())
PYTHON

for version in 4.9.0 4.16.0; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "anyio==$version"
    "venv-$version/bin/python" unused.py "$version" | while read -r said; do
        echo "$said"
        grep -qF "#     $said" "$here" || { echo "changed: not what was seen before"; exit 1; }
    done
done
