#!/usr/bin/env bash
# Durable Task for Python: what does not fit a declared input is made to fit by calling the types of its fields, in silence.
#
# An orchestrator declares a dataclass for its input: cents: int, dry_run: bool = False. Four clients start it with a mapping, as
# clients in other languages and command lines do: one that fits, one with 19.99 and the text "false", one that spells the switch
# `dryrun`, one that leaves the amount out.
# Guess:     since the release that rebuilds declared types an input that does not fit is an error of the start or of the
#            orchestration; or it is handed over as it came, as it was before that release.
# Behaviour: each field is made by calling its type: int(19.99) cuts the cents off, bool("false") is True. A key that the
#            dataclass lacks is dropped, so that a mistyped `dryrun` is a real transfer. Where the class cannot be made at all, the
#            orchestrator gets the mapping instead of the object, with a line at debug level. All four complete.
# Seen with: durabletask 1.5.0 and 1.12.0 with the in-memory backend that it has for tests, Python 3.11.7:
#
#     1.5.0 {'cents': 1999, 'dry_run': True} -> {'cents': 1999, 'dry_run': True}
#     1.5.0 {'cents': 19.99, 'dry_run': 'false'} -> {'cents': 19.99, 'dry_run': 'false'}
#     1.5.0 {'cents': 1999, 'dryrun': True} -> {'cents': 1999, 'dryrun': True}
#     1.5.0 {'dry_run': True} -> {'dry_run': True}
#     1.12.0 {'cents': 1999, 'dry_run': True} -> Transfer(cents=1999, dry_run=True)
#     1.12.0 {'cents': 19.99, 'dry_run': 'false'} -> Transfer(cents=19, dry_run=True)
#     1.12.0 {'cents': 1999, 'dryrun': True} -> Transfer(cents=1999, dry_run=False)
#     1.12.0 {'dry_run': True} -> {'dry_run': True}
#
# So: check the input in the first line of an orchestrator, or give worker and client a DataConverter that validates. flujo
# checks inputs against the declared types before it stores a run: 19.99 for an int and a name too many are refused there.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > transfers.py <<'PYTHON'
import dataclasses
import json
import socket

from durabletask import client, task, worker
from durabletask.testing import create_test_backend


@dataclasses.dataclass
class Transfer:
    cents: int
    dry_run: bool = False


def pay(context: task.OrchestrationContext, transfer: Transfer) -> str:
    return repr(transfer)


with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
backend = create_test_backend(port=port)
try:
    with worker.TaskHubGrpcWorker(host_address=f"127.0.0.1:{port}") as serving:
        serving.add_orchestrator(pay)
        serving.start()
        hub = client.TaskHubGrpcClient(host_address=f"127.0.0.1:{port}")
        for given in (
            {"cents": 1999, "dry_run": True},
            {"cents": 19.99, "dry_run": "false"},
            {"cents": 1999, "dryrun": True},
            {"dry_run": True},
        ):
            instance = hub.schedule_new_orchestration(pay, input=given)
            state = hub.wait_for_orchestration_completion(instance, timeout=60)
            assert state is not None and state.runtime_status is client.OrchestrationStatus.COMPLETED, state
            print(f"{given} -> {json.loads(state.serialized_output)}")
finally:
    backend.stop()
PYTHON

for version in 1.5.0 1.12.0; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "durabletask==$version" > log 2>&1 || { cat log; exit 1; }
    "$version/bin/python" transfers.py 2> log | sed "s/^/$version /" | tee -a seen.log || { cat log; exit 1; }
done
diff <(sed -n 's/^#     \([0-9]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; cat log; exit 1; }
