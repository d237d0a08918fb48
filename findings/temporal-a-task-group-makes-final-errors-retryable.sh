#!/usr/bin/env bash
# Temporal with task groups: an activity's error that must not be retried is retried once it passes through a task group.
#
# An activity charges a card with asyncio.TaskGroup or anyio around it, because it does something else at the same time. The card is
# declined: ApplicationError(type="CardDeclined", non_retryable=True). What the SDK sends to the server of it is what decides.
# Guess:     the mark is on the error, and the group has this one error in it; the SDK knows ExceptionGroup, which Python has since
#            3.11, so the mark and the type arrive, or at least the error as a cause.
# Behaviour: the server gets a failure of type "ExceptionGroup", to be retried, with the text "unhandled errors in a TaskGroup (1
#            sub-exception)". The errors of the group are not in it at all: no type, no text, no cause and no trace. A retry policy
#            with non_retryable_error_types=["CardDeclined"] has nothing to meet either, and by default a policy has no end of
#            attempts. An error that was raised from another one (`raise … from`) keeps that one as its cause.
# Seen with: temporalio 1.35.0 and 1.18.0, anyio 4.16.0, Python 3.11.7 (no server is needed):
#
#     1.18.0 raised as it is: CardDeclined, final, tells what happened
#     1.18.0 through asyncio.TaskGroup: ExceptionGroup, to be retried, does not tell what happened
#     1.18.0 through a task group of anyio: ExceptionGroup, to be retried, does not tell what happened
#     1.18.0 as the cause of another: ValueError, to be retried, tells what happened
#     1.35.0 raised as it is: CardDeclined, final, tells what happened
#     1.35.0 through asyncio.TaskGroup: ExceptionGroup, to be retried, does not tell what happened
#     1.35.0 through a task group of anyio: ExceptionGroup, to be retried, does not tell what happened
#     1.35.0 as the cause of another: ValueError, to be retried, tells what happened
#
# So: catch it by `except*` in the activity and raise the one that counts. In flujo an error of a group that is in give_up_on ends the
# retries, all of a group have to be in on_error, and the record has the texts of all.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > charging.py <<'PYTHON'
import asyncio

import anyio
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError


async def charge() -> None:
    raise ApplicationError("no money on this card", type="CardDeclined", non_retryable=True)


async def in_asyncio() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(charge())


async def in_anyio() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(charge)


async def as_a_cause() -> None:
    try:
        await charge()
    except ApplicationError as error:
        raise ValueError("the order cannot be paid") from error


async def main() -> None:
    for name, activity in {
        "raised as it is": charge,
        "through asyncio.TaskGroup": in_asyncio,
        "through a task group of anyio": in_anyio,
        "as the cause of another": as_a_cause,
    }.items():
        failure = Failure()
        try:
            await activity()
        except Exception as error:
            converter = DataConverter.default
            converter.failure_converter.to_failure(error, converter.payload_converter, failure)
        info = failure.application_failure_info
        tells = "tells" if "no money on this card" in str(failure) else "does not tell"
        print(f"{name}: {info.type}, {'final' if info.non_retryable else 'to be retried'}, {tells} what happened")


asyncio.run(main())
PYTHON

for version in 1.18.0 1.35.0; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "temporalio==$version" anyio==4.16.0 > log 2>&1 || { cat log; exit 1; }
    "$version/bin/python" charging.py 2> log | sed "s/^/$version /" | tee -a seen.log || { cat log; exit 1; }
done
diff <(sed -n 's/^#     \([0-9]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; cat log; exit 1; }
