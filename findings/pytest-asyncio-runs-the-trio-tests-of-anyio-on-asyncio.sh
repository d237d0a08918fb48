#!/usr/bin/env bash
# pytest-asyncio beside anyio: in auto mode it takes over the tests of anyio, and those with "trio" in their name pass on asyncio.
#
# A test is marked with pytest.mark.anyio, and tells which event loop it runs on. pytest-asyncio is installed, for other tests, with
# asyncio_mode = auto or with its default. The same test is tried with the fixture `anyio_backend` in place of the mark, too.
# Guess:     a test that is marked for one plugin is run by it. anyio's page "Testing with AnyIO" warns that the two auto modes do not
#            go together, and names the mark for tests that have to live beside another plugin. If they do not, a test fails.
# Behaviour: anyio makes its two tests, [asyncio] and [trio], and pytest-asyncio runs both: the event loop of both is asyncio's, and both
#            pass. `anyio_backend_name` says trio while asyncio runs. A suite that is green on both backends has tried one of them
#            twice; what fails on trio alone is found by whoever uses it there.
# Seen with: pytest 9.2.0 with pytest-asyncio 1.5.0, and 8.0.0 with 0.23.8; anyio 4.16.0, trio 0.35.0, Python 3.11.7:
#
#     0.23.8 strict: 4 tests; asyncio on asyncio and trio on trio by the mark; asyncio on asyncio and trio on trio by the fixture
#     0.23.8 auto: 4 tests; asyncio on asyncio and trio on asyncio by the mark; asyncio on asyncio and trio on asyncio by the fixture
#     1.5.0 strict: 4 tests; asyncio on asyncio and trio on trio by the mark; asyncio on asyncio and trio on trio by the fixture
#     1.5.0 auto: 4 tests; asyncio on asyncio and trio on asyncio by the mark; asyncio on asyncio and trio on asyncio by the fixture
#
# So: leave pytest-asyncio in its strict mode beside anyio, and let one test or fixture assert that the loop is the one it is named for.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > test_backend.py <<'PYTHON'
import asyncio

import pytest


def tell(way, name):
    try:
        asyncio.get_running_loop()
        loop = "asyncio"
    except RuntimeError:
        loop = "trio"
    with open("told", "a") as file:
        file.write(f"{way}: {name} on {loop}\n")


@pytest.mark.anyio
async def test_with_the_mark(anyio_backend_name):
    tell("the mark", anyio_backend_name)


async def test_with_the_fixture(anyio_backend, anyio_backend_name):
    tell("the fixture", anyio_backend_name)
PYTHON

for versions in 8.0.0/0.23.8 9.2.0/1.5.0; do
    version=${versions#*/}
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "pytest==${versions%/*}" "pytest-asyncio==$version" anyio==4.16.0 \
        trio==0.35.0 > log 2>&1 || { cat log; exit 1; }
    for mode in strict auto; do
        rm -f told
        "$version/bin/pytest" -q -c /dev/null --rootdir . -p no:cacheprovider -W ignore -o "asyncio_mode=$mode" test_backend.py > log 2>&1 \
            || { cat log; exit 1; }
        grep -q '^4 passed' log
        said="$version $mode: $(grep -c . told) tests"
        for way in "the mark" "the fixture"; do
            said+="; $(echo $(sed -n "s/^$way: //p" told | sort | sed '1!s/^/and /') by $way)"
        done
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
    done
done
