#!/usr/bin/env bash
# tenacity, stamina: a policy that says what is not tried again tries again when it is cancelled, so that asyncio.timeout has no effect.
#
# A call hangs, the second one would answer at once. It is tried up to three times, within a timeout of 0.2 seconds. The policy
# names either what to try again (OSError) or what not to (ValueError: the answer would be the same).
# Guess:     both policies are about errors of the call. When the time is up, it is cancelled like any other await, and the caller
#            gets a TimeoutError.
# Behaviour: "anything but ValueError" is taken at its word: tenacity catches BaseException and asks the policy, so CancelledError is
#            one more reason to try again. asyncio cancels once. The second call runs after the timeout, its answer is handed
#            out, and asyncio.timeout raises nothing, since no cancellation has come back. stamina does the same with a
#            function for `on=`. Task.cancel and the end of a TaskGroup go astray likewise. A scope of anyio, on asyncio and
#            trio, cancels the wait before the second call too, and holds.
# Seen with: tenacity 9.2.1, stamina 26.1.0, anyio 4.16.0, trio 0.35.0, Python 3.11.7:
#
#     asyncio.timeout, tenacity, OSError is tried again: TimeoutError, 1 calls
#     asyncio.timeout, tenacity, ValueError is not: the answer, 2 calls
#     asyncio.timeout, stamina, OSError is tried again: TimeoutError, 1 calls
#     asyncio.timeout, stamina, ValueError is not: the answer, 2 calls
#     anyio.fail_after on asyncio, tenacity, ValueError is not: TimeoutError, 1 calls
#     anyio.fail_after on trio, tenacity, ValueError is not: TimeoutError, 1 calls
#
# So: say it within Exception: retry_if_exception(lambda e: isinstance(e, Exception) and not isinstance(e, ValueError)). Timeouts and
# cancels of flujo are scopes of anyio, so a step that is tried by such a policy ends in time; docs/python-workflows.md tells it.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > exclusion.py <<'PYTHON'
import asyncio

import anyio
import stamina
import tenacity

stamina.instrumentation.set_on_retry_hooks([])
calls = 0


async def call():
    global calls
    calls += 1
    if calls == 1:
        await anyio.sleep_forever()
    return "the answer"


def by_tenacity(policy):
    return tenacity.retry(retry=policy, stop=tenacity.stop_after_attempt(3), reraise=True)(call)


def by_stamina(on):
    return stamina.retry(on=on, attempts=3, wait_initial=0, wait_max=0, wait_jitter=0)(call)


def is_worth_it(error):
    return not isinstance(error, ValueError)


async def tell(name, tried, timeout):
    global calls
    calls = 0
    try:
        async with timeout:
            answer = await tried()
    except TimeoutError:
        answer = "TimeoutError"
    print(f"{name}: {answer}, {calls} calls")


class FailAfter:
    """anyio.fail_after is a plain context manager."""

    async def __aenter__(self):
        self.scope = anyio.fail_after(0.2)
        self.scope.__enter__()

    async def __aexit__(self, *raised):
        return self.scope.__exit__(*raised)


async def under_asyncio():
    for name, tried in {
        "tenacity, OSError is tried again": by_tenacity(tenacity.retry_if_exception_type(OSError)),
        "tenacity, ValueError is not": by_tenacity(tenacity.retry_if_not_exception_type(ValueError)),
        "stamina, OSError is tried again": by_stamina(OSError),
        "stamina, ValueError is not": by_stamina(is_worth_it),
    }.items():
        await tell(f"asyncio.timeout, {name}", tried, asyncio.timeout(0.2))


async def under_anyio(backend):
    tried = by_tenacity(tenacity.retry_if_not_exception_type(ValueError))
    await tell(f"anyio.fail_after on {backend}, tenacity, ValueError is not", tried, FailAfter())


asyncio.run(under_asyncio())
for backend in ("asyncio", "trio"):
    anyio.run(under_anyio, backend, backend=backend)
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tenacity==9.2.1 stamina==26.1.0 anyio==4.16.0 trio==0.35.0
venv/bin/python exclusion.py > said 2> log || { cat log; exit 1; }
while IFS= read -r line; do
    echo "$line"
    grep -qxF "#     $line" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
done < said
[ "$(wc -l < said)" = 6 ]
