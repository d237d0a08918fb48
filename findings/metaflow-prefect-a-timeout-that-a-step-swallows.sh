#!/usr/bin/env bash
# Metaflow: a step that outlives its @timeout is a success if its code has an `except Exception`; in Prefect it is a failure.
#
# Guess:     @timeout(seconds=1) bounds a step. Whatever the step catches, it has failed once it has taken three seconds.
# Behaviour: Metaflow raises its TimeoutException, an Exception, once, by an alarm, into whatever the step does at that moment.
#            A loop that tries again after every Exception takes it for one more failure of what it polls, and goes on without a
#            limit: the log says "Step poll timed out after ... 1 seconds" and, later, "Task finished successfully". Prefect
#            raises into the task as well, but a CancelledError, which is no Exception: the same loop ends in its first look.
# Seen with: metaflow 2.19.39, prefect 3.9.1, Python 3.11.7 on Linux
#
#     metaflow: the step caught TimeoutException and went on; Step poll timed out; Task finished successfully
#     prefect: the task caught nothing; TimedOut
#
# So: a limit that must hold raises what `except Exception` lets through, and looks at the time once more at the end.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check metaflow==2.19.39 prefect==3.9.1
cat > polling.py <<'PYTHON'
import time


def poll() -> list[str]:
    """Look for something every two seconds, three times at most, whatever happens to a look."""
    caught = []
    for _ in range(3):
        try:
            time.sleep(2)
        except Exception as error:
            caught.append(type(error).__name__)
    return caught
PYTHON
cat > in_metaflow.py <<'PYTHON'
from metaflow import FlowSpec, step, timeout

from polling import poll


class Polling(FlowSpec):
    @step
    def start(self):
        self.next(self.poll)

    @timeout(seconds=1)
    @step
    def poll(self):
        self.caught = poll()
        self.next(self.end)

    @step
    def end(self):
        print("CAUGHT", *self.caught)


if __name__ == "__main__":
    Polling()
PYTHON
cat > in_prefect.py <<'PYTHON'
from prefect import flow, task

from polling import poll

caught: list[str] = []


@task(timeout_seconds=1)
def poll_in_time() -> None:
    caught.extend(poll())


@flow
def polling() -> str:
    return poll_in_time(return_state=True).name


name = polling()
print(f"prefect: the task caught {' '.join(caught) or 'nothing'}; {name}")
PYTHON
export USERNAME=nobody METAFLOW_HOME="$folder/home" METAFLOW_DATASTORE_SYSROOT_LOCAL="$folder/store"
venv/bin/python in_metaflow.py --quiet run --max-workers 1 > metaflow.log 2>&1 || { cat metaflow.log; exit 1; }
{
    echo -n "metaflow: the step caught $(sed -n 's/.*CAUGHT //p' metaflow.log) and went on; "
    echo -n "$(grep -o 'Step poll timed out' metaflow.log); "
    grep -A9 'Step poll timed out' metaflow.log | grep -m1 -o 'Task finished successfully'
    PREFECT_HOME="$folder/home" PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=300 venv/bin/python in_prefect.py 2> prefect.log \
        || cat prefect.log
} > seen.log
cat seen.log
diff <(sed -n 's/^#     \([a-zA-Z]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; exit 1; }
