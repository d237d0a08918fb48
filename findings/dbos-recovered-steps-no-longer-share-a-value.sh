#!/usr/bin/env bash
# DBOS: a step hands its caller the very object it returned, a recovered step hands out a copy, so a recovered run may differ.
#
# A step adds to the dict it is given and returns it; the workflow calls it twice and puts its three names for the dict into
# the result. Nothing in it depends on time, chance or other data.
# Guess:     the workflow is deterministic, as the page "Workflows" asks for, so it ends in the same way whether or not its
#            process died in between: all steps it goes over again are recorded.
# Behaviour: undisturbed, all three names mean one dict. Recovered, each step's result is unpickled by itself, and the dict
#            that the workflow made is changed by nobody, as the steps are not called again. Both runs end with SUCCESS.
# Seen with: dbos 3.4.0 and 2.0.0 on SQLite, Python 3.11.7:
#
#     2.0.0 undisturbed: first 2, second 2, own 2, SUCCESS
#     2.0.0 recovered: first 1, second 2, own 0, SUCCESS
#     3.4.0 undisturbed: first 2, second 2, own 2, SUCCESS
#     3.4.0 recovered: first 1, second 2, own 0, SUCCESS
#
# So: an engine that replays gives out the decoded copy of a result the first time as well, or a step must not change what it
# is given.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > adding.py <<'PYTHON'
import os
import sys

from dbos import DBOS, SetWorkflowID

name, part = sys.argv[1:]
DBOS(config={"name": "adding", "system_database_url": "sqlite:///adding.db", "application_version": "1",
             "run_admin_server": False, "log_level": "CRITICAL"})


@DBOS.step()
def add_one(counter):
    counter["n"] += 1
    return counter


@DBOS.step()
def last_step():
    if part == "die":
        os._exit(9)


@DBOS.workflow()
def adding():
    own = {"n": 0}
    first = add_one(own)
    second = add_one(own)
    last_step()
    return f"first {first['n']}, second {second['n']}, own {own['n']}"


DBOS.launch()
if part == "recover":
    handle = DBOS.retrieve_workflow(name)
else:
    with SetWorkflowID(name):
        handle = DBOS.start_workflow(adding)
print(f"{handle.get_result()}, {handle.get_status().status}")
DBOS.destroy()
PYTHON

for version in 2.0.0 3.4.0; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "dbos==$version"
    run() { "venv-$version/bin/python" adding.py "$@" 2>>log | tail -n 1; }  # 2.0.0 prints a line of its own before
    rm -f adding.db
    undisturbed=$(run one whole)
    run two die || true
    for said in "$version undisturbed: $undisturbed" "$version recovered: $(run two recover)"; do
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
    done
done
