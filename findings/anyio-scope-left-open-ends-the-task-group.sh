#!/usr/bin/env bash
# anyio on asyncio: a child task that catches the error of a cancel scope it left open still ends its task group.
#
# A task enters a CancelScope by hand inside of another one and returns without leaving it. Leaving the outer scope raises
# RuntimeError, and the task catches that.
# Guess:     the error is dealt with, so the task group goes on, as it does on trio.
# Behaviour: on asyncio the task group fails all the same, with the same RuntimeError once more: since 4.14 anyio wraps each
#            child in a scope of its own, which is left when the task ends, outside of everything that the task could catch.
#            So a supervisor that catches whatever its children raise loses all of them by one. anyio 4.9 does not raise here.
# Seen with: anyio 4.16.0 and 4.9.0, trio 0.31.0, Python 3.11.7:
#
#     4.9.0 asyncio: the task has caught RuntimeError, the group has ended well
#     4.16.0 asyncio: the task has caught RuntimeError, the group has failed with RuntimeError
#     4.16.0 trio: the task has caught RuntimeError, the group has ended well
#
# So: whoever runs foreign code in the tasks of one group leaves the scopes it has left open (flujo.kernel.loops).
# The exit code is 1 if any of this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > left_open.py <<'PYTHON'
import sys

import anyio


async def careless():
    try:
        with anyio.CancelScope():
            anyio.CancelScope().__enter__()
    except RuntimeError:
        print("the task has caught RuntimeError", end=", ")


async def main():
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(careless)
    except ExceptionGroup as error:
        print("the group has failed with", *{type(each).__name__ for each in error.exceptions})
    else:
        print("the group has ended well")


anyio.run(main, backend=sys.argv[1])
PYTHON

for case in 4.9.0/asyncio 4.16.0/asyncio 4.16.0/trio; do
    version=${case%/*} backend=${case#*/}
    if [[ ! -d venv-$version ]]; then
        python3 -m venv "venv-$version"
        "venv-$version/bin/pip" install --quiet --disable-pip-version-check "anyio==$version" trio==0.31.0
    fi
    said="$version $backend: $("venv-$version/bin/python" left_open.py "$backend")"
    echo "$said"
    grep -qF "#     $said" "$OLDPWD/$0" || grep -qF "#     $said" "$0" || { echo "changed: not what was seen before"; exit 1; }
done
